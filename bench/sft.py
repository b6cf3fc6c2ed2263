"""Examples per second of supervised fine-tuning, against `trl.SFTTrainer` with its loss on completions alone: examples / time."""

from __future__ import annotations

import copy
from typing import Any

import torch

from bench.harness import Measure, Prepared
from bench.shapes import SHAPES, World
from bench.steps import Floor, Stepper, divisors, fastest, our_trainer, trl_arguments, trl_dataset
from inbol.models.tree import Branch, TreeCollator
from inbol.training.objectives import SftObjective
from inbol.training.stream import Visit

CASES = {f"sft-{shape}": shape for shape in ("5q-576", "5q-64", "mixed-576", "mixed-64")}


def prepare(name: str, clock: str) -> Prepared:
    """Build both sides, hold their losses against each other, find the best micro-batches.

    Raises:
        AssertionError: the sides do not compute the same loss.
    """
    from trl import SFTConfig, SFTTrainer

    shape = SHAPES[CASES[name]]
    world = World(shape, images=2 * shape.step)
    per_step = shape.step * shape.questions
    steps = world.images // shape.step if shape.mixed else 1  # a whole epoch: every call takes the same examples, however they are drawn
    model = world.model(0)
    objective = SftObjective(world.examples, world.load_image, TreeCollator(world.processor), normalise="tokens")
    dataset = trl_dataset(world, [{"image_key": e.image_key, "prompt": e.prompt, "completion": e.target} for e in world.examples])

    def ours(micro: int) -> Stepper:
        return Stepper(our_trainer(objective, copy.deepcopy(model), world, SFTConfig, micro), steps)

    def theirs(micro: int) -> Stepper:
        arguments = trl_arguments(SFTConfig, world, micro)
        trainer = SFTTrainer(model=copy.deepcopy(model), args=arguments, train_dataset=dataset, processing_class=world.processor)
        return Stepper(trainer, steps)

    check(objective, model, theirs(per_step).trainer, dataset, shape.step)
    trl_micro, trl_step = fastest(theirs, divisors(per_step, largest=min(per_step, 12)), clock)
    _, our_step = fastest(ours, divisors(shape.step, largest=min(shape.step, 12)), clock)
    groups = [(n, tuple(Branch(e.prompt, (e.target,)) for e in group)) for n, group in enumerate(objective.groups)]
    floor = Floor(copy.deepcopy(model), world, groups[: steps * shape.step])
    return Prepared(
        sides={"ours": our_step, "peer": trl_step, "floor": floor},
        measures=(
            Measure(
                name=name,
                unit="examples/s",
                ours=lambda times: steps * per_step / times["ours"],
                peer=lambda times: steps * per_step / times["peer"],
                floor=lambda times: times["ours"] / times["floor"],
            ),
        ),
        peer=f"TRL `SFTTrainer`, {trl_micro} examples a forward",
        peer_package="trl",
    )


def check(objective: SftObjective, model: Any, trainer: Any, dataset: Any, images: int) -> None:
    """The same examples, the same weights: the same loss per token."""
    with torch.no_grad():
        visits = [Visit(n, 0, True) for n in range(images)]
        numerator, _ = objective.terms(model, objective.collate(visits))
        ours = float(numerator) / sum(objective.denominator(visit) for visit in visits)
        examples = sum(len(objective.groups[n]) for n in range(images))
        theirs = float(trainer.compute_loss(trainer.model.train(), trainer.data_collator([dataset[n] for n in range(examples)])))
    assert abs(ours - theirs) < 1e-4, f"losses of the same examples differ: ours {ours}, TRL's {theirs}"
