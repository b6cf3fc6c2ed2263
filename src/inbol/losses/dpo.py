"""Preference losses on refusal/answer pairs: standard DPO and its confidence-aware forms. Tensors and floats in, unreduced [P] out.

Orientation. Everything is written in the gap u = chosen - rejected of the implicit rewards, and p is the probability that the *chosen*
side is the better one. With confidence c (the model is right if it answers) and u_a = answer - refusal:

    chosen is the answer:   u = +u_a, p = c          chosen is the refusal:  u = -u_a, p = 1 - c

so |2p - 1| = |2c - 1|, and a loss that is a function of (u, p) is the same function of (u_a, c) whichever side is called chosen.

Names. Hard is DPO (arXiv 2305.18290). A (soft), B (weight), C (margin) and D (regression), with the anchor E, are this project's own
confidence-aware DPO; the equation of InBoL (arXiv 2412.11196) was not available to us, so none of them is claimed to be the paper's.
A' (duplicated pairs) is the hard loss on one pair per distinct sampled answer, weighted n/K by the caller.

Gradients dL/du_a at the reference (u = 0): A and B give 1/2 - c for every c; they part only when the policy has moved. A returns to
u_a = logit(c); B never stops, only slower; C pushes at full strength even at c = 1/2, so it wants a dead band; D returns to kappa (2c - 1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PREFERENCE_LOSSES = ("hard", "soft", "weight", "margin", "regression")


def implicit_gap(
    policy_chosen_logps: Tensor,  # [P] nats, summed over response tokens
    policy_rejected_logps: Tensor,  # [P]
    ref_chosen_logps: Tensor,  # [P] no gradient
    ref_rejected_logps: Tensor,  # [P] no gradient
    *,
    beta: float,
) -> Tensor:  # [P] nats
    """u = beta * h with h = (pi_w - pi_l) - (ref_w - ref_l), the exponent of Eq. 7 of arXiv 2305.18290. 0 at policy == reference."""
    pi_logratios = policy_chosen_logps - policy_rejected_logps
    ref_logratios = ref_chosen_logps - ref_rejected_logps
    return beta * (pi_logratios - ref_logratios)


def chosen_probability(confidence: Tensor, answer_is_chosen: Tensor) -> Tensor:
    """p [P]: c where the chosen side answers, 1 - c where it refuses. `confidence` [P] in [0, 1], `answer_is_chosen` [P] bool."""
    return torch.where(answer_is_chosen, confidence, 1 - confidence)


def hard_loss(gap: Tensor) -> Tensor:
    """-log sigmoid(u), [P] nats; Eq. 7 of arXiv 2305.18290. At policy == reference every element is ln 2. No finite fixed point."""
    return -F.logsigmoid(gap)


def soft_loss(gap: Tensor, p: Tensor, *, eps: float) -> Tensor:
    """A: -p log sigmoid(u) - (1-p) log sigmoid(-u), [P] nats; dL/du = sigmoid(u) - p, fixed point u* = logit(p).

    Per-pair label smoothing (cDPO) with smoothing 1 - p; equals V-DPO's dynamic cDPO, smoothing (1 - |2c-1|)/2 on the hard label.
    p [P] is clipped to [eps, 1-eps], so that the fixed point stays finite; p == 1 with eps == 0 is `hard_loss`.
    """
    p = p.clamp(eps, 1 - eps)
    return -p * F.logsigmoid(gap) - (1 - p) * F.logsigmoid(-gap)


def weight_loss(gap: Tensor, p: Tensor, *, gamma: float) -> Tensor:
    """B: -|2p-1|^gamma log sigmoid(u), [P] nats; dL/du = -|2p-1|^gamma sigmoid(-u). gamma == 0 is `hard_loss`, also at p == 1/2."""
    return (2 * p - 1).abs().pow(gamma) * hard_loss(gap)


def margin_loss(gap: Tensor, p: Tensor, *, alpha: float) -> Tensor:
    """C: -log sigmoid(u - m) with m = alpha |2p-1|, [P] nats; dL/du = -sigmoid(m - u).

    ODPO (arXiv 2402.10571) with the margin taken from confidence. At p == 1/2 it is DPO at full strength on an arbitrary label: drop such
    pairs (`pairs.dead_band`). alpha == 0 is `hard_loss`.
    """
    return hard_loss(gap - alpha * (2 * p - 1).abs())


def regression_loss(gap: Tensor, p: Tensor, *, kappa: float) -> Tensor:
    """D: (u - t)^2 towards t = kappa (2p-1) while |u - t| <= 2 kappa, linear beyond, [P]; dL/du = 2 (u - t), at most 4 kappa in size.

    IPO-like: a finite fixed point u* = t at every p, 0 and 1 included. A square does not saturate, so one runaway pair would own the
    gradient of a batch: hence Huber. 2 kappa is the distance between the extreme targets, so a gap inside their range is always in the
    quadratic part. Label-free: swapping chosen and rejected changes nothing.

    Raises:
        ValueError: kappa is not above 0.
    """
    if kappa <= 0:
        raise ValueError(f"kappa: {kappa!r} must be above 0; it is the gap that a sure answer is trained towards")
    # torch's Huber is r^2/2 inside; doubled, it is the r^2 above.
    return 2 * F.huber_loss(gap, kappa * (2 * p - 1), reduction="none", delta=2 * kappa)


def nll_anchor(
    policy_chosen_logps: Tensor,  # [P] nats, summed over response tokens
    num_tokens_chosen: Tensor,  # [P]
    policy_rejected_logps: Tensor,  # [P]
    num_tokens_rejected: Tensor,  # [P]
    p: Tensor,  # [P] no gradient; 1 anchors the chosen side alone
    *,
    normalise: str,
) -> Tensor:  # [P]
    """E: -p log pi(chosen) - (1-p) log pi(rejected), each divided by its token count when `normalise` is `tokens`, not when `sum`.

    DPO fixes only the difference of two log-probabilities: both may fall, and long refusals own most of the gradient beside one-token
    answers. The anchor holds the preferred string itself up.

    Raises:
        ValueError: `normalise` is neither `tokens` nor `sum`.
    """
    if normalise == "tokens":  # a response holds at least its end-of-sequence; the clamp only keeps an empty one from giving 0/0
        chosen = policy_chosen_logps / num_tokens_chosen.clamp(min=1)
        rejected = policy_rejected_logps / num_tokens_rejected.clamp(min=1)
    elif normalise == "sum":
        chosen, rejected = policy_chosen_logps, policy_rejected_logps
    else:
        raise ValueError(f"anchor_normalise: {normalise!r} is not one of 'tokens', 'sum'")
    return -p * chosen - (1 - p) * rejected


def preference_loss(
    name: str,
    policy_chosen_logps: Tensor,  # [P] nats, summed over response tokens
    policy_rejected_logps: Tensor,  # [P]
    ref_chosen_logps: Tensor,  # [P] no gradient
    ref_rejected_logps: Tensor,  # [P] no gradient
    *,
    num_tokens_chosen: Tensor,  # [P]
    num_tokens_rejected: Tensor,  # [P]
    confidence: Tensor,  # [P] c in [0, 1], no gradient
    answer_is_chosen: Tensor,  # [P] bool
    beta: float,
    soft_eps: float,
    weight_gamma: float,
    margin_alpha: float,
    regression_kappa: float,
    anchor: float,
    anchor_normalise: str,
) -> tuple[Tensor, dict[str, Tensor]]:  # [P] unreduced, and TRL's metrics, each [P], detached
    """The loss called `name` plus `anchor` times the NLL anchor, and the metrics of the same pairs under TRL's names.

    The anchor is hard (chosen side alone) where the loss trusts the label (`hard`, `weight`, `margin`), soft with the loss's own p where
    it trains towards one (`soft`, clipped as there, and `regression`, which has no label at all).

    Raises:
        ValueError: an unknown `name` or `anchor_normalise`, `regression_kappa` <= 0.
    """
    gap = implicit_gap(policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta=beta)
    p = chosen_probability(confidence.to(gap.dtype), answer_is_chosen)
    anchor_p = torch.ones_like(p)
    if name == "hard":
        loss = hard_loss(gap)
    elif name == "soft":
        loss = soft_loss(gap, p, eps=soft_eps)
        anchor_p = p.clamp(soft_eps, 1 - soft_eps)
    elif name == "weight":
        loss = weight_loss(gap, p, gamma=weight_gamma)
    elif name == "margin":
        loss = margin_loss(gap, p, alpha=margin_alpha)
    elif name == "regression":
        loss = regression_loss(gap, p, kappa=regression_kappa)
        anchor_p = p
    else:
        raise ValueError(f"dpo.loss: {name!r} is not one of {', '.join(map(repr, PREFERENCE_LOSSES))}")
    if anchor:
        loss = loss + anchor * nll_anchor(
            policy_chosen_logps, num_tokens_chosen, policy_rejected_logps, num_tokens_rejected, anchor_p, normalise=anchor_normalise
        )
    chosen_rewards = beta * (policy_chosen_logps - ref_chosen_logps)
    rejected_rewards = beta * (policy_rejected_logps - ref_rejected_logps)
    return loss, pair_metrics(policy_chosen_logps, policy_rejected_logps, chosen_rewards, rejected_rewards)


@torch.no_grad()
def pair_metrics(
    policy_chosen_logps: Tensor,  # [P] nats
    policy_rejected_logps: Tensor,  # [P]
    chosen_rewards: Tensor,  # [P] what the loss takes for the reward of a side
    rejected_rewards: Tensor,  # [P]
) -> dict[str, Tensor]:  # [P] each, detached
    """TRL's metrics of preference pairs."""
    return {
        "rewards/chosen": chosen_rewards.detach(),
        "rewards/rejected": rejected_rewards.detach(),
        "rewards/margins": chosen_rewards - rejected_rewards,
        "rewards/accuracies": (chosen_rewards > rejected_rewards).to(chosen_rewards.dtype),
        "logps/chosen": policy_chosen_logps.detach(),
        "logps/rejected": policy_rejected_logps.detach(),
    }
