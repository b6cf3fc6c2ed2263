"""One question to several systems: the response as `predict` records it, and how near it is to a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from inbol.contracts import Outcome, Question
from inbol.evaluation.calibrated import Calibration, refuses, score_of
from inbol.models.tree import Branch, Tree
from inbol.stages.predict import own_rule
from inbol.stages.probe_parts import Decoder
from inbol.text.match import grade_response
from inbol.text.prompts import render_question
from inbol.text.refusals import LEADING, is_refusal

MAX_QUESTION = 2000
"""Characters of a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one system makes of a question; log-probabilities in nats, end-of-sequence included."""

    label: str
    text: str
    """The greedy response; also where it is withheld."""
    logprob: float
    """log P(response)."""
    refused: bool
    """It reads as a refusal, or it is withheld."""
    withheld: bool
    """The checkpoint's own calibration refuses it."""
    refusal: float
    """log P(refusal), summed over a fixed set of texts (docs/risk.md)."""
    answer: str
    """What refusing is compared with: its own answer; where it has none, another system's; where none has one, its own response."""
    answer_of: str
    """Label of the system whose answer that is; empty where none has one."""
    answer_logprob: float
    """log P(answer) under this system."""
    rule: Calibration | None
    score: float
    """What its calibration compares with its threshold; the margin over its own response without one."""
    outcome: Outcome | None
    """Against the accepted answers, where they are known."""

    @property
    def margin(self) -> float:
        """log P(refusal) - log P(answer)."""
        return self.refusal - self.answer_logprob


class System:
    """A checkpoint as `predict` asks it."""

    def __init__(self, label: str, checkpoint: Path, *, prompt: str, max_new_tokens: int) -> None:
        """Load it.

        Raises:
            ValueError: no checkpoint, or its calibration is damaged or belongs to another.
        """
        self.label, self.prompt, self.max_new_tokens = label, prompt, max_new_tokens
        self.rule = own_rule(checkpoint, prompt, check=True)
        self.decoder = Decoder(checkpoint)

    @property
    def refusals(self) -> tuple[str, ...]:
        """The texts of log P(refusal)."""
        return self.rule.refusals if self.rule else LEADING

    def tree(self, image: Image.Image, question: str) -> Tree:
        """The image with this question."""
        return Tree(image, (Branch(render_question(question, self.prompt)),))

    def respond(self, tree: Tree) -> tuple[str, float]:
        """(greedy response, its log-probability)."""
        decoded = self.decoder([tree], max_new_tokens=self.max_new_tokens)[0][0]
        return self.decoder.text(decoded.ids[0]), decoded.logprobs[0]

    def logp(self, tree: Tree, texts: Sequence[str]) -> float:
        """log of the summed probability of `texts`."""
        return self.decoder.logps([tree], texts)[0][0]


def ask(systems: Sequence[System], image: Image.Image, question: str, known: Question | None = None) -> tuple[Said, ...]:
    """What every system says, in their order.

    Args:
        image: RGB.
        question: as typed.
        known: the same question with its accepted answers, which then grade the responses.

    Raises:
        ValueError: no question, one that is too long, or one with the model's image placeholder in it.
    """
    question = checked(question)
    trees = [system.tree(image, question) for system in systems]
    responses = [system.respond(tree) for system, tree in zip(systems, trees, strict=True)]
    answers = [None if is_refusal(text, question) else text for text, _ in responses]
    return tuple(
        _said(system, tree, responses[i], [(i, answers[i]), *enumerate(answers)], [s.label for s in systems], question, known)
        for i, (system, tree) in enumerate(zip(systems, trees, strict=True))
    )


def checked(question: str) -> str:
    """The question without space around it. Raises ValueError for none, and for one that is too long."""
    question = question.strip()
    if not question:
        raise ValueError("type a question first")
    if len(question) > MAX_QUESTION:
        raise ValueError(f"the question has {len(question)} characters; at most {MAX_QUESTION} are asked")
    return question


def _said(
    system: System,
    tree: Tree,
    response: tuple[str, float],
    answers: Sequence[tuple[int, str | None]],
    labels: Sequence[str],
    question: str,
    known: Question | None,
) -> Said:
    """`answers`: by number of their system, those to be compared with first; the first is the system's own."""
    text, logprob = response
    refusal = system.logp(tree, system.refusals)
    own = answers[0][0]
    of, answer = next(((i, found) for i, found in answers if found is not None), (None, text))
    score = score_of(system.rule.score if system.rule else "margin", logprob=logprob, refusal=refusal)
    withheld = system.rule is not None and refuses(system.rule, score)
    outcome = None
    if known is not None:
        graded = grade_response(text, answers=known.answers, answerable=known.answerable, question=known.text)
        outcome = Outcome.REFUSED if withheld else graded
    return Said(
        label=system.label,
        text=text,
        logprob=logprob,
        refused=withheld or answers[0][1] is None,
        withheld=withheld,
        refusal=refusal,
        answer=answer,
        answer_of="" if of is None else labels[of],
        answer_logprob=logprob if of is None or of == own else system.logp(tree, [answer]),
        rule=system.rule,
        score=score,
        outcome=outcome,
    )
