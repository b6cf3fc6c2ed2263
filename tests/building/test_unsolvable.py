from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from inbol.building.templates import SEEN, UNSEEN
from inbol.building.unsolvable import make_unsolvable
from inbol.contracts import UNSOLVABLE_KINDS, Question, VqaSample
from inbol.sources.wordings import parse
from inbol.text.refusals import REASONS, is_refusal

ARGUMENTS: dict[str, Any] = {"false_premises": 2, "others": 2, "held_out": ("other-modality",), "seed": 0}
TEXT_KINDS = set(UNSOLVABLE_KINDS) - {"false-premise"}


def sample(key: str = "i0", shape: str = "circle", color: str = "red") -> VqaSample:
    meta = {"shape": shape, "color": color}
    return VqaSample(key=key, image=b"", image_format="png", split="test", source="easy-vqa", questions=(), meta=meta)


def many(split: str, n: int = 300, **changes: Any) -> list[Question]:
    return [q for i in range(n) for q in make_unsolvable(sample(f"i{i}"), split=split, **{**ARGUMENTS, **changes})]


def test_templates_are_many_and_disjoint() -> None:
    assert set(SEEN) == set(UNSEEN) == TEXT_KINDS
    for kind in SEEN:
        seen, unseen = {t for t, _ in SEEN[kind]}, {t for t, _ in UNSEEN[kind]}
        assert len(seen) == len(SEEN[kind]) >= 40
        assert len(unseen) == len(UNSEEN[kind]) >= 20
        assert not seen & unseen
        assert {reason for _, reason in SEEN[kind] + UNSEEN[kind]} <= set(REASONS[kind])


def test_unseen_templates_use_mostly_words_met_in_training() -> None:
    def words(table: dict[str, tuple[tuple[str, str], ...]]) -> set[str]:
        return {word.strip("?.,") for rows in table.values() for text, _ in rows for word in text.split()}

    new = words(UNSEEN) - words(SEEN)
    assert len(new) <= 0.05 * len(words(UNSEEN)), sorted(new)


def test_training_gets_seen_wordings_of_the_kinds_not_held_out() -> None:
    """300 images of 2 false premises and 2 others: 600 each; the others even over three kinds, 200 +- 40 each."""
    questions = many("align-train")
    kinds = Counter(q.kind for q in questions)
    assert kinds.total() == 1200
    assert kinds["false-premise"] == 600
    assert kinds["other-modality"] == 0
    assert all(abs(kinds[kind] - 200) < 40 for kind in ("context-dependent", "subjective", "vague"))
    assert {q.wording for q in questions} == {"seen"}


@pytest.mark.parametrize("split", ["align-val", "test"])
def test_evaluation_gets_every_kind_evenly_and_unseen_templates(split: str) -> None:
    """600 others over four kinds: 150 +- 40 each. False premises come half in unseen wordings: 300 +- 60 of 600."""
    questions = many(split)
    kinds = Counter(q.kind for q in questions)
    assert kinds.total() == 1200
    assert all(abs(kinds[kind] - 150) < 40 for kind in TEXT_KINDS)
    assert {q.wording for q in questions if q.kind != "false-premise"} == {"unseen"}
    premises = Counter(q.wording for q in questions if q.kind == "false-premise")
    assert premises.total() == 600
    assert abs(premises["unseen"] - 300) < 60


def test_no_template_of_the_evaluation_occurs_in_training() -> None:
    trained = {q.template for q in many("align-train")}
    tested = {q.template for q in many("test") if q.wording == "unseen"}
    assert len(trained) > 100
    assert len(tested) > 50
    assert not trained & tested


def test_false_premises_presuppose_what_the_image_lacks() -> None:
    premises = [q for q in many("test") if q.kind == "false-premise"]
    assert len(premises) == 600
    meanings = [parse(q.text) for q in premises]
    assert {m.name for m in meanings} == {"what-shape-of-color", "what-color-of-shape"}
    assert all(m.color != "red" and m.shape != "circle" for m in meanings)
    absent = [f"{m.color} shape" if m.color else m.shape for m in meanings]
    assert [q.reason for q in premises] == [f"the image has no {thing}" for thing in absent]
    assert {q.reason for q in premises} <= set(REASONS["false-premise"])


def test_what_is_unknown_about_an_image_is_not_presupposed() -> None:
    def premises(**known: str) -> list[str]:
        made = make_unsolvable(sample(**known), split="test", **{**ARGUMENTS, "false_premises": 9})
        return [parse(q.text).name for q in made if q.kind == "false-premise"]

    assert premises(shape="", color="") == []
    assert premises(shape="circle", color="") == ["what-color-of-shape"] * 2  # two other shapes
    assert premises(shape="", color="red") == ["what-shape-of-color"] * 7  # seven other colours
    assert len(premises()) == 9


def test_questions_are_valid_and_distinct() -> None:
    questions = many("align-train") + many("test")
    assert len(questions) == 2400
    assert all(not q.answerable and q.answers == () and q.kind in UNSOLVABLE_KINDS and q.reason and q.template for q in questions)
    assert not any("{" in q.text for q in questions)
    assert not any(is_refusal(q.text, "") for q in questions)
    keys = [q.key for q in many("test")]
    assert len(set(keys)) == len(keys)
    assert keys[:4] == ["i0-u00", "i0-u01", "i0-u02", "i0-u03"]


def test_the_draw_depends_on_seed_and_image_alone() -> None:
    assert many("test", 5) == many("test", 5)
    assert many("test", 5) != many("test", 5, seed=1)
    assert many("test", 5)[4:8] == list(make_unsolvable(sample("i1"), split="test", **ARGUMENTS))


def test_held_out_false_premises_stay_out_of_training() -> None:
    changes = {"held_out": ("false-premise",)}
    assert "false-premise" not in {q.kind for q in many("align-train", 20, **changes)}
    assert "false-premise" in {q.kind for q in many("test", 20, **changes)}


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'pretrain' gets no unsolvable questions"):
        make_unsolvable(sample(), split="pretrain", **ARGUMENTS)
    with pytest.raises(ValueError, match=r"\['smells'\] are not kinds"):
        make_unsolvable(sample(), split="test", **{**ARGUMENTS, "held_out": ("smells",)})
