"""Prompt informativeness: by how much seeing more of the image lowers the entropy of the samples.

After the prompt-response concept model (arXiv 2407.14845), which says that entropy falls as the prompt informs; the ladder and the score
are ours.
"""

from __future__ import annotations

import math
from collections import Counter

from inbol.probing.asks import Ask, Evidence, plain
from inbol.probing.estimators.base import Estimator, entropy
from inbol.text.match import REFUSAL_CLUSTER, cluster

RUNGS = (0.0, 0.25, 0.5)
"""Shares of the image's area that are shown below the whole image, whose samples are there already."""
LADDER = tuple(
    Ask(name=f"revealed-{rung:g}", kind="say", prompts=plain, draws=lambda budget: budget.samples, revealed=rung) for rung in RUNGS
)


def sample_entropy(evidence: Evidence, texts: tuple[str, ...]) -> float:
    """Entropy in nats over groups of equal normalised samples; refusals are one group."""
    counts = Counter(cluster(text, evidence.question.text) for text in texts)
    return entropy({group: count / len(texts) for group, count in counts.items()})


def informativeness(evidence: Evidence) -> float:
    """Mean entropy over the rungs minus that of the whole image, nats, in [-log K, log K]; -log K where refusing is what the model does
    most with the whole image."""
    groups, texts = Counter(evidence.groups()), evidence.responses.texts
    if groups.get(REFUSAL_CLUSTER, -1) == max(groups.values()):
        return -math.log(len(texts))
    rungs = [sample_entropy(evidence, evidence.replies(ask.name)[0].texts) for ask in LADDER]
    return sum(rungs) / len(rungs) - sample_entropy(evidence, texts)


INFORMATIVENESS = Estimator(
    name="informativeness",
    title="prompt informativeness",
    source="after arXiv 2407.14845; ladder and score ours",
    unit="nats, in [-log K, log K]",
    probability=False,
    asks=LADDER,
    estimate=informativeness,
)
