from __future__ import annotations

import pytest

from inbol.text.prompts import render_question, say_item


def test_plain_is_the_question_itself() -> None:
    assert render_question("what is it?", "plain") == "what is it?"


def test_allow_refusal_says_so_behind_the_question() -> None:
    expected = "what is it? If the image does not show the answer, say that you cannot tell."
    assert render_question("what is it?", "allow-refusal") == expected


def test_unknown_style_is_named() -> None:
    with pytest.raises(ValueError, match="'polite' is not one of 'plain', 'allow-refusal'"):
        render_question("what is it?", "polite")


def test_say_item() -> None:
    assert say_item("I do not know.") == ("say: I do not know.", "I do not know.")
