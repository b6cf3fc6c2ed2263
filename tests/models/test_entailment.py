"""The entailment model through transformers, from a folder: a random BERT classifier of a few thousand parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from inbol.models.entailment import Entailment

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "scarlet", "what", "color"]
PAIRS = [(a, b) for a in WORDS[4:] for b in ("red blue", "what color red", "scarlet")] * 5


def save(folder: Path, labels: dict[int, str]) -> Path:
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, initializer_range=1.0,
        num_labels=len(labels), id2label=labels,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    encoded = fast([a for a, _ in PAIRS], [b for _, b in PAIRS], padding=True, return_tensors="pt")
    entails = next((n for n, name in labels.items() if name.lower() == "entailment"), 0)
    with torch.no_grad():  # entailment wins in about half of the pairs
        logits = model.eval()(**encoded).logits
        others = logits[:, [n for n in labels if n != entails]].amax(1)
        model.classifier.bias[entails] -= (logits[:, entails] - others).median() - 1e-3
    model.save_pretrained(folder)
    return folder


def test_decisions_are_those_of_single_pairs(tmp_path: Path) -> None:
    """75 pairs, more than a batch, of unequal length; one at a time they decide the same. The label is found by its name."""
    folder = save(tmp_path, {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    entails = Entailment(folder, torch.device("cpu"))
    together = entails(PAIRS)
    assert together == [decision for pair in PAIRS for decision in entails([pair])]
    assert 0 < sum(together) < len(PAIRS)
    others = Entailment(save(tmp_path / "other", {0: "entailment", 1: "not_entailment", 2: "x"}), torch.device("cpu"))
    assert others.label == 0


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config.json; give the folder of a transformers sequence classifier"):
        Entailment(tmp_path, torch.device("cpu"))
    with pytest.raises(ValueError, match="one must be called entailment"):
        Entailment(save(tmp_path, {0: "LABEL_0", 1: "LABEL_1"}), torch.device("cpu"))
