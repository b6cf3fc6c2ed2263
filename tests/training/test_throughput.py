"""Rates by hand, and the operations of a model whose parameters are counted by hand."""

from __future__ import annotations

import families
import pytest
import torch
import toy

from inbol.models.load import add_lora
from inbol.models.tree import LENGTH_STEP, TreeCollator
from inbol.training.objectives import SftObjective
from inbol.training.stream import Visit
from inbol.training.throughput import Counts, flops_per_token, peak_flops, peak_memory_gb, rates


def test_rates() -> None:
    """80 samples and 900 tokens in 1000 slots in 4 s: 20/s, 225/s, a tenth is padding. 900 tokens x 1e6 FLOPs / 4 s over 2 x 1e9: .1125."""
    counts = Counts(50, 600, 640) + Counts(30, 300, 360)
    figures = rates(counts, seconds=4.0, world_size=2, flops=1e6, peak=1e9)
    assert figures == pytest.approx(
        {
            "throughput/samples_per_second": 20,
            "throughput/tokens_per_second": 225,
            "throughput/padding_share": 0.1,
            "throughput/mfu": 0.1125,
        }
    )


def test_without_a_known_peak_no_share_of_it_is_claimed() -> None:
    assert "throughput/mfu" not in rates(Counts(1, 1, 1), seconds=1.0, world_size=1, flops=1e6, peak=None)
    assert "throughput/mfu" not in rates(Counts(1, 1, 1), seconds=1.0, world_size=1, flops=None, peak=1e9)
    assert peak_flops() is None or torch.cuda.is_available()
    assert 0.05 < peak_memory_gb() < 64


def test_flops_count_the_language_model_and_its_head_once() -> None:
    """Tied embeddings are the head. Width 32, two layers of 4 x 32 x 32 + 3 x 32 x 64 and two norms, a last norm, 400 rows of head."""
    model = toy.model()
    rows = model.get_output_embeddings().out_features
    language = 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32) + 32 + rows * 32
    assert flops_per_token(model) == 6 * language
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert flops_per_token(model) == 4 * language


def test_adapters_cost_little_and_save_the_frozen_gradients() -> None:
    model = families.model("qwen3_vl")
    full = flops_per_token(model)
    adapted = flops_per_token(add_lora(model, r=2, alpha=4, dropout=0.0, target_modules=("q_proj",)))
    assert 4 / 6 < adapted / full < 4 / 6 + 0.05


def test_a_batch_counts_its_tokens_and_its_padding() -> None:
    """One tree alone fills its row up to the next eight; its tokens are prefix, prompts, and responses without their ends."""
    collator = TreeCollator(toy.processor())
    objective = SftObjective(toy.sft_examples(), toy.image, collator)
    batch = objective.collate([Visit(1, 0, True)])
    encoder, examples = collator.encoder, objective.groups[1]
    whole = toy.processor()(text=[encoder.render("?")], images=[toy.image("red")], add_special_tokens=False)["input_ids"][0]
    prefix = len(whole) - len(encoder.suffix_ids("?"))
    prompts = sum(len(encoder.suffix_ids(prompt)) for prompt in {example.prompt for example in examples})
    responses = sum(len(encoder.response_ids(example.target)) - 1 for example in examples)
    tokens = prefix + prompts + responses
    assert objective.counts(batch) == Counts(len(examples), tokens, -(-tokens // LENGTH_STEP) * LENGTH_STEP)
    two = objective.counts(objective.collate([Visit(0, 0, True), Visit(1, 0, True)]))
    assert two.tokens > tokens and two.samples == len(examples) + len(objective.groups[0]) and two.slots % 2 == 0
