"""Preference losses that also look at an altered image: mDPO and V-DPO. Tensors in, unreduced [P] out.

Written in log-ratios to the reference, h = log pi - log pi_ref, in nats, summed over response tokens: h_w and h_l of the chosen and the
rejected side below the image, a_w and a_l below the altered one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inbol.losses.dpo import hard_loss, nll_anchor, pair_metrics

IMAGE_LOSSES = ("mdpo", "v-dpo")


def mdpo_loss(h_w: Tensor, h_l: Tensor, a_w: Tensor, *, beta: float, margin: float) -> Tensor:
    """mDPO (arXiv 2406.11839), [P] nats: DPO, the chosen side with its image over the chosen side with the altered one, and an anchor.

    -log sigmoid(beta (h_w - h_l)) - log sigmoid(beta (h_w - a_w)) - log sigmoid(beta h_w - margin); 3 ln 2 at policy == reference and
    margin 0.
    """
    return hard_loss(beta * (h_w - h_l)) + hard_loss(beta * (h_w - a_w)) + hard_loss(beta * h_w - margin)


def v_dpo_loss(h_w: Tensor, h_l: Tensor, a_w: Tensor, a_l: Tensor, *, beta: float, gamma: float) -> Tensor:
    """V-DPO (arXiv 2411.02712), [P] nats: DPO on gamma log pi(y | image) - (gamma - 1) log pi(y | altered image).

    gamma == 1 is DPO. That the reference's log-probabilities are combined like the policy's is our reading.
    """
    return hard_loss(beta * (gamma * (h_w - h_l) - (gamma - 1) * (a_w - a_l)))


def image_loss(
    name: str,
    policy_chosen_logps: Tensor,  # [P] nats, summed over response tokens
    policy_rejected_logps: Tensor,  # [P]
    ref_chosen_logps: Tensor,  # [P] no gradient
    ref_rejected_logps: Tensor,  # [P] no gradient
    *,
    altered_chosen_logps: Tensor,  # [P] of the policy, below the altered image
    altered_rejected_logps: Tensor,  # [P]
    ref_altered_chosen_logps: Tensor,  # [P] no gradient
    ref_altered_rejected_logps: Tensor,  # [P] no gradient
    num_tokens_chosen: Tensor,  # [P]
    num_tokens_rejected: Tensor,  # [P]
    beta: float,
    image_gamma: float,
    anchor_margin: float,
    anchor: float,
    anchor_normalise: str,
) -> tuple[Tensor, dict[str, Tensor]]:  # [P] unreduced, and TRL's metrics, each [P], detached
    """The loss called `name` plus `anchor` times the NLL of the chosen side, and TRL's metrics with those of the image.

    Raises:
        ValueError: an unknown `name` or `anchor_normalise`.
    """
    h_w, h_l = policy_chosen_logps - ref_chosen_logps, policy_rejected_logps - ref_rejected_logps
    a_w, a_l = altered_chosen_logps - ref_altered_chosen_logps, altered_rejected_logps - ref_altered_rejected_logps
    if name == "mdpo":
        loss = mdpo_loss(h_w, h_l, a_w, beta=beta, margin=anchor_margin)
    elif name == "v-dpo":
        loss = v_dpo_loss(h_w, h_l, a_w, a_l, beta=beta, gamma=image_gamma)
    else:
        raise ValueError(f"dpo.loss: {name!r} is not one of {', '.join(map(repr, IMAGE_LOSSES))}, which look at an altered image")
    if anchor:
        loss = loss + anchor * nll_anchor(
            policy_chosen_logps,
            num_tokens_chosen,
            policy_rejected_logps,
            num_tokens_rejected,
            torch.ones_like(h_w),
            normalise=anchor_normalise,
        )
    metrics = pair_metrics(policy_chosen_logps, policy_rejected_logps, beta * h_w, beta * h_l)
    return loss, {**metrics, "rewards/image_margins": (beta * (h_w - a_w)).detach()}
