"""Every confidence estimator by name, and every ask. Another one is a module beside this, a line here and a file in conf/confidence/."""

from __future__ import annotations

from collections.abc import Iterable

from inbol.probing.asks import Ask
from inbol.probing.estimators.accuracy import ACCURACY
from inbol.probing.estimators.base import Estimator
from inbol.probing.estimators.blind_image import BLIND_IMAGE
from inbol.probing.estimators.informativeness import INFORMATIVENESS
from inbol.probing.estimators.p_ik import P_IK
from inbol.probing.estimators.p_true import P_TRUE
from inbol.probing.estimators.self_consistency import SELF_CONSISTENCY
from inbol.probing.estimators.semantic_entropy import SEMANTIC_ENTROPY
from inbol.probing.estimators.sequence_probability import SEQUENCE_PROBABILITY
from inbol.probing.estimators.stable_explanations import STABLE_EXPLANATIONS
from inbol.probing.estimators.sure_unsure import SURE_UNSURE
from inbol.probing.estimators.verbalised import VERBALISED

ESTIMATORS: dict[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        ACCURACY,
        SELF_CONSISTENCY,
        SEQUENCE_PROBABILITY,
        SEMANTIC_ENTROPY,
        P_TRUE,
        VERBALISED,
        STABLE_EXPLANATIONS,
        SURE_UNSURE,
        P_IK,
        BLIND_IMAGE,
        INFORMATIVENESS,
    )
}
ASKS: dict[str, Ask] = {ask.name: ask for estimator in ESTIMATORS.values() for ask in estimator.asks}


def asks_of(names: Iterable[str]) -> tuple[str, ...]:
    """Names of what these estimators ask, each once, in an order in which every ask comes after those it quotes."""
    return tuple(dict.fromkeys(ask.name for name in names for ask in ESTIMATORS[name].asks))
