"""Supervised targets from boundary labels: what to answer, what to refuse, and how much each counts."""

from __future__ import annotations

import random

from inbol.building.samples import correct_answers
from inbol.contracts import Boundary, BoundaryLabel, Question, ResponseSet, SftExample, stopped_early
from inbol.text.confidence import levels_of, with_confidence, with_sureness
from inbol.text.prompts import level_style, render_question
from inbol.text.refusals import refusal

METHODS = ("soft", "threshold", "plain", "extrinsic", "verb", "suffix", "levels")
ANSWERS = ("gold", "sample", "samples")
OF = ("all", "answerable", "beyond-image")
_EPSILON = 1e-9


def in_dead_band(confidence: float, *, tau: float, dead_band: float) -> bool:
    """True when |c - tau| < dead_band, so that the label would be close to a coin's; never at dead_band 0."""
    return abs(confidence - tau) < dead_band - _EPSILON


def left_out(question: Question, of: str) -> bool:
    """True when `of` (`all`, `answerable` or `beyond-image`) does not name the question. Raises ValueError for another `of`."""
    if of not in OF:
        raise ValueError(f"of: {of!r} is not one of {', '.join(map(repr, OF))}")
    return of != "all" and question.answerable != (of == "answerable")


def draw_refusal(question: Question, *, reason_share: float, rng: random.Random) -> str:
    """A refusal of `question`: with its reason for a share of the draws, in the words of the boundary that it is beyond."""
    with_reason = rng.random() < reason_share
    return refusal("unknown" if question.answerable else question.kind, with_reason=with_reason, rng=rng, reason=question.reason)


