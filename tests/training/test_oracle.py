"""The oracle itself, and the pure losses held against it on a plain padded batch: the same ids, the same numbers as TRL."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import PAIRS, ExampleIds, Oracle, PairIds, World, tiny_world, trl_dpo, trl_sft
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from inbol.losses.dpo import preference_loss
from inbol.losses.logps import num_tokens, sum_by_response, token_logps
from inbol.losses.sft import sft_loss, weighted_terms

BETA = 0.5


@pytest.fixture(scope="module")
def world() -> World:
    return tiny_world()


@pytest.fixture(scope="module")
def policy(world: World) -> LlavaForConditionalGeneration:
    return world.model(0)


@pytest.fixture(scope="module")
def reference(world: World) -> LlavaForConditionalGeneration:
    return world.model(1)


@pytest.fixture(scope="module")
def dpo(world: World, policy: LlavaForConditionalGeneration, reference: LlavaForConditionalGeneration) -> Oracle:
    return trl_dpo(world, PAIRS, policy=policy, reference=reference, beta=BETA)


def response_logps(model: LlavaForConditionalGeneration, sequences: list[tuple[list[int], list[int], Tensor]]) -> tuple[Tensor, Tensor]:
    """Summed log-probabilities [R] and token counts [R], one unpadded forward pass a sequence: the slowest and plainest way."""
    logits, targets, index = [], [], []
    for number, (prompt, response, pixels) in enumerate(sequences):
        ids = torch.tensor([prompt + response])
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels[None], use_cache=False).logits[0]
        logits.append(out[len(prompt) - 1 : -1])
        targets.append(torch.tensor(response))
        index += [number] * len(response)
    where = torch.tensor(index)
    summed = sum_by_response(token_logps(torch.cat(logits), torch.cat(targets)), where, len(sequences))
    return summed, num_tokens(where, len(sequences))


def assert_gradients_equal(model: LlavaForConditionalGeneration, loss: Tensor, expected: dict[str, Tensor]) -> None:
    model.zero_grad()
    loss.backward()
    actual = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert actual.keys() == expected.keys()
    assert len(actual) > 20
    assert sum(gradient.abs().sum().item() for gradient in expected.values()) > 1
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_trl_gives_ln_2_when_policy_and_reference_are_equal(world: World, policy: LlavaForConditionalGeneration) -> None:
    oracle = trl_dpo(world, PAIRS, policy=policy, reference=policy, beta=BETA)
    assert oracle.loss == pytest.approx(math.log(2), abs=1e-6)
    assert oracle.losses == pytest.approx([math.log(2)] * len(PAIRS), abs=1e-6)


def test_the_ids_are_the_conversation(world: World, dpo: Oracle) -> None:
    """Four image tokens for 16x16 pixels in patches of 8; the template's BOS once; both responses end the sequence."""
    tokenizer = world.processor.tokenizer
    assert len(dpo.examples) == len(PAIRS)
    for pair, ids in zip(PAIRS, dpo.examples, strict=True):
        assert isinstance(ids, PairIds)
        assert tokenizer.decode(ids.prompt_ids) == f"<s>USER: {'<image>' * 4}\n{pair.prompt} ASSISTANT:"
        assert tokenizer.decode(ids.chosen_ids) == f" {pair.chosen}</s>"
        assert tokenizer.decode(ids.rejected_ids) == f" {pair.rejected}</s>"
        assert ids.pixel_values.shape == (3, 16, 16)


def test_the_mean_of_single_pairs_is_the_batch_and_pairs_differ(dpo: Oracle) -> None:
    assert dpo.loss == pytest.approx(sum(dpo.losses) / len(dpo.losses), abs=1e-5)
    assert max(dpo.losses) - min(dpo.losses) > 0.1


def our_losses(
    examples: list[PairIds], policy: LlavaForConditionalGeneration, reference: LlavaForConditionalGeneration, *, anchor: float
) -> tuple[Tensor, dict[str, Tensor]]:
    sequences = [(e.prompt_ids, e.chosen_ids, e.pixel_values) for e in examples]
    sequences += [(e.prompt_ids, e.rejected_ids, e.pixel_values) for e in examples]
    logps, counts = response_logps(policy, sequences)
    with torch.no_grad():
        ref_logps, _ = response_logps(reference, sequences)
    half = len(examples)
    return preference_loss(
        "hard", logps[:half], logps[half:], ref_logps[:half], ref_logps[half:],
        num_tokens_chosen=counts[:half], num_tokens_rejected=counts[half:],
        confidence=torch.ones(half), answer_is_chosen=torch.ones(half, dtype=torch.bool), beta=BETA,
        soft_eps=0.05, weight_gamma=1.0, margin_alpha=1.0, regression_kappa=2.0, anchor=anchor, anchor_normalise="tokens",
    )  # fmt: skip


def test_our_hard_loss_equals_trl(dpo: Oracle, policy: LlavaForConditionalGeneration, reference: LlavaForConditionalGeneration) -> None:
    """Loss of every pair, metrics and gradients of the mean."""
    loss, metrics = our_losses(dpo.examples, policy, reference, anchor=0.0)
    assert loss.tolist() == pytest.approx(dpo.losses, abs=1e-5)
    assert len(metrics) == 6
    for name, values in metrics.items():
        assert values.mean().item() == pytest.approx(dpo.metrics[name], abs=1e-4), name
    terms = weighted_terms(loss, torch.ones(len(loss)), torch.ones(len(loss)))
    assert_gradients_equal(policy, terms.numerator / terms.examples, dpo.gradients)


def test_our_anchor_equals_trl_sft_term(
    world: World, policy: LlavaForConditionalGeneration, reference: LlavaForConditionalGeneration
) -> None:
    """Pair by pair; over a batch TRL's term is a mean over all its tokens, ours a mean of the pairs' means."""
    oracle = trl_dpo(world, PAIRS, policy=policy, reference=reference, beta=BETA, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.3])
    loss, _ = our_losses(oracle.examples, policy, reference, anchor=0.3)
    assert loss.tolist() == pytest.approx(oracle.losses, abs=1e-5)


def test_our_supervised_loss_over_tokens_equals_trl(world: World, policy: LlavaForConditionalGeneration) -> None:
    oracle = trl_sft(world, PAIRS, policy=policy)
    assert all(isinstance(e, ExampleIds) for e in oracle.examples)
    logps, counts = response_logps(policy, [(e.prompt_ids, e.target_ids, e.pixel_values) for e in oracle.examples])
    loss = sft_loss(logps)
    assert (loss / counts).tolist() == pytest.approx(oracle.losses, abs=1e-5)
    terms = weighted_terms(loss, torch.ones(len(PAIRS)), counts)
    mean = terms.numerator / terms.tokens
    assert mean.item() == pytest.approx(oracle.loss, abs=1e-5)
    assert_gradients_equal(policy, mean, oracle.gradients)
