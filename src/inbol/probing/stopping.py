"""When a question's label can no longer change, so that the rest of its K samples need not be drawn: an exact rule, and its proof.

**Setting.** Of K samples n are drawn and m = K - n are not. a of the n are correct, and w is the size of the largest group of n that give
one wrong answer. In the end there are A correct ones, and a largest wrong group of W. The label (`label_between`) is a function of A/K and
W/K: KNOWN where A/K >= tau; otherwise MISTAKEN where W/K >= mistaken, else UNKNOWN. (`mistaken` > 1/2, so such a group outnumbers the
correct samples and the refusals together: it is the most frequent answer, whose share is the consistency.)

**What can still happen.** Drawn samples stay as they are and each of the m adds at most one to A and to W, so a <= A <= a + m and
w <= W <= w + m. All four ends are reached: m correct samples give (A, W) = (a + m, w); m refusals give (a, w); m samples that repeat the
most frequent wrong answer (any wrong answer while w = 0) give (a, w + m).

**Claim.** The label is fixed, the same for every completion, exactly when

1. a/K >= tau: KNOWN; or
2. (a + m)/K < tau, and
   (a) w/K >= mistaken: MISTAKEN, or
   (b) there is no `mistaken`, or (w + m)/K < mistaken: UNKNOWN.

**Proof.** *If.* Division by K is monotonic, in floating point too (rounding is). 1: A/K >= a/K >= tau. 2: A/K <= (a + m)/K < tau, so the
label is not KNOWN; with (a) W/K >= w/K >= mistaken; with (b) W/K <= (w + m)/K < mistaken. *Only if.* Let neither hold. Then a/K < tau. If
(a + m)/K >= tau, m correct samples make it KNOWN, and m refusals do not. Otherwise (a + m)/K < tau and w/K < mistaken <= (w + m)/K: m
refusals make it UNKNOWN, m repetitions of one wrong answer MISTAKEN. Either way two completions differ.

So the rule stops as early as any rule can that knows nothing about the model, and never changes a label. Which n of the K samples are the
first plays no part: all K are begun together, and those that end first are looked at first. A question beyond the image needs no sample at
all, and neither does any at tau = 0. The n samples are no fair sample of size n, since they end at a moment of their own choosing and
short responses end first; so their own share of correct ones is never given out as a confidence, but the interval [a/K, (a + m)/K], which
holds the share of all K whatever the others would have been.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from inbol.contracts import Boundary, Outcome, Question
from inbol.text.match import cluster, grade_response


@dataclass(frozen=True, slots=True)
class Tally:
    """What n samples of one answerable question gave so far."""

    drawn: int
    """n."""
    correct: int
    """a, samples that are correct."""
    agreeing: int
    """w, samples in the largest group that gives one wrong answer; 0 while none is wrong."""

    def accuracy(self, k: int) -> tuple[float, float]:
        """(a/K, (a + m)/K), between which the share of correct ones among all K lies."""
        return self.correct / k, (self.correct + k - self.drawn) / k

    def agreement(self, k: int) -> tuple[float, float]:
        """(w/K, (w + m)/K), between which the share of the most frequent wrong answer among all K lies."""
        return self.agreeing / k, (self.agreeing + k - self.drawn) / k


def tally(texts: Sequence[str], question: Question) -> Tally:
    """The counts of the samples drawn so far. Two samples are one answer when they normalise to the same words."""
    outcomes = [grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text) for text in texts]
    wrong = Counter(cluster(text, question.text) for text, outcome in zip(texts, outcomes, strict=True) if outcome is Outcome.WRONG)
    return Tally(len(texts), outcomes.count(Outcome.CORRECT), max(wrong.values(), default=0))


def label_between(accuracy: Sequence[float], agreement: Sequence[float], *, tau: float, mistaken: float | None) -> Boundary | None:
    """The label of an answerable question, None where it is open. With equal ends it is the label.

    Args:
        accuracy: (low, high) of the share of correct samples.
        agreement: (low, high) of the share of the most frequent wrong answer.
        tau: share from which on a question is KNOWN.
        mistaken: share in (0.5, 1] of one wrong answer from which on it is MISTAKEN; None for the other two labels alone.
    """
    if accuracy[0] >= tau:
        return Boundary.KNOWN
    if accuracy[1] >= tau:
        return None
    if mistaken is None or agreement[1] < mistaken:
        return Boundary.UNKNOWN
    return Boundary.MISTAKEN if agreement[0] >= mistaken else None


def fixed_label(texts: Sequence[str], question: Question, *, k: int, tau: float, mistaken: float | None) -> Boundary | None:
    """The label that all K samples will give, whatever the ones not drawn yet are; None while it can still change.

    Args:
        texts: the samples drawn so far, at most `k`.
        k: K.

    Raises:
        ValueError: more than K samples.
    """
    if len(texts) > k:
        raise ValueError(f"{question.key}: {len(texts)} samples are more than K = {k}; raise sampling.k")
    if not question.answerable:
        return Boundary.BEYOND_IMAGE
    so_far = tally(texts, question)
    return label_between(so_far.accuracy(k), so_far.agreement(k), tau=tau, mistaken=mistaken)
