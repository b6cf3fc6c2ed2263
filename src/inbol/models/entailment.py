"""Whether one sentence entails another, by a sequence classifier from a local folder (DeBERTa-MNLI and its like)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH = 64
"""Pairs of sentences in a forward pass."""


class Entailment:
    """(premise, hypothesis) pairs in, decisions out."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """
        Args:
            folder: a transformers checkpoint with its tokenizer, and a label with "entail" in its name.
            device: where it runs.

        Raises:
            ValueError: the folder is absent, or not exactly one of the model's labels is an entailment.
        """
        if not (folder / "config.json").is_file():
            raise ValueError(f"confidence.entailment: {folder} holds no config.json; give the folder of a transformers sequence classifier")
        self.device = device
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False).eval().to(device)
        labels = {int(index): str(name).lower() for index, name in self.model.config.id2label.items()}
        found = [index for index, name in labels.items() if "entail" in name and "not" not in name]
        if len(found) != 1:
            raise ValueError(
                f"confidence.entailment: the labels of {folder} are {', '.join(labels.values())}; one must be called entailment"
            )
        self.label = found[0]

    @torch.inference_mode()
    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether entailment is the likeliest label of each pair."""
        decided: list[bool] = []
        for start in range(0, len(pairs), BATCH):
            part = pairs[start : start + BATCH]
            encoded = self.tokenizer(
                [premise for premise, _ in part], [hypothesis for _, hypothesis in part], padding=True, truncation=True, return_tensors="pt"
            ).to(self.device)
            decided += (self.model(**encoded).logits.argmax(-1) == self.label).tolist()
        return decided
