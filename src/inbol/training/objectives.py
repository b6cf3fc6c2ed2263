"""What SFT and DPO train: records grouped by image, laid out as prefix trees, and the loss on their responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from inbol.contracts import PreferencePair, ReferenceLogps, SftExample, to_json
from inbol.losses.dpo import preference_loss
from inbol.losses.image_terms import IMAGE_LOSSES, image_loss
from inbol.losses.reference_free import REFERENCE_FREE, reference_free_loss
from inbol.losses.sft import sft_loss, weighted_terms
from inbol.models.tree import Branch, Tree, TreeBatch, TreeCollator, response_logps
from inbol.sources.alter import alter
from inbol.training.lengths import Paths
from inbol.training.resume import digest
from inbol.training.stream import Visit
from inbol.training.throughput import Counts

LoadImage = Callable[[str], Image.Image | None]
"""Image key -> decoded image; None for questions about nothing that is shown."""


@dataclass(slots=True)
class SftBatch:
    """Trees and what their responses weigh."""

    trees: TreeBatch
    weights: Tensor
    """[R]."""

    def to(self, device: torch.device) -> SftBatch:
        """The same batch on `device`."""
        return SftBatch(self.trees.to(device), self.weights.to(device))


class SftObjective:
    """Weighted negative log-likelihood of targets; one tree per image."""

    def __init__(
        self,
        examples: Sequence[SftExample],
        load_image: LoadImage,
        collator: TreeCollator,
        *,
        normalise: str = "examples",
        group_by_image: bool = True,
    ) -> None:
        """`group_by_image=False` makes a tree of each question; the sum over an epoch is the same. An image in `load_image.unreadable`,
        where it has that, weighs nothing: its weights stay in the denominator, as if its loss were 0."""
        self.groups, self.group_by_image = _groups(examples, by_image=group_by_image), group_by_image
        self.size = len(self.groups)
        self.load_image, self.collator, self.normalise = load_image, collator, normalise
        self.lengths = [_length(collator, [(e.prompt, e.target) for e in group]) for group in self.groups]

    def name(self, index: int) -> str:
        """See `Objective.name`."""
        return _name(self.groups[index], by_image=self.group_by_image)

    def identity(self) -> dict[str, Any]:
        """See `Objective.identity`."""
        return {
            "objective": "sft",
            "records": digest(to_json(example) for group in self.groups for example in group),
            "normalise": self.normalise,
            "group_by_image": self.group_by_image,
        }

    def prefetch(self, indices: Sequence[int]) -> None:
        """See `Objective`."""
        _prefetch(self.load_image, [self.groups[index][0].image_key for index in indices])

    def lost(self, visits: Sequence[Visit]) -> list[str]:
        """See `Objective`."""
        return [self.name(visit.index) for visit in visits if _unreadable(self.load_image, self.groups[visit.index])]

    def length(self, visit: Visit) -> int:
        """Tokens of the tree's questions and targets."""
        return self.lengths[visit.index]

    def denominator(self, visit: Visit) -> float:
        """Sum of weights (`examples`), or of weight x response tokens (`tokens`)."""
        if self.normalise == "examples":
            return sum(example.weight for example in self.groups[visit.index])
        encode = self.collator.encoder.response_ids
        return sum(example.weight * len(encode(example.target)) for example in self.groups[visit.index])

    def collate(self, visits: list[Visit]) -> SftBatch:
        """The trees of a micro-batch; responses and weights in the same order."""
        trees, weights = [], []
        for visit in visits:
            by_prompt: dict[str, list[SftExample]] = defaultdict(list)
            for example in self.groups[visit.index]:
                by_prompt[example.prompt].append(example)
            branches = tuple(Branch(prompt, tuple(e.target for e in group)) for prompt, group in by_prompt.items())
            trees.append(Tree(self.load_image(self.groups[visit.index][0].image_key), branches))
            counts = visit.real and not _unreadable(self.load_image, self.groups[visit.index])
            weights += [example.weight * counts for group in by_prompt.values() for example in group]
        return SftBatch(self.collator(trees), torch.tensor(weights))

    def counts(self, batch: SftBatch) -> Counts:
        """Targets and tokens."""
        return Counts(len(batch.weights), batch.trees.tokens, batch.trees.inputs["input_ids"].numel())

    def terms(self, model: Any, batch: SftBatch) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """See `Objective.terms`."""
        logps, tokens = response_logps(model, batch.trees)
        terms = weighted_terms(sft_loss(logps), batch.weights, tokens)
        with torch.no_grad():
            nats = float(-(batch.weights * logps).sum())
        return terms.numerator, {"nll_per_token": (nats, float(terms.tokens)), "nll_per_example": (nats, float(terms.examples))}


