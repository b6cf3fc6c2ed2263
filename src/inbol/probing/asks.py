"""What an estimator may ask the model beyond its samples, as data: which prompt, over how much of the image, said or scored.

The stage `probe` puts the asks to the model (`stages/asking.py`); an estimator sees the replies alone and stays a pure function of them.
Every ask is a conversation of one turn that quotes the question, because trees hold one prompt below an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from inbol.contracts import Probed, Question, Reply, ResponseSet
from inbol.text.match import REFUSAL_CLUSTER, cluster
from inbol.text.refusals import is_refusal

Kind = Literal["say", "score", "state"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is drawn."""

    samples: int
    """K, also the samples of every other view of the image."""
    explanations: int
    """Explanations that an answer is averaged over."""
    answer_tokens: int
    """Longest answer, end-of-sequence included."""
    explanation_tokens: int
    """Longest explanation, end-of-sequence included."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that an estimator may look at for one answerable question. The fresh samples of `responses` grade it and are not for it."""

    question: Question
    responses: ResponseSet
    probed: Probed | None = None

    def replies(self, ask: str) -> tuple[Reply, ...]:
        """The replies to one ask, in the order of its prompts; none where it had no prompt.

        Raises:
            ValueError: nothing was asked about this question.
        """
        if self.probed is None:
            raise ValueError(f"{self.question.key}: the estimator needs the ask {ask!r}; give the stage `estimate` the input `probe`")
        return tuple(reply for reply in self.probed.replies if reply.ask == ask)

    def answer(self) -> Reply | None:
        """The model's greedy answer; None where it refuses or says nothing, so that there is nothing that could be right."""
        found = self.replies(ANSWER.name)
        if not found:
            raise ValueError(f"{self.question.key}: no greedy answer was collected; the estimator must list the ask ANSWER first")
        text = found[0].texts[0]
        return None if not text.strip() or is_refusal(text, self.question.text) else found[0]

    def groups(self) -> list[str]:
        """[K] which samples say the same: by entailment where it was asked for, by normalised match otherwise. Refusals are one group,
        `text.match.REFUSAL_CLUSTER`, whatever their wording.

        Raises:
            ValueError: no samples, or sampling that stopped early.
        """
        texts = self.responses.texts
        if not texts or self.responses.intended:
            raise ValueError(f"{self.question.key}: {len(texts)} samples are not all K; sample with sampling.stop=never")
        by_text = [cluster(text, self.question.text) for text in texts]
        if self.probed is None or not self.probed.groups:
            return by_text
        if len(self.probed.groups) != len(texts):
            raise ValueError(
                f"{self.question.key}: {len(self.probed.groups)} groups for {len(texts)} samples; probe the same responses again"
            )
        pairs = zip(by_text, self.probed.groups, strict=True)
        return [name if name == REFUSAL_CLUSTER else str(group) for name, group in pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One further thing that is asked about every answerable question."""

    name: str
    """Unique; the replies carry it."""
    kind: Kind
    """`say`: the model responds. `score`: log-probabilities of given continuations. `state`: the hidden state at the prompt's end."""
    prompts: Callable[[Evidence], tuple[str, ...]]
    """From what was asked before to the prompts of one question; none where there is nothing to ask."""
    options: Callable[[Evidence], tuple[str, ...]] = lambda evidence: ()
    """`score`: the continuations below every prompt."""
    draws: Callable[[Budget], int] = lambda budget: 0
    """`say`: samples at temperature 1; 0 is the greedy response."""
    tokens: Callable[[Budget], int] = lambda budget: budget.answer_tokens
    """`say`: longest response."""
    revealed: float = 1.0
    """Share of the image's area that is shown, a centred window; the rest is mid-grey. 0 is a blank image."""


def plain(evidence: Evidence) -> tuple[str, ...]:
    """The question as it is."""
    return (evidence.question.text,)


def if_answered(evidence: Evidence) -> tuple[str, ...]:
    """The question as it is, where the model answers it."""
    return plain(evidence) if evidence.answer() else ()


def own_answer(evidence: Evidence) -> tuple[str, ...]:
    """The model's greedy answer as the continuation."""
    answer = evidence.answer()
    return answer.texts[:1] if answer else ()


ANSWER = Ask(name="answer", kind="say", prompts=plain)
"""The greedy answer, which most further asks are about."""


def after_answer(text: str) -> Callable[[Evidence], tuple[str, ...]]:
    """Prompts of an ask about the greedy answer: the question, the answer, and `text` behind them; none where it refuses."""

    def prompts(evidence: Evidence) -> tuple[str, ...]:
        answer = evidence.answer()
        return (f"Question: {evidence.question.text}\nAnswer: {answer.texts[0]}\n{text}",) if answer else ()

    return prompts
