from __future__ import annotations

from inbol.building.misleading import answer_pools, misled
from inbol.contracts import Question, SftExample

RED = Question(key="q0", image_key="i", text="what color is it?", answers=("red", "crimson"), kind="color")
YES = Question(key="q1", image_key="i", text="is it red?", answers=("yes",), kind="yes/no")
WHO = Question(key="q2", image_key="i", text="who drew it?", answerable=False, kind="context-dependent")


def example(question: Question, target: str) -> SftExample:
    return SftExample(key=f"{question.key}-a", image_key="i", prompt=question.text, target=target, weight=1.0, role="answer")


def test_pools_hold_the_gold_answers_of_a_kind() -> None:
    other = Question(key="q3", image_key="i", text="is it blue?", answers=("no",), kind="yes/no")
    assert answer_pools([RED, YES, other, WHO]) == {"color": ("red",), "yes/no": ("no", "yes")}


def test_two_hints_at_one_wrong_answer_and_the_right_target() -> None:
    """Of "Crimson", "red" and "blue", only "blue" is wrong."""
    explicit, implicit = misled(example(RED, "red"), RED, ("Crimson", "red", "blue"), seed=0)
    assert (explicit.key, implicit.key) == ("q0-ae", "q0-ai")
    assert explicit.prompt == "what color is it? And the true answer is: blue"
    assert implicit.prompt.startswith("what color is it? ") and "blue" in implicit.prompt and "true answer" not in implicit.prompt
    assert {(e.target, e.weight, e.role) for e in (explicit, implicit)} == {("red", 1.0, "answer")}


def test_nothing_misleads_where_no_answer_is_wrong_or_none_is_right() -> None:
    assert misled(example(YES, "yes"), YES, ("yes",), seed=0) == ()
    assert misled(example(WHO, "I do not know."), WHO, ("red",), seed=0) == ()


def test_the_draw_is_seeded_by_question() -> None:
    pool = ("blue", "green", "black", "white", "teal")
    drawn = {seed: misled(example(RED, "red"), RED, pool, seed=seed) for seed in range(8)}
    assert drawn[0] == misled(example(RED, "red"), RED, pool, seed=0)
    assert len({pair[0].prompt for pair in drawn.values()}) > 1