@dataclass(slots=True)
class DpoBatch:
    """Trees and the pairs among their responses."""

    trees: TreeBatch
    chosen: Tensor
    """[P] response numbers."""
    rejected: Tensor
    """[P] response numbers."""
    altered: int
    """Responses below the images; as many again, in the same order, stand below the altered images, where pairs have those, else 0."""
    values: dict[str, Tensor]
    """[P] each: weight, and with a reference confidence, answer_is_chosen, ref_chosen, ref_rejected; with
    altered images ref_altered_chosen, ref_altered_rejected."""

    def to(self, device: torch.device) -> DpoBatch:
        """The same batch on `device`."""
        moved = {name: value.to(device) for name, value in self.values.items()}
        return replace(self, trees=self.trees.to(device), chosen=self.chosen.to(device), rejected=self.rejected.to(device), values=moved)


class PairTrees:
    """Preference pairs as trees: below each question every distinct response once, whichever pairs it stands in; and once more below the
    altered image of pairs that have one."""

    def __init__(
        self, pairs: Sequence[PreferencePair], load_image: LoadImage, collator: TreeCollator, *, group_by_image: bool = True
    ) -> None:
        """`group_by_image=False` makes a tree of each question; the sum over an epoch is the same. Raises ValueError for pairs with
        different alterations of the image."""
        alterations = sorted({pair.altered for pair in pairs})
        if len(alterations) > 1:
            raise ValueError(f"pairs: altered is {' and '.join(map(repr, alterations))}; all pairs of a training need one alteration")
        self.altered = alterations[0] if alterations else ""
        self.groups, self.group_by_image = _groups(pairs, by_image=group_by_image), group_by_image
        self.load_image, self.collator = load_image, collator
        lengths = [_length(collator, [(p.prompt, text) for p in group for text in (p.chosen, p.rejected)]) for group in self.groups]
        self.lengths = [2 * length for length in lengths] if self.altered else lengths

    def collate(self, indices: Sequence[int]) -> tuple[TreeBatch, list[PreferencePair], Tensor, Tensor]:
        """(trees, their P pairs in order, [P] response number of the chosen, [P] of the rejected). With altered images, R responses below
        the images come first; those of the altered images have the numbers that follow, in the same order."""
        trees, pairs, chosen, rejected, offset = [], [], [], [], 0
        for index in indices:
            by_prompt: dict[str, list[PreferencePair]] = defaultdict(list)
            for pair in self.groups[index]:
                by_prompt[pair.prompt].append(pair)
            branches = []
            for prompt, group in by_prompt.items():
                responses = list(dict.fromkeys(text for pair in group for text in (pair.chosen, pair.rejected)))
                chosen += [offset + responses.index(pair.chosen) for pair in group]
                rejected += [offset + responses.index(pair.rejected) for pair in group]
                pairs += group
                offset += len(responses)
                branches.append(Branch(prompt, tuple(responses)))
            trees.append(Tree(self.load_image(self.groups[index][0].image_key), tuple(branches)))
        if self.altered:
            trees += [self._altered(tree, self.groups[index][0].image_key) for index, tree in zip(indices, trees, strict=True)]
        return self.collator(trees), pairs, torch.tensor(chosen), torch.tensor(rejected)

    def _altered(self, tree: Tree, key: str) -> Tree:
        if tree.image is None:
            raise ValueError(f"{key}: a pair about no image cannot be compared below an altered one; leave it out, or set pairs.altered=''")
        return replace(tree, image=alter(tree.image, self.altered, key))


