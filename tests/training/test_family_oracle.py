"""Every family beside TRL: the same DPO loss and gradients on the same pairs, from trees and from TRL's padded two passes."""

from __future__ import annotations

import copy
from typing import Any

import families
import pytest
import torch
import toy
from oracle import Pair, World, trl_dpo

from inbol.losses.dpo import preference_loss
from inbol.models.tree import Branch, Tree, TreeCollator, response_logps

BETA = 0.5
PAIRS = (
    Pair(families.picture("red"), toy.WHAT, "red", toy.REFUSALS[0]),
    Pair(families.picture("red"), toy.WHO, toy.REFUSALS[1], "blue"),
    Pair(families.picture("blue"), toy.WHAT, "blue", "red"),
)
"""The first two are of one picture, and so of one tree."""
ENDINGS = {
    "<|im_end|>{{ '\n' }}": "<|im_end|>{% if message['role'] == 'user' %}{{ '\n' }}{% endif %}",
    "<end_of_utterance>{{ '\n' }}": "<end_of_utterance>{% if message['role'] == 'user' %}{{ '\n' }}{% endif %}",
    "{{ message['role'] + ' ' }}": "{{ message['role'] + (' ' if message['role'] == 'user' else '') }}",
}
"""TRL trains on what a template writes behind an answer's end-of-sequence, which no decoder comes to, and on LLaVA-OneVision's answers
behind a space that its generation prompt does not have. Here both sides have a template without these."""


@pytest.fixture
def processor(name: str) -> Any:
    made = copy.deepcopy(families.processor(name))
    for published, plain in ENDINGS.items():
        made.chat_template = made.chat_template.replace(published, plain)
    return made


def our_losses(model: Any, reference: Any, processor: Any) -> torch.Tensor:
    """[3] of `PAIRS`, from two trees."""
    (a, b, c) = (Branch(pair.prompt, (pair.chosen, pair.rejected)) for pair in PAIRS)
    batch = TreeCollator(processor)([Tree(PAIRS[0].image, (a, b)), Tree(PAIRS[2].image, (c,))])
    logps, tokens = response_logps(model, batch)
    with torch.no_grad():
        refs, _ = response_logps(reference, batch)
    loss, _ = preference_loss(
        name="hard",
        policy_chosen_logps=logps[0::2],
        policy_rejected_logps=logps[1::2],
        ref_chosen_logps=refs[0::2],
        ref_rejected_logps=refs[1::2],
        num_tokens_chosen=tokens[0::2],
        num_tokens_rejected=tokens[1::2],
        confidence=torch.ones(3),
        answer_is_chosen=torch.tensor([True] * 3),
        beta=BETA,
        soft_eps=0.0,
        weight_gamma=0.0,
        margin_alpha=0.0,
        regression_kappa=1.0,
        anchor=0.0,
        anchor_normalise="sum",
    )
    return loss


@pytest.mark.parametrize("name", families.NAMES)
def test_trees_equal_trl_in_value_and_gradient(name: str, processor: Any) -> None:
    """1e-4 in every loss; gradients to 1e-4 of the largest parameter's, since some are zero but for rounding."""
    policy, reference = families.model(name, seed=0), families.model(name, seed=1)
    expected = trl_dpo(World(processor), PAIRS, policy=policy, reference=reference, beta=BETA, read=lambda batch: [])
    losses = our_losses(policy, reference, processor)
    assert losses.tolist() == pytest.approx(expected.losses, abs=1e-4)
    assert max(expected.losses) - min(expected.losses) > 0.01  # the models do disagree
    losses.mean().backward()
    found = {key: parameter.grad for key, parameter in policy.named_parameters() if parameter.grad is not None}
    assert found.keys() == expected.gradients.keys()
    largest = max(float(gradient.norm()) for gradient in expected.gradients.values())
    for key, gradient in expected.gradients.items():
        assert float((found[key] - gradient).norm()) <= 1e-4 * max(float(gradient.norm()), 0.01 * largest), key
