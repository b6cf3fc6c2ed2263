"""Training data of the tiny base: what a visit asks, what it shows, and that denominators are told from records alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from toy import processor

from inbol.contracts import Question, VqaSample
from inbol.models.tree import TreeCollator
from inbol.training.pretrain import PretrainObjective
from inbol.training.stream import Visit

LEVELS = [{"occlusion": 0.0, "noise": 0.0, "blur": 0.0, "contrast": 1.0}, {"occlusion": 1.0, "noise": 0.0, "blur": 0.0, "contrast": 1.0}]


def sample(number: int) -> VqaSample:
    """A red 16x16 image with one colour question and three yes/no questions, two of which name an absent colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(buffer, format="PNG")
    asked = [("what color?", "red"), ("is it red?", "yes"), ("is it blue?", "no"), ("is it green?", "no")]
    questions = tuple(
        Question(key=f"i{number}-q{n}", image_key=f"i{number}", text=text, answers=(answer,), kind="yes/no" if n else "color")
        for n, (text, answer) in enumerate(asked)
    )
    meta = {"color": "red", "level": number, "degradation": LEVELS[number]}
    return VqaSample(
        key=f"i{number}", image=buffer.getvalue(), image_format="png", split="pretrain", source="toy", questions=questions, meta=meta
    )


def absent(sample: VqaSample, question: Question) -> bool:
    return any(color in question.text for color in ("blue", "green"))


@pytest.fixture(scope="module")
def objective() -> PretrainObjective:
    return PretrainObjective(
        [sample(0), sample(1)],
        TreeCollator(processor()),
        questions_per_image=3,
        absent_questions=1,
        names_absent=absent,
        say_items=2,
        refusals=["i cannot tell.", "sorry.", "hard to say."],
        seed=0,
    )


def test_a_visit_asks_few_absent_colours_and_says_refusals(objective: PretrainObjective) -> None:
    """3 questions: 1 of the 2 absent ones, both others; and 2 "say:" items. 5 in all, so the denominator is 5."""
    texts = set()
    for epoch in range(8):
        asked = objective.ask(0, epoch)
        assert len(asked) == 5
        assert sum("blue" in question or "green" in question for question, _ in asked) == 1
        assert {"what color?", "is it red?"} <= {question for question, _ in asked}
        said = [(question, answer) for question, answer in asked if question.startswith("say: ")]
        assert len(said) == 2 and all(question == f"say: {answer}" for question, answer in said)
        texts |= {question for question, _ in asked}
        assert objective.denominator(Visit(0, epoch, True)) == 5
    assert {"is it blue?", "is it green?"} <= texts  # drawn anew at every visit


def test_visits_are_pure_functions_of_index_and_epoch(objective: PretrainObjective) -> None:
    for epoch in range(3):
        assert objective.ask(1, epoch) == objective.ask(1, epoch)
        assert np.array_equal(np.asarray(objective.image(1, epoch)), np.asarray(objective.image(1, epoch)))


def test_levels_are_drawn_anew_and_the_warm_up_starts_undegraded(objective: PretrainObjective) -> None:
    """Level 0 leaves the red image, level 1 covers it whole with grey 128."""
    seen = {np.asarray(objective.image(0, epoch))[0, 0, 1] for epoch in range(16)}
    assert seen == {0, 128}
    assert {np.asarray(objective.clear_image(1, epoch, undegraded_epochs=4))[0, 0, 1] for epoch in range(16)} == {0}


def test_repeats_weigh_nothing(objective: PretrainObjective) -> None:
    batch = objective.collate([Visit(0, 0, True), Visit(1, 0, False)])
    assert batch.weights.tolist() == [1.0] * 5 + [0.0] * 5
    assert batch.trees.num_responses == 10