def build_examples(
    question: Question,
    label: BoundaryLabel,
    *,
    method: str,
    tau: float,
    dead_band: float,
    reason_share: float,
    seed: int,
    of: str = "all",
    answer: str = "gold",
    levels: int = 1,
    responses: ResponseSet | None = None,
) -> tuple[SftExample, ...]:
    """The examples of one question; none in the dead band, and none beyond the image for `plain`.

    Args:
        method: `soft`: the answer with weight c and a refusal with weight 1 - c; the gold answer alone when MISTAKEN. `threshold`: the
            answer when KNOWN (or MISTAKEN), else a refusal, of weight 1 (IDK-IT, the refusal tuning of arXiv 2412.11196). `plain`: the
            gold answer alone, of weight 1. `extrinsic`: the answer when answerable, whatever the model knows, else a refusal. `verb`: the
            answer in one of five degrees of confidence, a refusal at c = 0 (arXiv 2312.07000). `suffix`: the gold answer and whether the
            model is sure of it, which it is when KNOWN (arXiv 2311.09677). `levels`: the same question at several levels of boldness, each
            of which says from which c on it is answered (hindsight instruction relabelling, arXiv 2401.13275).
        tau: threshold that the label used; centre of the dead band.
        dead_band: half-width, in [0, 0.5]; answerable questions inside it are left out (`soft` and `threshold`).
        reason_share: share of the refusals that state their reason.
        seed: seed of the wordings; the draw depends on (seed, question key) alone.
        of: the questions that get examples: `all`, `answerable` or `beyond-image`.
        answer: `gold`: the first accepted answer. `sample`: one correct sample, drawn. `samples`: every distinct correct sample, by its
            share of the correct ones. Without a correct sample, the gold answer.
        levels: `levels`: so many of the eleven levels are drawn for the question.
        responses: the model's samples, for `sample` and `samples`.

    Raises:
        ValueError: unknown method, `answer` or `of`, a label or responses of another question, samples that are needed and not there, or
            sampling stopped early where the confidence itself is needed.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(map(repr, METHODS))}")
    if label.key != question.key:
        raise ValueError(f"label of {label.key} cannot make an example of question {question.key}")
    if responses is not None and responses.key != question.key:
        raise ValueError(f"responses of {responses.key} cannot make an example of question {question.key}")
    if left_out(question, of):
        return ()
    if method == "levels":
        return _at_levels(question, label, levels, reason_share, seed, _answers(question, answer, responses, seed))
    for_answer, for_refusal = _weights(question, label, method)
    if (
        question.answerable
        and method in ("soft", "threshold")
        and label.label is not Boundary.MISTAKEN
        and dead_band > 0
        and in_dead_band(label.exact_confidence("sft_data.dead_band"), tau=tau, dead_band=dead_band)
    ):
        return ()
    examples = []
    if for_answer > 0:
        texts = _answers(question, answer, responses, seed)
        marks = [""] if len(texts) == 1 else [str(n) for n in range(len(texts))]
        for mark, (text, share) in zip(marks, texts, strict=True):
            examples.append(_example(question, _phrased(text, label, method), for_answer * share, "answer", mark=mark))
    if for_refusal > 0:
        rng = random.Random(f"sft:{seed}:{question.key}")
        examples.append(_example(question, draw_refusal(question, reason_share=reason_share, rng=rng), for_refusal, "refusal"))
    return tuple(examples)


def _weights(question: Question, label: BoundaryLabel, method: str) -> tuple[float, float]:
    """Weight of the answer and of the refusal."""
    if method == "plain":
        return (1.0, 0.0) if question.answerable else (0.0, 0.0)
    if label.label is Boundary.BEYOND_IMAGE:
        return 0.0, 1.0
    if label.label is Boundary.MISTAKEN or method in ("extrinsic", "suffix"):
        return 1.0, 0.0
    if method == "soft":
        c = label.exact_confidence("sft_data.method='soft'")
        return c, 1.0 - c
    if method == "verb":
        return (1.0, 0.0) if label.exact_confidence("sft_data.method='verb'") > 0 else (0.0, 1.0)
    return (1.0, 0.0) if label.label is Boundary.KNOWN else (0.0, 1.0)


def _phrased(answer: str, label: BoundaryLabel, method: str) -> str:
    """The answer in the words of the method."""
    if method == "verb":
        return with_confidence(answer, label.exact_confidence("sft_data.method='verb'"))
    return with_sureness(answer, sure=label.label is Boundary.KNOWN) if method == "suffix" else answer


def _answers(question: Question, answer: str, responses: ResponseSet | None, seed: int) -> list[tuple[str, float]]:
    """(text, share) of what is taught as the answer; shares add up to 1. Empty beyond the image."""
    if answer not in ANSWERS:
        raise ValueError(f"answer: {answer!r} is not one of {', '.join(map(repr, ANSWERS))}")
    if not question.answerable:
        return []
    if answer == "gold":
        return [(question.answers[0], 1.0)]
    if responses is None:
        raise ValueError(f"{question.key}: sft_data.answer={answer!r} takes the model's own samples, and there are none")
    if responses.intended:
        raise stopped_early(question.key, f"sft_data.answer={answer!r}")
    correct = correct_answers(question, responses)
    total = sum(sampled.count for sampled in correct)
    if not correct:
        return [(question.answers[0], 1.0)]
    if answer == "samples":
        return [(sampled.text, sampled.count / total) for sampled in correct]
    rng = random.Random(f"sft-answer:{seed}:{question.key}")
    return [(rng.choices([s.text for s in correct], weights=[s.count for s in correct])[0], 1.0)]


def _at_levels(
    question: Question, label: BoundaryLabel, count: int, reason_share: float, seed: int, answers: list[tuple[str, float]]
) -> tuple[SftExample, ...]:
    """The question at `count` levels, drawn: answered where the confidence reaches 1.1 - level, refused elsewhere and at level 0."""
    rng = random.Random(f"sft-levels:{seed}:{question.key}")
    examples = []
    for level in levels_of(count, rng):
        style = level_style(level)
        declined = draw_refusal(question, reason_share=reason_share, rng=rng)
        bold = level > 0 and question.answerable
        mark = f"{round(10 * level):02d}"
        if bold and label.exact_confidence("sft_data.method='levels'") >= 1.1 - level - _EPSILON:
            ((text, share),) = answers  # one: `samples` goes with `soft` alone
            examples.append(_example(question, text, share, "answer", mark=mark, style=style))
        else:
            examples.append(_example(question, declined, 1.0, "refusal", mark=mark, style=style))
    return tuple(examples)


def _example(question: Question, target: str, weight: float, role: str, *, mark: str = "", style: str = "plain") -> SftExample:
    return SftExample(
        key=f"{question.key}-{role[0]}{mark}",
        image_key=question.image_key,
        prompt=render_question(question.text, style),
        target=target,
        weight=weight,
        role=role,
    )
