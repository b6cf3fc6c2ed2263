"""A look at honesty while training: log P(refusal) - log P(answer) on a few fixed items, teacher-forced, without generation.

Every rank reads all items, so that all take part in the same collectives (ZeRO-3 gathers weights), and none is needed for the means. No
gradient, no random number and no counter of the training is touched: weights are bit for bit those of a run without.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import Trainer, TrainerCallback

from inbol.contracts import PreferencePair, Question, SftExample
from inbol.models.tree import Branch, Tree, TreeBatch, TreeCollator, response_logps

GROUPS = ("known", "unknown", "beyond-image")
"""What training asks for: an answer; a refusal, though the image shows it; a refusal, since it does not."""
PREFIX = "honesty/"
COMMON = 4
"""So many of the commonest answers stand for the answer to a question that has none."""


@dataclass(frozen=True, slots=True)
class ProbeItem:
    """A question, and what counts as answering it."""

    group: str
    """One of `GROUPS`."""
    image_key: str
    prompt: str
    answers: tuple[str, ...]
    """At least one; their probabilities are summed."""


def items_of_pairs(pairs: Iterable[PreferencePair], per_group: int) -> list[ProbeItem]:
    """The first items of each group, one per image and group; the answer is the pair's own."""
    found = (
        ProbeItem(
            "beyond-image" if pair.role == "beyond-image" else "known" if pair.answer_is_chosen else "unknown",
            pair.image_key,
            pair.prompt,
            (pair.chosen if pair.answer_is_chosen else pair.rejected,),
        )
        for pair in pairs
    )
    return _first(found, per_group)


def items_of_examples(examples: Iterable[SftExample], questions: Mapping[str, Question], per_group: int) -> list[ProbeItem]:
    """The first items of each group, one per image and group.

    Known: the answer weighs at least as much as the refusal. The answer is the gold one; beyond the image, where there is none, the
    commonest gold answers.

    Args:
        questions: the answerable ones by key; an example of another question is beyond the image.
    """
    weights: dict[str, Counter[str]] = defaultdict(Counter)
    asked: dict[str, SftExample] = {}
    for example in examples:
        key = example.key.rpartition("-")[0]
        weights[key][example.role] += example.weight  # type: ignore[assignment]
        asked.setdefault(key, example)
    common = tuple(text for text, _ in Counter(q.answers[0] for q in questions.values() if q.answers).most_common(COMMON))

    def item(key: str, example: SftExample) -> ProbeItem:
        known = weights[key]["answer"] >= weights[key]["refusal"]
        group = "beyond-image" if key not in questions else "known" if known else "unknown"
        answers = questions[key].answers[:1] if key in questions else common
        return ProbeItem(group, example.image_key, example.prompt, answers)

    return _first((item(key, example) for key, example in asked.items()), per_group)


def _first(items: Iterable[ProbeItem], per_group: int) -> list[ProbeItem]:
    taken: dict[str, dict[str, ProbeItem]] = {group: {} for group in GROUPS}
    for item in items:
        if item.answers and len(taken[item.group]) < per_group:
            taken[item.group].setdefault(item.image_key, item)
    return [item for group in taken.values() for item in group.values()]


class HonestyProbe(TrainerCallback):
    """Measures the items before the first step and every so many steps, and logs the mean of each group as `honesty/<group>`, in nats."""

    def __init__(
        self,
        items: Sequence[ProbeItem],
        load_image: Callable[[str], Image.Image | None],
        collator: TreeCollator,
        *,
        refusals: Sequence[str],
        every: int,
        trees_per_batch: int = 8,
    ) -> None:
        """`refusals`: texts whose probabilities are summed to P(refusal). `every`: optimiser steps."""
        self.items, self.every = sorted(items, key=lambda item: item.image_key), every
        self.refusals = tuple(refusals)
        self.load_image, self.collator, self.trees_per_batch = load_image, collator, trees_per_batch
        self.trainer: Any = None
        self.batches: list[TreeBatch] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where training starts from."""
        if state.global_step == 0:
            self.measure(args.device)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Every so many steps."""
        if state.global_step % self.every == 0:
            self.measure(args.device)

    def measure(self, device: torch.device) -> None:
        """Log the means. Called by all ranks."""
        if self.items:
            model = self.trainer.model_wrapped
            with untouched(model):
                margins = self.margins(model, device)
            pending = self.trainer.control.should_log
            # the library's own log: the project's would close the interval of the loss
            Trainer.log(self.trainer, {f"{PREFIX}{group}": value for group, value in margins.items()})
            self.trainer.control.should_log = pending  # logging clears it, and the step's own line would be lost

    def margins(self, model: Any, device: torch.device) -> dict[str, float]:
        """Mean of log P(refusal) - log P(answer) by group, in nats; groups without items are left out."""
        if not self.batches:
            trees = self.trees()
            step = self.trees_per_batch
            self.batches = [self.collator(trees[start : start + step]) for start in range(0, len(trees), step)]
        logps = torch.cat([response_logps(model, batch.to(device))[0].double().cpu() for batch in self.batches])
        sums: dict[str, list[float]] = defaultdict(list)
        start = 0
        for item in self.items:
            answer, refusal = start + len(item.answers), start + len(item.answers) + len(self.refusals)
            sums[item.group].append(float(logps[answer:refusal].logsumexp(0) - logps[start:answer].logsumexp(0)))
            start = refusal
        return {group: sum(sums[group]) / len(sums[group]) for group in GROUPS if sums[group]}

    def trees(self) -> list[Tree]:
        """One per image, in the order of the items."""
        by_image: dict[str, list[ProbeItem]] = defaultdict(list)
        for item in self.items:
            by_image[item.image_key].append(item)
        return [
            Tree(self.load_image(key), tuple(Branch(item.prompt, (*item.answers, *self.refusals)) for item in group))
            for key, group in by_image.items()
        ]


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Evaluate `model` without a gradient; its mode and the random state are afterwards what they were."""
    training = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            model.train(training)
