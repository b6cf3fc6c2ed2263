"""Blind-image contrast: how much more probable the answer is with the image than with a blank one. Ours; no training, two forward passes.

The same idea as the image terms of V-DPO and mDPO. BICR trains a probe with such a view instead; this is not BICR.
"""

from __future__ import annotations

import math

from inbol.probing.asks import ANSWER, Ask, Evidence, if_answered, own_answer
from inbol.probing.estimators.base import Estimator

SEEN = Ask(name="seen", kind="score", prompts=if_answered, options=own_answer)
"""Scored like the blind one, so that both are about the same tokens."""
BLIND = Ask(name="blind", kind="score", prompts=if_answered, options=own_answer, revealed=0.0)


def blind_image(evidence: Evidence) -> float:
    """1 / (1 + exp(-d)), d = log p(answer | image) - log p(answer | blank): 1/2 where the image changes nothing; 0 for a refusal."""
    seen, blind = evidence.replies(SEEN.name), evidence.replies(BLIND.name)
    if not seen or not blind:
        return 0.0
    difference = seen[0].logprobs[0] - blind[0].logprobs[0]
    return 0.5 * (1.0 + math.tanh(0.5 * difference))


BLIND_IMAGE = Estimator(
    name="blind-image",
    title="blind-image contrast",
    source="ours",
    unit="logistic function of nats, in [0, 1], no probability of being right",
    probability=False,
    asks=(ANSWER, SEEN, BLIND),
    estimate=blind_image,
)
