"""Configuration of the row `calibrated` and of `make calibrate`: which risk is promised, and by which score responses are refused."""

from __future__ import annotations

from dataclasses import dataclass

from inbol.config.checks import at_least, one_of, positive, within
from inbol.config.identity import added

RISKS = ("selective", "wrong", "cost")
SCORES = ("margin", "probability")
P_VALUES = ("betting", "hoeffding-bentkus")
GUARANTEES = ("auto", "tested")


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskConfig:
    """A promise about the errors that are left, and how it is made on `align-val`."""

    level: float = 0.05
    """The risk stays at or below this."""
    delta: float = 0.1
    """`selective`, and `cost` with a refusal_cost: the promise may fail in this share of the draws of the validation images."""
    risk: str = "selective"
    """`selective`: share of wrong ones among the answered. `wrong`: share of wrongly answered ones among all that is asked. `cost`: mean of
    wrong_cost for a wrong answer and refusal_cost for refusing an answerable question."""
    wrong_cost: float = 1.0
    """`cost`: of a wrong answer."""
    refusal_cost: float = 0.0
    """`cost`: of refusing an answerable question; 0 keeps the cost monotone in the threshold."""
    score: str = "margin"
    """`margin`: log P(refusal) - log P(response). `probability`: -log P(response). Responses at or above the threshold are refused."""
    refusals: tuple[str, ...] = ()
    """`margin`: the texts whose probabilities are summed; empty takes the leading wordings of `text/refusals.py`."""
    p_value: str = "betting"
    """Of the test behind `selective` (and `cost` with a refusal_cost): `betting` adapts to the variance, `hoeffding-bentkus` does not."""
    learn_share: float = 0.25
    """Share of the validation images that only say which thresholds are tested, and from where on; they are not tested on. In (0, 1)."""
    seed: int = 0
    """Seed of that division and of the order of the images."""

    guarantee: str = added("auto")
    """`auto`: a monotone risk (`wrong`, `cost` without a refusal_cost) is promised in expectation, every other for a share 1 - delta of the
    draws of the validation images. `tested`: a monotone risk for that share, too, which answers less."""

    def __post_init__(self) -> None:
        one_of("guarantee", self.guarantee, GUARANTEES)
        one_of("risk", self.risk, RISKS)
        one_of("score", self.score, SCORES)
        one_of("p_value", self.p_value, P_VALUES)
        positive("wrong_cost", self.wrong_cost)
        at_least("refusal_cost", self.refusal_cost, 0)
        positive("level", self.level)
        within("level", self.level, 0, max(self.wrong_cost, self.refusal_cost) if self.risk == "cost" else 1)
        for name in ("delta", "learn_share"):
            positive(name, getattr(self, name))
            within(name, getattr(self, name), 0, 0.999)
