"""Preference losses without a reference model, on log-probabilities per token. Tensors in, unreduced [P] out; the oracle is TRL."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from inbol.losses.dpo import nll_anchor, pair_metrics

REFERENCE_FREE = ("simpo", "orpo")


def simpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float) -> Tensor:
    """-log sigmoid(beta (l_w - l_l) - gamma), [P]; Eq. 6 of arXiv 2405.14734. l [P] are nats per token; TRL's `loss_type="simpo"`."""
    return -F.logsigmoid(beta * (chosen - rejected) - gamma)


def orpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """-l_w - beta log sigmoid(log odds_w - log odds_l) with odds = P / (1 - P), P = exp(l), [P]; Eqs. 4 to 7 of arXiv 2403.07691.

    l [P] are nats per token; beta is the paper's lambda. TRL's odds ratio is the same; its NLL is one mean over all tokens of a batch,
    prompt included, where ours is, as in the paper, the chosen response's own.
    """
    log_odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return -chosen - beta * F.logsigmoid(log_odds)


def reference_free_loss(
    name: str,
    policy_chosen_logps: Tensor,  # [P] nats, summed over response tokens
    policy_rejected_logps: Tensor,  # [P]
    *,
    num_tokens_chosen: Tensor,  # [P]
    num_tokens_rejected: Tensor,  # [P]
    beta: float,
    simpo_gamma: float,
    anchor: float,
    anchor_normalise: str,
) -> tuple[Tensor, dict[str, Tensor]]:  # [P] unreduced, and TRL's metrics, each [P], detached
    """The loss called `name` plus `anchor` times the NLL of the chosen side, and the metrics of the same pairs under TRL's names.

    Raises:
        ValueError: an unknown `name` or `anchor_normalise`.
    """
    chosen = policy_chosen_logps / num_tokens_chosen.clamp(min=1)
    rejected = policy_rejected_logps / num_tokens_rejected.clamp(min=1)
    if name == "simpo":
        loss = simpo_loss(chosen, rejected, beta=beta, gamma=simpo_gamma)
    elif name == "orpo":
        loss = orpo_loss(chosen, rejected, beta=beta)
    else:
        raise ValueError(f"dpo.loss: {name!r} is not one of {', '.join(map(repr, REFERENCE_FREE))}, which have no reference")
    if anchor:
        loss = loss + anchor * nll_anchor(
            policy_chosen_logps,
            num_tokens_chosen,
            policy_rejected_logps,
            num_tokens_rejected,
            torch.ones_like(chosen),
            normalise=anchor_normalise,
        )
    return loss, pair_metrics(policy_chosen_logps, policy_rejected_logps, beta * chosen, beta * rejected)


def _log1mexp(log_p: Tensor) -> Tensor:
    """log(1 - exp(l)) for l <= 0. At l = 0 a response is certain and its odds infinite: l is held a rounding error below it."""
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).eps)
    return torch.where(log_p > -0.6931472, torch.log(-torch.expm1(log_p)), torch.log1p(-torch.exp(log_p)))
