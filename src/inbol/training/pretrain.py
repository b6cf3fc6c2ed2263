"""Training data of the tiny base: each visit of an image draws its degradation and its questions anew.

Two habits of the natural data are broken on purpose: seven of eight questions that name a colour name an absent one, so the model would
learn to say "absent" (at most a few are asked per visit); and a model that has never seen a refusal cannot be taught when to use one, so
each visit also asks it to repeat some ("say: ...").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from inbol.contracts import Question, VqaSample
from inbol.losses.sft import sft_loss, weighted_terms
from inbol.models.tree import Branch, Tree, TreeCollator, response_logps
from inbol.shards.images import decode_image
from inbol.sources.degrade import degrade
from inbol.text.prompts import say_item
from inbol.training.objectives import SftBatch
from inbol.training.stream import Visit


class PretrainObjective:
    """Mean over questions of the token-summed negative log-likelihood; every visit asks the same number of questions."""

    def __init__(
        self,
        samples: Sequence[VqaSample],
        collator: TreeCollator,
        *,
        questions_per_image: int,
        absent_questions: int,
        names_absent: Callable[[VqaSample, Question], bool],
        say_items: int,
        refusals: Sequence[str],
        seed: int,
    ) -> None:
        """`names_absent(sample, question)`: does a yes/no question name a colour the image does not show? At most `absent_questions` of
        them are asked per visit. The other arguments are those of `BaseConfig`."""
        self.samples, self.collator, self.seed = samples, collator, seed
        self.size = len(samples)
        self.images = [decode_image(sample.image) for sample in samples]
        self.questions_per_image, self.say_items, self.refusals = questions_per_image, say_items, refusals
        self.absent_questions = absent_questions
        by_number = {int(s.meta["level"]): dict(s.meta["degradation"]) for s in samples}
        self.levels = [by_number[number] for number in sorted(by_number)]
        self.absent = [[q for q in s.questions if names_absent(s, q)] for s in samples]
        self.present = [[q for q in s.questions if q.answerable and not names_absent(s, q)] for s in samples]

    def image(self, index: int, epoch: int) -> Image.Image:
        """The image at this visit: level, noise and occlusion are drawn anew."""
        return self._image(index, epoch, self.levels)

    def _image(self, index: int, epoch: int, levels: Sequence[dict[str, Any]]) -> Image.Image:
        rng = np.random.default_rng([self.seed, 1, epoch, index])
        return degrade(self.images[index], **levels[int(rng.integers(len(levels)))], rng=rng)

    def clear_image(self, index: int, epoch: int, *, undegraded_epochs: int) -> Image.Image:
        """What the tower's warm-up looks at: level 0 first, then the lighter half of the levels. Shape is learnt in one sudden step, and on
        degraded images alone that step may not come within the warm-up."""
        lighter = self.levels[: 1 if epoch < undegraded_epochs else (len(self.levels) + 1) // 2]
        return self._image(index, epoch, lighter)

    def ask(self, index: int, epoch: int) -> list[tuple[str, str]]:
        """(question, answer) pairs of this visit."""
        rng = np.random.default_rng([self.seed, 2, epoch, index])
        absent = _draw(self.absent[index], self.absent_questions, rng)
        asked = _draw(self.present[index], self.questions_per_image - len(absent), rng) + absent
        items = [(question.text, question.answers[0]) for question in asked]
        return items + [say_item(refusal) for refusal in _draw(self.refusals, self.say_items, rng)]

    def denominator(self, visit: Visit) -> float:
        """Number of questions asked at this visit."""
        absent = min(len(self.absent[visit.index]), self.absent_questions)
        asked = absent + min(len(self.present[visit.index]), self.questions_per_image - absent)
        return float(asked + min(len(self.refusals), self.say_items))

    def collate(self, visits: list[Visit]) -> SftBatch:
        """One tree per image."""
        trees, weights = [], []
        for visit in visits:
            asked = self.ask(visit.index, visit.epoch)
            trees.append(Tree(self.image(visit.index, visit.epoch), tuple(Branch(question, (answer,)) for question, answer in asked)))
            weights += [float(visit.real)] * len(asked)
        return SftBatch(self.collator(trees), torch.tensor(weights))

    def terms(self, model: Any, batch: SftBatch) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """See `Objective.terms`."""
        logps, tokens = response_logps(model, batch.trees)
        terms = weighted_terms(sft_loss(logps), batch.weights, tokens)
        return terms.numerator, {"nll_per_token": (float(terms.numerator.detach()), float(terms.tokens))}


def _draw(items: Sequence[Any], count: int, rng: np.random.Generator) -> list[Any]:
    """At most `count` of `items`, without repetition."""
    return [items[i] for i in rng.permutation(len(items))[:count]]
