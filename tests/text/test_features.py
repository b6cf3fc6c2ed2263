"""Confidence and entropy as text."""

from __future__ import annotations

import pytest

from inbol.contracts import Features
from inbol.text.features import read_features, say_features, with_features


def told(confidence: float, entropy: float) -> Features:
    return Features(key="a-q0", image_key="a", confidence=confidence, entropy=entropy)


def test_the_form_behind_a_question() -> None:
    assert with_features("what color?", told(0.7, 1.234)) == "what color?\n### Conf ###: 0.7\n### Entro ###: 1.2\n"


@pytest.mark.parametrize(("confidence", "entropy"), [(0.0, 0.0), (0.7, 1.2), (1.0, 2.3)])
def test_what_is_said_is_read(confidence: float, entropy: float) -> None:
    assert read_features(say_features(told(confidence, entropy))) == (confidence, entropy)


@pytest.mark.parametrize("text", ["", "0.7", "0.7 1.", "1.5 0.3", "0.7 1.2 0.3", "I cannot tell.", "0.7, 1.2", "-0.1 0.2"])
def test_what_is_of_no_form_is_not_guessed_at(text: str) -> None:
    assert read_features(text) is None
