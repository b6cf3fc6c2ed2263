"""The comparison of estimators, from record files to the table: two seeds, worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from inbol.contracts import Estimate, Question, ResponseSet, VqaSample
from inbol.evaluation import calibration
from inbol.reporting.estimators import Scored, estimator_table, load_scored, quality
from inbol.shards.files import write_records
from inbol.shards.writer import write_shard

NAMES = ("accuracy", "semantic-entropy")
PNG = b"\x89PNG\r\n\x1a\n"


def world(folder: Path, fresh: Sequence[tuple[str, ...]], scores: Sequence[tuple[float, float]]) -> Scored:
    """Two images with two questions each, and one in an unseen wording that does not count."""
    name, asked = "test-000000", [(image, n) for image in ("a", "b") for n in range(2)]
    questions = [Question(key=f"{i}-q{n}", image_key=i, text="what color?", answers=("red",)) for i, n in asked]
    unseen = Question(key="b-q9", image_key="b", text="what hue?", answers=("red",), wording="unseen")
    beyond = ResponseSet(key="b-u0", image_key="b", texts=("x",), logprobs=(-1.0,), num_tokens=(1,), fresh_texts=("x",))
    samples = [
        VqaSample(key=i, image=PNG, image_format="png", split="test", source="toy",
                  questions=(*(q for q in questions if q.image_key == i), *([unseen] if i == "b" else [])))
        for i in ("a", "b")
    ]  # fmt: skip
    drawn = [
        ResponseSet(key=q.key, image_key=q.image_key, texts=("red",), logprobs=(-1.0,), num_tokens=(1,), fresh_texts=f)
        for q, f in zip([*questions, unseen], [*fresh, ("red",)])
    ]
    found = [
        Estimate(key=q.key, image_key=q.image_key, scores=dict(zip(NAMES, s))) for q, s in zip([*questions, unseen], [*scores, (0.0, 0.0)])
    ]
    write_shard(folder / "vqa" / f"{name}.tar", samples)
    write_records(folder / "responses" / f"{name}.jsonl", [*drawn, beyond])
    write_records(folder / "estimates" / f"{name}.jsonl", [*found, Estimate(key="b-u0", image_key="b", scores={})])
    return load_scored(folder / "vqa", folder / "responses", folder / "estimates", split="test", estimators=NAMES)


FRESH = [("red", "red"), ("red", "blue"), ("blue", "I do not know."), ("blue", "blue")]
SCORES = [(0.9, -1.0), (0.6, -0.5), (0.2, -0.1), (0.1, -0.2)]


def test_a_table_by_hand(tmp_path: Path) -> None:
    """Right: 1, .5, 0, 0 (a refusal is not right). accuracy ranks as 1.5 right ones over 2.5 wrong ones: of 3.75 pairs all are won but
    .25 (the half-right question against itself counts half: .125), 3.625 / 3.75. Brier: (.01 + (.16 + .36) / 2 + .04 + .01) / 4 = .08.
    The entropy puts the half-right above the right and both wrong ones above these: 1 x 0 + .5 x 0, ties .125, and the half-right one
    beats half a wrong: right 1 at -1 wins nothing; .5 at -.5 wins .25 / 2: .125 / 3.75. AP of accuracy: 1 of 1.5 right ones at precision
    1, .5 at .75: 1.375 / 1.5.
    """
    scored = world(tmp_path, FRESH, SCORES)
    assert scored.keys == ("a-q0", "a-q1", "b-q0", "b-q1") and scored.right.tolist() == [1.0, 0.5, 0.0, 0.0] and scored.num_images == 2
    found = quality([scored], "accuracy", resamples=50, seed=0)
    assert found["AUROC"].value == pytest.approx(3.625 / 3.75)
    assert found["AP"].value == pytest.approx(1.375 / 1.5)
    assert found["Brier"].value == pytest.approx(0.08)
    entropy = quality([scored], "semantic-entropy", resamples=50, seed=0)
    assert set(entropy) == {"AUROC", "AP", "AURC"} and entropy["AUROC"].value == pytest.approx(0.125 / 3.75)


def test_seeds_are_averaged_and_compared_in_pairs(tmp_path: Path) -> None:
    one, two = world(tmp_path / "0", FRESH, SCORES), world(tmp_path / "1", FRESH[::-1], SCORES)
    table = estimator_table([one, two], NAMES, resamples=50, seed=0, split="test")
    values = [calibration.evaluate(calibration.auroc, s.scores["accuracy"], s.right) for s in (one, two)]
    first, second = (dict(zip([c.name for c in table.columns], cells)) for _, cells in table.rows)
    assert None not in values and first["AUROC"].value == pytest.approx(np.mean([v for v in values if v is not None]))
    assert first["AUROC - first"].value is None and second["ECE"].value is None
    a, b = second["AUROC"].value, first["AUROC"].value
    assert a is not None and b is not None and second["AUROC - first"].value == pytest.approx(a - b)
    assert first["AUROC"].low is not None and table.rows[0][0] == "accuracy of samples"
    assert all(cell.n == 4 for cell in table.rows[0][1][:5])


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    scored = world(tmp_path / "0", FRESH, SCORES)
    with pytest.raises(ValueError, match="a-q0: no fresh samples, which grade the estimators"):
        world(tmp_path / "1", [()] * 4, SCORES)
    other = Scored(scored.keys[::-1], scored.image, 2, scored.right, scored.scores)
    with pytest.raises(ValueError, match="not about the same questions"):
        quality([scored, other], "accuracy", resamples=50, seed=0)
    with pytest.raises(ValueError, match="no answerable question in a seen wording in split 'align-val'"):
        load_scored(tmp_path / "0/vqa", tmp_path, tmp_path, split="align-val", estimators=NAMES)
