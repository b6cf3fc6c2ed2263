"""Training data of the tiny base: what a visit asks, what it shows, and that denominators are told from records alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from toy import processor

from inbol.contracts import Question, VqaSample
from inbol.models.tree import TreeCollator
from inbol.training.pretrain import Lesson, PretrainObjective
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


def balanced(sample: VqaSample) -> list[tuple[list[Question], int]]:
    """One of the absent colours at most, then the rest."""
    absent = [q for q in sample.questions if "blue" in q.text or "green" in q.text]
    return [(absent, 1), ([q for q in sample.questions if q not in absent], 3)]


def all_four(sample: VqaSample) -> list[tuple[list[Question], int]]:
    return [(list(sample.questions), 4)]


@pytest.fixture(scope="module")
def objective() -> PretrainObjective:
    return PretrainObjective(
        [sample(0), sample(1)],
        TreeCollator(processor()),
        lessons=[
            Lesson(until=1.5, undegraded=True, pools=balanced),
            Lesson(until=16, undegraded=False, pools=all_four),
        ],
        questions_per_image=3,
        say_items=2,
        refusals=["i cannot tell.", "sorry.", "hard to say."],
        seed=0,
    )


def test_a_visit_draws_from_the_pools_of_its_lesson_and_says_refusals(objective: PretrainObjective) -> None:
    """3 questions and 2 "say:" items. At first 1 of the 2 absent colours is asked beside both others, later any 3 of the 4."""
    texts = set()
    for epoch in range(16):
        asked = objective.ask(0, epoch)
        assert len(asked) == 5
        absent = sum("blue" in question or "green" in question for question, _ in asked)
        assert absent == 1 if epoch < 2 else absent in (1, 2)
        said = [(question, answer) for question, answer in asked if question.startswith("say: ")]
        assert len(said) == 2 and asked[3:] == said and all(question == f"say: {answer}" for question, answer in said)
        texts |= {question for question, _ in asked}
    assert {"is it blue?", "is it green?"} <= texts  # drawn anew at every visit


def test_the_last_lesson_goes_on_to_the_end(objective: PretrainObjective) -> None:
    """1.5 epochs of the first lesson are visits 0 and 1."""
    assert [objective.lesson(epoch) for epoch in (0, 1, 2, 15, 16, 99)] == [0, 0, 1, 1, 1, 1]


def test_visits_are_pure_functions_of_index_and_epoch(objective: PretrainObjective) -> None:
    for epoch in range(3):
        assert objective.ask(1, epoch) == objective.ask(1, epoch)
        assert np.array_equal(np.asarray(objective.image(1, epoch)), np.asarray(objective.image(1, epoch)))


def test_levels_are_drawn_anew_and_the_warm_up_starts_undegraded(objective: PretrainObjective) -> None:
    """Level 0 leaves the red image, level 1 covers it whole with grey 128; the first lesson, visits 0 and 1, is undegraded."""
    assert {np.asarray(objective.image(0, epoch))[0, 0, 1] for epoch in range(2)} == {0}
    assert {np.asarray(objective.image(0, epoch))[0, 0, 1] for epoch in range(2, 16)} == {0, 128}
    assert {np.asarray(objective.clear_image(1, epoch, undegraded_epochs=4))[0, 0, 1] for epoch in range(16)} == {0}


def test_refusals_to_say_count_per_token_and_repeats_not_at_all(objective: PretrainObjective) -> None:
    """Three questions of weight 1, and two refusals of 1 / tokens each (end-of-sequence included)."""
    batch = objective.collate([Visit(0, 0, True), Visit(1, 0, False)])
    tokens = [1 / len(objective.collator.encoder.response_ids(text)) for _, text in objective.ask(0, 0)[3:]]
    assert max(tokens) < 0.5
    assert batch.weights.tolist() == pytest.approx([1.0, 1.0, 1.0, *tokens] + [0.0] * 5)
    assert objective.denominator(Visit(0, 0, True)) == pytest.approx(3 + sum(tokens))
    assert batch.trees.num_responses == 10
