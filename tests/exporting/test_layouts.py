"""One record in every layout, by hand."""

from __future__ import annotations

import pytest

from inbol.contracts import PreferencePair, SftExample
from inbol.exporting import layouts

EXAMPLE = SftExample(key="k-r", image_key="k", prompt="what?", target="I cannot tell.", weight=0.25, role="refusal")
PAIR = PreferencePair(key="k-p0", image_key="k", prompt="what?", chosen="a cup", rejected="No idea.", confidence=0.8, answer_is_chosen=True)
EXTRA = {"key": "k-r", "image_key": "k", "weight": 0.25, "role": "refusal"}
PAIR_EXTRA = {
    "key": "k-p0",
    "image_key": "k",
    "confidence": 0.8,
    "answer_is_chosen": True,
    "weight": 1.0,
    "role": "answerable",
    "altered": "",
}


def test_trl() -> None:
    user = {"role": "user", "content": "what?"}
    assert layouts.trl_row(EXAMPLE) == {"messages": [user, {"role": "assistant", "content": "I cannot tell."}], **EXTRA}
    chosen, rejected = ({"role": "assistant", "content": text} for text in ("a cup", "No idea."))
    assert layouts.trl_row(PAIR) == {"prompt": [user], "chosen": [chosen], "rejected": [rejected], **PAIR_EXTRA}


def test_llama_factory_has_one_placeholder_for_its_one_image() -> None:
    human = {"from": "human", "value": "<image>what?"}
    turns = [human, {"from": "gpt", "value": "I cannot tell."}]
    assert layouts.llama_factory_row(EXAMPLE, "images/k.png") == {"conversations": turns, "images": ["images/k.png"], **EXTRA}
    row = layouts.llama_factory_row(PAIR, "images/k.png")
    assert (row["conversations"], row["images"]) == ([human], ["images/k.png"])
    assert (row["chosen"], row["rejected"]) == ({"from": "gpt", "value": "a cup"}, {"from": "gpt", "value": "No idea."})
    info = layouts.dataset_info({"sft": "sft.jsonl", "pairs": "pairs.jsonl"})
    columns = {"messages": "conversations", "images": "images"}
    assert info["inbol_sft"] == {"file_name": "sft.jsonl", "formatting": "sharegpt", "columns": columns}
    assert info["inbol_pairs"]["ranking"] is True
    assert info["inbol_pairs"]["columns"] == {**columns, "chosen": "chosen", "rejected": "rejected"}


def test_ms_swift() -> None:
    user = {"role": "user", "content": "<image>what?"}
    said = {"role": "assistant", "content": "I cannot tell."}
    assert layouts.ms_swift_row(EXAMPLE, "images/k.png") == {"messages": [user, said], "images": ["images/k.png"], **EXTRA}
    row = layouts.ms_swift_row(PAIR, "images/k.png")
    assert row["messages"] == [user, {"role": "assistant", "content": "a cup"}]
    assert row["rejected_response"] == "No idea."


def test_hf_is_the_record_itself() -> None:
    assert layouts.hf_row(EXAMPLE) == {**EXTRA, "prompt": "what?", "target": "I cannot tell."}


@pytest.mark.parametrize("make", [layouts.llama_factory_row, layouts.ms_swift_row])
def test_a_text_with_a_place_of_an_image_is_refused(make: layouts.Record) -> None:
    bad = PreferencePair(key="k", image_key="k", prompt="q", chosen="a", rejected="<video>", confidence=0, answer_is_chosen=True)
    with pytest.raises(ValueError, match=r"k: rejected holds '<video>'.*export as trl or hf"):
        make(bad, "x.png")
