"""How fast training runs: counts of a micro-batch, floating-point operations per token, and the share of a device's peak that is used."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import Any

import torch

from inbol.models.families import family_of_model

PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10G": 70e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Dense bf16 tensor-core peak in FLOP/s, by a part of the device's name, the first that fits (NVIDIA's data sheets, without sparsity)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a micro-batch holds."""

    samples: int = 0
    """Pairs or examples."""
    tokens: int = 0
    """Tokens that are no padding, image tokens included."""
    slots: int = 0
    """Tokens with padding."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.samples + other.samples, self.tokens + other.tokens, self.slots + other.slots)


def flops_per_token(model: Any) -> float:
    """Floating-point operations of the language model per token of a forward and backward pass, without attention scores.

    Two for every parameter in the forward pass, two for the gradient of what it reads, and two for its own gradient if it is trained
    (Kaplan et al., arXiv 2001.08361, section 2.1; frozen weights need none of the last). Embeddings are looked up, not multiplied; the
    output head and the last layer are counted for every token although they run where they are read alone, attention scores and the vision
    tower are not counted at all: an estimate, for comparing runs of one model. A recomputed forward pass does not count: it is overhead.
    """
    family, flops = family_of_model(model), 0.0
    embeddings = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    head = {id(parameter) for parameter in model.get_output_embeddings().parameters()}
    for name, parameter in model.named_parameters():
        if family.beside_language(name) or (id(parameter) in embeddings and id(parameter) not in head):
            continue
        size = int(getattr(parameter, "ds_numel", parameter.numel()))  # ZeRO-3 leaves an empty tensor and its size beside
        flops += (6 if parameter.requires_grad else 4) * size
    return flops


def peak_flops() -> float | None:
    """This process's device's peak in FLOP/s, or None where it is not known (CPUs among them)."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def peak_memory_gb() -> float:
    """Largest memory so far: the device's allocated memory with a GPU, the process's resident memory without."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def rates(counts: Counts, *, seconds: float, world_size: int, flops: float | None, peak: float | None) -> dict[str, float]:
    """Figures to log.

    Args:
        counts: summed over all ranks.
        seconds: that they took.
        world_size: number of ranks.
        flops: per token, of `flops_per_token`; None where it is not known.
        peak: of one device, of `peak_flops`; None where it is not known.

    Returns:
        `throughput/samples_per_second`, `throughput/tokens_per_second`, `throughput/padding_share` in [0, 1], and with both `flops` and
        `peak` known `throughput/mfu`, the model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B) in [0, 1].
    """
    seconds = max(seconds, 1e-9)
    figures = {
        "throughput/samples_per_second": counts.samples / seconds,
        "throughput/tokens_per_second": counts.tokens / seconds,
        "throughput/padding_share": 1 - counts.tokens / max(counts.slots, 1),
    }
    if flops is not None and peak is not None:
        figures["throughput/mfu"] = counts.tokens * flops / seconds / (peak * world_size)
    return figures