class DpoObjective:
    """Preference loss, against reference log-probabilities computed once where it has a reference."""

    def __init__(self, trees: PairTrees, reference: dict[str, ReferenceLogps] | None, **loss: Any) -> None:
        """`loss`: name and parameters of `losses.dpo.preference_loss`, or of `reference_free_loss`, which takes no `reference`.

        Raises:
            ValueError: pairs without reference log-probabilities, a reference where the loss has none, or a loss that looks at an altered
                image with pairs that have none.
        """
        if (loss["name"] in IMAGE_LOSSES) != bool(trees.altered):
            raise ValueError(f"dpo.loss: {loss['name']!r} with pairs whose image alteration is {trees.altered!r}")
        if (reference is None) != (loss["name"] in REFERENCE_FREE):
            raise ValueError(f"dpo.loss: {loss['name']!r} takes {'a' if reference is None else 'no'} reference")
        missing = [pair.key for group in trees.groups for pair in group if reference is not None and pair.key not in reference]
        if missing:
            raise ValueError(
                f"{len(missing)} pairs have no reference log-probabilities, the first is {missing[0]}; rerun the stage 'reference'"
            )
        self.trees, self.reference, self.loss = trees, reference, loss
        self.size = len(trees.groups)

    def name(self, index: int) -> str:
        """See `Objective.name`."""
        return _name(self.trees.groups[index], by_image=self.trees.group_by_image)

    def identity(self) -> dict[str, Any]:
        """See `Objective.identity`; the reference is part of it."""
        pairs = [pair for group in self.trees.groups for pair in group]
        against = {"reference": digest(to_json(self.reference[pair.key]) for pair in pairs)} if self.reference is not None else {}
        return {
            "objective": "dpo",
            "records": digest(to_json(pair) for pair in pairs),
            **against,
            "loss": self.loss,
            "group_by_image": self.trees.group_by_image,
        }

    def prefetch(self, indices: Sequence[int]) -> None:
        """See `Objective`."""
        _prefetch(self.trees.load_image, [self.trees.groups[index][0].image_key for index in indices])

    def lost(self, visits: Sequence[Visit]) -> list[str]:
        """See `Objective`."""
        return [self.name(visit.index) for visit in visits if _unreadable(self.trees.load_image, self.trees.groups[visit.index])]

    def length(self, visit: Visit) -> int:
        """Tokens of the tree's questions and distinct responses."""
        return self.trees.lengths[visit.index]

    def denominator(self, visit: Visit) -> float:
        """Sum of pair weights."""
        return sum(pair.weight for pair in self.trees.groups[visit.index])

    def collate(self, visits: list[Visit]) -> DpoBatch:
        """The trees of a micro-batch and their pairs."""
        trees, pairs, chosen, rejected = self.trees.collate([visit.index for visit in visits])
        lost = {visit.index for visit in visits if _unreadable(self.trees.load_image, self.trees.groups[visit.index])}
        real = [visit.real and visit.index not in lost for visit in visits for _ in self.trees.groups[visit.index]]
        values = {"weight": torch.tensor([pair.weight * r for pair, r in zip(pairs, real, strict=True)])}
        if self.reference is not None:
            refs = [self.reference[pair.key] for pair in pairs]
            values["confidence"] = torch.tensor([pair.confidence for pair in pairs])
            values["answer_is_chosen"] = torch.tensor([pair.answer_is_chosen for pair in pairs])
            values["ref_chosen"] = torch.tensor([ref.chosen for ref in refs])
            values["ref_rejected"] = torch.tensor([ref.rejected for ref in refs])
            if self.trees.altered:
                values["ref_altered_chosen"] = torch.tensor([ref.altered_chosen for ref in refs])
                values["ref_altered_rejected"] = torch.tensor([ref.altered_rejected for ref in refs])
        return DpoBatch(trees, chosen, rejected, trees.num_responses // 2 if self.trees.altered else 0, values)

    def counts(self, batch: DpoBatch) -> Counts:
        """Pairs and tokens."""
        return Counts(len(batch.chosen), batch.trees.tokens, batch.trees.inputs["input_ids"].numel())

    def terms(self, model: Any, batch: DpoBatch) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """See `Objective.terms`; metrics carry TRL's names."""
        logps, tokens = response_logps(model, batch.trees)
        given = {
            "policy_chosen_logps": logps[batch.chosen],
            "policy_rejected_logps": logps[batch.rejected],
            "num_tokens_chosen": tokens[batch.chosen],
            "num_tokens_rejected": tokens[batch.rejected],
        }
        if self.reference is None:
            loss, metrics = reference_free_loss(**given, **self.loss)
        elif batch.altered:
            loss, metrics = image_loss(
                **given,
                ref_chosen_logps=batch.values["ref_chosen"],
                ref_rejected_logps=batch.values["ref_rejected"],
                altered_chosen_logps=logps[batch.chosen + batch.altered],
                altered_rejected_logps=logps[batch.rejected + batch.altered],
                ref_altered_chosen_logps=batch.values["ref_altered_chosen"],
                ref_altered_rejected_logps=batch.values["ref_altered_rejected"],
                **self.loss,
            )
        else:
            loss, metrics = preference_loss(
                **given,
                ref_chosen_logps=batch.values["ref_chosen"],
                ref_rejected_logps=batch.values["ref_rejected"],
                confidence=batch.values["confidence"],
                answer_is_chosen=batch.values["answer_is_chosen"],
                **self.loss,
            )
        weight = batch.values["weight"]
        total = float(weight.sum())
        return (weight * loss).sum(), {name: (float((weight * value).sum()), total) for name, value in metrics.items()}


def paths_of(groups: Sequence[Sequence[SftExample | PreferencePair]], names: Callable[[int], str]) -> list[tuple[str, str, Paths]]:
    """(name, image key, paths) of every tree, as `lengths.check_lengths` takes them."""

    def paths(record: SftExample | PreferencePair) -> list[tuple[str, str]]:
        responses = (record.target,) if isinstance(record, SftExample) else (record.chosen, record.rejected)
        return [(record.prompt, response) for response in responses]

    return [
        (names(index), group[0].image_key, list(dict.fromkeys(path for record in group for path in paths(record))))
        for index, group in enumerate(groups)
    ]


def _unreadable(load_image: LoadImage, group: Sequence[Any]) -> bool:
    return group[0].image_key in getattr(load_image, "unreadable", ())


def _prefetch(load_image: LoadImage, keys: list[str]) -> None:
    prefetch = getattr(load_image, "prefetch", None)
    if prefetch is not None:
        prefetch(keys)


def _length(collator: TreeCollator, asked: Iterable[tuple[str, str]]) -> int:
    """Tokens of the distinct prompts, and of the distinct responses below each."""
    encoder, paths = collator.encoder, set(asked)
    return sum(len(encoder.suffix_ids(prompt)) for prompt in {prompt for prompt, _ in paths}) + sum(
        len(encoder.response_ids(response)) - 1 for _, response in paths
    )


def _groups(records: Sequence[Any], *, by_image: bool) -> list[list[Any]]:
    """Records grouped by image, or by image and prompt, in order of first appearance."""
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for record in records:
        groups[record.image_key, "" if by_image else record.prompt].append(record)
    return list(groups.values())


def _name(group: Sequence[Any], *, by_image: bool) -> str:
    """The key of a tree's image, and with one tree a question that of its first record."""
    return str(group[0].image_key if by_image else f"{group[0].image_key}/{group[0].key}")
