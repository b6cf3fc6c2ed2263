"""Training data of the tiny base: each visit of an image draws its degradation and its questions anew.

The training is a sequence of lessons, each with its images and its choice of questions. And a model that has never seen a refusal cannot be
taught when to use one, so each visit also asks it to repeat some ("say: ...").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inbol.contracts import Question, VqaSample, to_json
from inbol.losses.sft import sft_loss, weighted_terms
from inbol.models.tree import Branch, Tree, TreeCollator, response_logps
from inbol.shards.images import decode_image
from inbol.sources.degrade import degrade
from inbol.text.prompts import say_item
from inbol.training.objectives import SftBatch
from inbol.training.resume import digest
from inbol.training.stream import Visit
from inbol.training.throughput import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A stretch of the base's training."""

    until: float
    """Epoch (visits of every image) at which the next lesson begins."""
    undegraded: bool
    """Show level 0 alone."""
    pools: Callable[[VqaSample], list[tuple[Sequence[Question], int]]]
    """What may be asked about an image: (questions, at most so many of them), drawn in this order until the visit is full."""


class PretrainObjective:
    """Weighted mean of the token-summed negative log-likelihood over what is asked."""

    def __init__(
        self,
        samples: Sequence[VqaSample],
        collator: TreeCollator,
        *,
        lessons: Sequence[Lesson],
        questions_per_image: int,
        say_items: int,
        refusals: Sequence[str],
        seed: int,
    ) -> None:
        """`lessons` in order of `until`; the last one goes on to the end. `refusals` may be asked to be said; the other arguments are those
        of `BaseConfig`."""
        self.collator, self.lessons, self.seed = collator, lessons, seed
        self.size, self.samples = len(samples), samples
        self.images = [decode_image(sample.image) for sample in samples]
        self.questions_per_image, self.say_items, self.refusals = questions_per_image, say_items, refusals
        by_number = {int(s.meta["level"]): dict(s.meta["degradation"]) for s in samples}
        self.levels = [by_number[number] for number in sorted(by_number)]
        self.pools = [[lesson.pools(sample) for sample in samples] for lesson in lessons]
        self.asked = lru_cache(maxsize=1024)(self.ask)  # every rank asks for the whole global batch, and then again for its own share

    def name(self, index: int) -> str:
        """See `Objective.name`."""
        return self.samples[index].key

    def identity(self) -> dict[str, Any]:
        """See `Objective.identity`."""

        def record(sample: VqaSample) -> str:
            image = hashlib.sha256(sample.image).hexdigest()
            return json.dumps([sample.key, image, sample.meta, *map(to_json, sample.questions)], sort_keys=True)

        return {
            "objective": "pretrain",
            "records": digest(map(record, self.samples)),
            "lessons": [[lesson.until, lesson.undegraded] for lesson in self.lessons],
            "questions_per_image": self.questions_per_image,
            "say_items": self.say_items,
            "refusals": digest(self.refusals),
        }

    def lesson(self, epoch: int) -> int:
        """Number of the lesson that visit `epoch` belongs to."""
        return next((number for number, lesson in enumerate(self.lessons) if epoch < lesson.until), len(self.lessons) - 1)

    def image(self, index: int, epoch: int) -> Image.Image:
        """The image at this visit: level, noise and occlusion are drawn anew."""
        undegraded = self.lessons[self.lesson(epoch)].undegraded
        return self._image(index, epoch, self.levels[:1] if undegraded else self.levels)

    def _image(self, index: int, epoch: int, levels: Sequence[dict[str, Any]]) -> Image.Image:
        rng = np.random.default_rng([self.seed, 1, epoch, index])
        return degrade(self.images[index], **levels[int(rng.integers(len(levels)))], rng=rng)

    def clear_image(self, index: int, epoch: int, *, undegraded_epochs: int) -> Image.Image:
        """What the tower's warm-up looks at: level 0 first, then the lighter half of the levels. Shape is learnt in one sudden step, and on
        degraded images alone that step may not come within the warm-up."""
        lighter = self.levels[: 1 if epoch < undegraded_epochs else (len(self.levels) + 1) // 2]
        return self._image(index, epoch, lighter)

    def ask(self, index: int, epoch: int) -> list[tuple[str, str]]:
        """(question, answer) pairs of this visit; the refusals to say come last."""
        rng = np.random.default_rng([self.seed, 2, epoch, index])
        asked: list[Question] = []
        for pool, most in self.pools[self.lesson(epoch)][index]:
            asked += _draw(pool, min(most, self.questions_per_image - len(asked)), rng)
        items = [(question.text, question.answers[0]) for question in asked]
        return items + [say_item(refusal) for refusal in _draw(self.refusals, self.say_items, rng)]

    def weights(self, asked: Sequence[tuple[str, str]]) -> list[float]:
        """1 for each question, 1 / response tokens for each refusal to say: while the long refusals are new, their loss would leave little
        of the clipped gradient to anything else."""
        said = min(len(self.refusals), self.say_items)
        lengths = [len(self.collator.encoder.response_ids(refusal)) for _, refusal in asked[len(asked) - said :]]
        return [1.0] * (len(asked) - said) + [1 / length for length in lengths]

    def denominator(self, visit: Visit) -> float:
        """Sum of the weights of this visit."""
        return sum(self.weights(self.asked(visit.index, visit.epoch)))

    def length(self, visit: Visit) -> int:
        """Tokens of the questions and answers of this visit."""
        encoder = self.collator.encoder
        return sum(
            len(encoder.suffix_ids(text)) + len(encoder.response_ids(answer)) for text, answer in self.asked(visit.index, visit.epoch)
        )

    def collate(self, visits: list[Visit]) -> SftBatch:
        """One tree per image."""
        trees, weights = [], []
        for visit in visits:
            asked = self.asked(visit.index, visit.epoch)
            trees.append(Tree(self.image(visit.index, visit.epoch), tuple(Branch(question, (answer,)) for question, answer in asked)))
            weights += [weight * visit.real for weight in self.weights(asked)]
        return SftBatch(self.collator(trees), torch.tensor(weights))

    def counts(self, batch: SftBatch) -> Counts:
        """Targets and tokens."""
        return Counts(len(batch.weights), batch.trees.tokens, batch.trees.inputs["input_ids"].numel())

    def terms(self, model: Any, batch: SftBatch) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """See `Objective.terms`."""
        logps, tokens = response_logps(model, batch.trees)
        terms = weighted_terms(sft_loss(logps), batch.weights, tokens)
        return terms.numerator, {"nll_per_token": (float(terms.numerator.detach()), float(terms.tokens))}


def _draw(items: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    """At most `count` of `items`, without repetition."""
    return [items[i] for i in rng.permutation(len(items))[:count]]
