"""Records survive the way to disk and back, and a line that is none is refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbol.contracts import (
    Boundary,
    BoundaryLabel,
    Confidence,
    PreferencePair,
    Question,
    ReferenceLogps,
    ResponseSet,
    VqaSample,
    from_dict,
    from_json,
    to_json,
)

QUESTION = Question(key="i-q0", image_key="i", text="what é?", answers=("a", "b"), kind="color", template="what-color")
LABEL = BoundaryLabel(key="i-q0", image_key="i", label=Boundary.MISTAKEN, confidence=0.1, evidence="e")
CONFIDENCE = Confidence(
    key="i-q0", image_key="i", accuracy=None, consistency=0.5, entropy=0.0, logprob=-1.5, refused=0.0, fresh_accuracy=0.25
)


STOPPED = replace(CONFIDENCE, consistency=None, accuracy_bounds=(0.5, 0.9), agreement_bounds=(0.1, 0.5))


@pytest.mark.parametrize("record", [QUESTION, replace(QUESTION, answers=(), answerable=False), LABEL, CONFIDENCE, STOPPED], ids=repr)
def test_a_record_comes_back_equal_with_its_types(record: object) -> None:
    back = from_json(type(record), to_json(record))
    assert back == record
    assert [type(getattr(back, name)) for name in record.__slots__] == [type(getattr(record, name)) for name in record.__slots__]


def test_a_line_is_one_and_has_its_keys_sorted() -> None:
    assert to_json(LABEL) == '{"confidence": 0.1, "evidence": "e", "image_key": "i", "key": "i-q0", "label": "MISTAKEN"}'
    assert "é" in to_json(QUESTION)


def test_records_within_records() -> None:
    sample = VqaSample(
        key="i", image=b"1", image_format="png", split="test", source="toy", questions=(QUESTION, QUESTION), meta={"level": 0}
    )
    raw = {"key": "i", "image": b"1", "image_format": "png", "split": "test", "source": "toy", "meta": {"level": 0}}
    question = {"key": "i-q0", "image_key": "i", "text": "what é?", "answers": ["a", "b"], "kind": "color", "template": "what-color"}
    assert from_dict(VqaSample, {**raw, "questions": [question, question]}) == sample
    with pytest.raises(ValueError, match="Question has no field why"):
        from_dict(VqaSample, {**raw, "questions": [{**question, "why": 1}]})
    with pytest.raises(TypeError, match="cannot hold a bytes"):  # images live in shards alone
        to_json(sample)


def test_what_is_no_record_is_named() -> None:
    with pytest.raises(ValueError, match="not valid JSON for Question"):
        from_json(Question, '{"key": "i-q0"')
    with pytest.raises(ValueError, match="Question must be a JSON object, got list"):
        from_json(Question, "[1]")
    with pytest.raises(ValueError, match="Question has no field txt; fields are key, image_key, text"):
        from_json(Question, '{"key": "k", "image_key": "i", "text": "t", "txt": 1}')
    with pytest.raises(ValueError, match="Question lacks image_key, text"):
        from_json(Question, '{"key": "k"}')
    with pytest.raises(ValueError, match="'PERHAPS' is not a valid Boundary"):
        from_json(BoundaryLabel, to_json(LABEL).replace("MISTAKEN", "PERHAPS"))


def test_records_from_before_sampling_could_stop_are_read() -> None:
    old = '{"key": "q", "image_key": "i", "texts": ["a"], "logprobs": [-1.0], "num_tokens": [2], "fresh_texts": []}'
    assert from_json(ResponseSet, old).intended == 0
    old = '{"key": "q", "image_key": "i", "accuracy": 1.0, "consistency": 1.0, "entropy": 0.0, "logprob": -1.0, "refused": 0.0}'
    assert from_json(Confidence, old).accuracy_bounds == ()


def test_fields_that_came_later_are_written_where_they_say_something() -> None:
    """Pairs and reference log-probabilities without an altered image keep the bytes they had."""
    pair = PreferencePair(key="p", image_key="i", prompt="?", chosen="a", rejected="b", confidence=1.0, answer_is_chosen=True)
    assert to_json(pair) == (
        '{"answer_is_chosen": true, "chosen": "a", "confidence": 1.0, "image_key": "i", "key": "p", "prompt": "?", "rejected": "b", '
        '"role": "answerable", "weight": 1.0}'
    )
    assert to_json(ReferenceLogps(key="p", chosen=-1.0, rejected=-2.0)) == '{"chosen": -1.0, "key": "p", "rejected": -2.0}'
    for record in (
        replace(pair, altered="blank"),
        ReferenceLogps(key="p", chosen=-1.0, rejected=-2.0, altered_chosen=0.0, altered_rejected=-3.0),
    ):
        assert from_json(type(record), to_json(record)) == record
        assert "altered" in to_json(record)
