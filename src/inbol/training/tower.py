"""The tiny world's stand-in for CLIP pre-training: the vision tower learns shape and colour with two linear heads.

Without it the language model has to teach the tower through its own loss, and shapes stay at chance for as long as a laptop cares to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from inbol.training.resume import digest
from inbol.training.stream import Visit
from inbol.training.throughput import Counts

UNKNOWN = -100
"""Label of an attribute that no question of the image tells."""


class TowerProbe(nn.Module):
    """A vision tower, mean-pooled over patches, with one linear head per attribute."""

    def __init__(self, tower: nn.Module, hidden_size: int, num_classes: tuple[int, ...]) -> None:
        super().__init__()
        self.tower = tower
        self.heads = nn.ModuleList(nn.Linear(hidden_size, n) for n in num_classes)

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """Logits per attribute, [B, C] each, from pixel values [B, 3, H, W]."""
        pooled = self.tower(pixel_values).last_hidden_state[:, 1:].mean(1)  # without CLS
        return [head(pooled) for head in self.heads]


@dataclass(slots=True)
class TowerBatch:
    """Images and their attributes."""

    pixel_values: Tensor
    labels: Tensor
    """[B, attributes], `UNKNOWN` where not told."""
    real: Tensor
    """[B] 0 for repeats."""

    def to(self, device: torch.device) -> TowerBatch:
        """The same batch on `device`."""
        return TowerBatch(self.pixel_values.to(device), self.labels.to(device), self.real.to(device))


class TowerObjective:
    """Cross-entropy of the told attributes."""

    def __init__(
        self,
        labels: Sequence[tuple[int, ...]],
        load_image: Callable[[int, int], Image.Image],
        image_processor: Any,
        keys: Sequence[str] = (),
    ) -> None:
        """`labels[i]`: attribute classes of image i. `load_image(i, epoch)`: its pixels at that visit. `keys[i]`: its key."""
        self.keys = keys
        self.labels, self.load_image, self.image_processor = labels, load_image, image_processor
        self.size = len(labels)

    def name(self, index: int) -> str:
        """See `Objective.name`."""
        return self.keys[index] if self.keys else str(index)

    def identity(self) -> dict[str, Any]:
        """See `Objective.identity`."""
        records = digest(f"{self.name(index)} {list(classes)}" for index, classes in enumerate(self.labels))
        return {"objective": "tower", "records": records}

    def denominator(self, visit: Visit) -> float:
        """One per image."""
        return 1.0

    def length(self, visit: Visit) -> int:
        """All images are alike."""
        return 1

    def collate(self, visits: list[Visit]) -> TowerBatch:
        """Images at this visit and their labels."""
        images = [self.load_image(visit.index, visit.epoch) for visit in visits]
        pixels = self.image_processor(images=images, return_tensors="pt")["pixel_values"]
        labels = torch.tensor([self.labels[visit.index] for visit in visits])
        return TowerBatch(pixels, labels, torch.tensor([float(visit.real) for visit in visits]))

    def counts(self, batch: TowerBatch) -> Counts:
        """Images; the tower's patches are no tokens of a language model."""
        return Counts(samples=len(batch.labels))

    def terms(self, model: Any, batch: TowerBatch) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """See `Objective.terms`."""
        total = torch.zeros((), device=batch.real.device)
        metrics = {}
        for column, logits in enumerate(model(batch.pixel_values)):
            label = batch.labels[:, column]
            total = total + (batch.real * F.cross_entropy(logits, label, ignore_index=UNKNOWN, reduction="none")).sum()
            told = (label != UNKNOWN).float() * batch.real
            right = (logits.argmax(-1) == label).float() * told
            metrics[f"accuracy/attribute_{column}"] = float(right.sum()), float(told.sum())
        return total, metrics
