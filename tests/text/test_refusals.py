from __future__ import annotations

import random

import pytest

from inbol.contracts import UNSOLVABLE_KINDS
from inbol.text.refusals import REASONS, WORDINGS, all_refusals, is_refusal, refusal, say_refusals

QUESTION = "what color is the circle?"
ANSWER_WORDS = {"yes", "no", "circle", "rectangle", "triangle", "red", "green", "blue", "black", "gray", "teal", "brown", "yellow"}


def test_wordings_are_many_short_and_begin_differently() -> None:
    assert len(set(WORDINGS)) == len(WORDINGS) >= 16
    first = {wording.split()[0].strip(",").lower() for wording in WORDINGS}
    assert len(first) >= 8
    assert not first & ANSWER_WORDS
    assert max(len(wording.split()) for wording in WORDINGS) <= 9


def test_every_refusal_is_detected_whatever_was_asked() -> None:
    refusals = all_refusals()
    assert len(refusals) == len(WORDINGS) * (1 + sum(len(reasons) for reasons in REASONS.values()))
    questions = (QUESTION, "is there not a teal shape in the image?", "how heavy is the figure?")
    assert [(r, q) for r in refusals for q in questions if not is_refusal(r, q)] == []


def test_every_kind_has_reasons() -> None:
    assert set(REASONS) == {"unknown", *UNSOLVABLE_KINDS}


def test_refusal_draws_from_the_lists() -> None:
    rng = random.Random(0)
    drawn = [refusal(kind, with_reason=with_reason, rng=rng) for kind in REASONS for with_reason in (False, True) for _ in range(50)]
    assert set(drawn) <= set(all_refusals())
    assert refusal("vague", with_reason=True, rng=random.Random(1), reason="it is dark.").endswith(", because it is dark.")


def test_a_refusal_for_want_of_knowledge_does_not_blame_the_image() -> None:
    rng = random.Random(0)
    drawn = {refusal("unknown", with_reason=False, rng=rng) for _ in range(2000)}
    assert "I do not know." in drawn
    assert not drawn & {"That is not shown here.", "The image does not show that.", "Nothing in the image answers that."}


def test_first_words_are_uneven_so_that_greedy_decoding_can_refuse() -> None:
    """Five wordings of weight 5 begin with "I", 17 of weight 1 do not: 25 / 42 = .595 of the draws; of 2,000, within .05."""
    rng = random.Random(0)
    drawn = [refusal("vague", with_reason=False, rng=rng) for _ in range(2000)]
    assert sum(d.startswith("I ") for d in drawn) / 2000 == pytest.approx(25 / 42, abs=0.05)


def test_exercises_are_mostly_plain() -> None:
    exercises = say_refusals()
    assert set(exercises) == set(all_refusals())
    assert sum(e in WORDINGS for e in exercises) / len(exercises) == pytest.approx(2 / 3)


def test_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="'sound' has no refusal; known kinds are unknown, false-premise"):
        refusal("sound", with_reason=False, rng=random.Random(0))


@pytest.mark.parametrize(
    "text",
    [
        "It cannot be determined from the image.",
        "I'm sorry, but I can't see it.",
        "Sorry, I can't help with it",
        "The color is not visible.",
        "unanswerable",
        "unknown",
        "There is no way to tell who drew it.",
        "No one could know that from this picture.",
        "No, it is not possible to determine the color from the image.",
        "The image shows a man on a phone, but it is not possible to determine who he is calling.",
        "The image does not provide enough information to answer.",
        "I can't tell, but I can describe the image.",
        "As an AI, I have no taste.",
        "Whether it is beautiful is a matter of opinion.",
        "This question is beyond the scope of my knowledge, and I am not sure what the answer is.",
        "I am not sure, but I cannot tell.",
        "not sure",
        "I have no idea",
    ],
)
def test_other_peoples_refusals_are_detected(text: str) -> None:
    assert is_refusal(text, QUESTION)


@pytest.mark.parametrize(
    "text",
    [
        *sorted(ANSWER_WORDS),
        "",
        "not red",
        "no, it is red",
        "No, the circle is not shown.",
        "there is no circle",
        "there is not a red shape",
        "The image does not show a circle.",
        "the image does not contain a circle",
        "it is not a circle",
        "I am not sure, but it looks red.",
        "I'm not sure, maybe red.",
        "I cannot tell for certain, but probably red.",
        "It is red, but I am not certain.",
        "probably blue",
    ],
)
def test_answers_are_no_refusals(text: str) -> None:
    assert not is_refusal(text, QUESTION)


def test_echoed_phrases_do_not_count() -> None:
    assert is_refusal("unknown", "is the dog asleep?")
    assert not is_refusal("unknown", "is the sender known or unknown?")
