"""Who finds what the responses of on-policy training turned out to be: the rules, or the judge where it decides."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inbol.config.serving import JudgeConfig
from inbol.contracts import Outcome, Question
from inbol.endpoint.cache import AnswerCache
from inbol.endpoint.client import Client
from inbol.endpoint.limits import Budget
from inbol.judging.judge import Judge, outcome_of
from inbol.judging.prompts import Material
from inbol.losses.rewards import ternary_reward
from inbol.stages.job import Job
from inbol.stages.judge import CACHE, server_of
from inbol.text.match import grade_response

Grade = Callable[[Sequence[Question], Sequence[str]], list[Outcome | None]]
"""(questions, responses) to outcomes; None where nobody can say."""


def by_rules(questions: Sequence[Question], texts: Sequence[str]) -> list[Outcome | None]:
    """Outcomes as in `score`: refusal first, correctness second."""
    return [
        grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text)
        for question, text in zip(questions, texts, strict=True)
    ]


class ByJudge:
    """Outcomes by a server's verdicts: REFUSED by its tag, else CORRECT or WRONG; beyond the image all but a refusal is WRONG."""

    def __init__(self, job: Job, judge: JudgeConfig) -> None:
        """Each rank keeps a ledger of its own, and has its share of what may be spent."""
        self.judge = judge
        self.server = server_of(judge)
        self.cache = AnswerCache(Path(judge.cache) if judge.cache else job.out.parent.parent / CACHE)
        self.budget = Budget(
            job.out / f"requests-{job.rank}.jsonl",
            max_requests=max(1, judge.max_requests // job.world_size) if judge.max_requests else 0,
            max_cost=judge.max_cost / job.world_size,
            input_price=judge.input_price,
            output_price=judge.output_price,
        )

    def __call__(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Outcome | None]:
        """See `Grade`. Raises ServerMisconfigured."""
        return asyncio.run(self._grade(questions, texts))

    async def _grade(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Outcome | None]:
        asked = [
            Material(
                key=f"{number}",
                image_key=question.image_key,
                question=question.text,
                response=text,
                answers=question.answers if question.answerable else (),
                reason=question.reason,
                images=(),
            )
            for number, (question, text) in enumerate(zip(questions, texts, strict=True))
        ]
        async with Client(self.server, self.cache, self.budget) as client:
            judge = Judge(client, max_tokens=self.judge.max_tokens, rereads=self.judge.rereads)
            refused = await judge.verdicts("refusal", asked)
            due = [
                material
                for material, question, one in zip(asked, questions, refused, strict=True)
                if one.value == 0 and question.answerable
            ]
            correct = {verdict.key: verdict for verdict in await judge.verdicts("correctness", due)}
        return [
            outcome_of(one, correct.get(one.key), answerable=question.answerable) for question, one in zip(questions, refused, strict=True)
        ]


class OutcomeReward:
    """The worth of responses by their outcomes, as `train_grpo` asks for it; counts what was never judged."""

    def __init__(self, grade: Grade, worth: Mapping[str, float]) -> None:
        """`worth`: of the outcomes, as `ternary_reward` takes it."""
        self.grade, self.worth, self.unjudged = grade, worth, 0

    def __call__(self, questions: Sequence[Question], texts: Sequence[str]) -> tuple[list[float | None], Mapping[str, float]]:
        """See `Reward`; the shares are those of the outcomes, beyond the image apart."""
        outcomes = self.grade(questions, texts)
        self.unjudged += sum(outcome is None for outcome in outcomes)
        rewards = [
            None if outcome is None else ternary_reward(outcome, answerable=question.answerable, **self.worth)
            for question, outcome in zip(questions, outcomes, strict=True)
        ]
        return rewards, shares(questions, outcomes)


class ModelReward:
    """The score of a reward model; the outcomes by the rules are only logged."""

    def __init__(self, score: Callable[[Sequence[Question], Sequence[str]], list[float]]) -> None:
        self.score, self.unjudged = score, 0

    def __call__(self, questions: Sequence[Question], texts: Sequence[str]) -> tuple[list[float | None], Mapping[str, float]]:
        """See `Reward`."""
        return list(self.score(questions, texts)), shares(questions, by_rules(questions, texts))


def shares(questions: Sequence[Question], outcomes: Sequence[Outcome | None]) -> dict[str, float]:
    """Shares of the judged outcomes: `outcomes/correct`, ... of answerable questions, `outcomes/beyond_refused` of the others."""
    found = Counter((question.answerable, outcome) for question, outcome in zip(questions, outcomes, strict=True) if outcome is not None)
    answerable, beyond = (sum(count for (can, _), count in found.items() if can is which) for which in (True, False))
    counted = {f"outcomes/{one.value.lower()}": found[True, one] / answerable for one in Outcome} if answerable else {}
    return counted | ({"outcomes/beyond_refused": found[False, Outcome.REFUSED] / beyond} if beyond else {})
