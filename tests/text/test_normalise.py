from __future__ import annotations

import pytest

from inbol.text.normalise import normalise, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Circle.", "circle"),
        ("  a   red,  shape! ", "red shape"),
        ("two", "2"),
        ("Two dogs", "2 dogs"),
        ("1,000.5", "1000.5"),
        ("it's 3.", "it is 3"),
        ("T-shirt", "t shirt"),
        ("a", "a"),
        ("", ""),
        ("?!", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize("text", ["I can't tell", "I can\u2019t tell", "I cannot tell", "i can not tell.", "I cant tell"])
def test_plain_writes_contractions_out(text: str) -> None:
    assert plain(text) == "i cannot tell"


def test_plain_keeps_articles_and_numbers() -> None:
    assert plain("There isn't one in the image.") == "there is not one in the image"
