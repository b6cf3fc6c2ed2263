"""Pairs per second of preference training, the reference's cost included, against `trl.DPOTrainer`.

Ours computes the reference's log-probabilities once and then trains E epochs without it; TRL runs the reference model in every step, the
only way it has for images. For the P pairs of a step, with medians of the times: ours = P E / (t_reference + E t_step), TRL = P / t_step.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from bench.harness import Measure, Prepared, Times
from bench.shapes import SHAPES, World
from bench.steps import Floor, Stepper, as_loaded, divisors, fastest, our_trainer, trl_arguments, trl_dataset, with_lora
from inbol.contracts import ReferenceLogps
from inbol.models.tree import Branch, TreeCollator, response_logps
from inbol.training.objectives import DpoObjective, PairTrees
from inbol.training.stream import Visit

BETA = 0.5
LOSS: dict[str, Any] = {
    "name": "hard", "beta": BETA, "soft_eps": 0.05, "weight_gamma": 1.0, "margin_alpha": 1.0, "regression_kappa": 2.0,
    "anchor": 0.0, "anchor_normalise": "tokens",
}  # fmt: skip
"""TRL's `sigmoid`."""
CASES = {
    f"dpo-{shape}{'-lora' if lora else ''}": (shape, lora) for lora in (False, True) for shape in ("5q-576", "1q-576", "5q-64", "1q-64")
}
EPOCHS = (1, 3)


@torch.inference_mode()
def reference_pass(trees: PairTrees, model: Any, images: range, micro: int) -> dict[str, ReferenceLogps]:
    """Log-probabilities of the images' pairs, as the stage `reference` computes them."""
    found = {}
    for start in range(images.start, images.stop, micro):
        batch, pairs, chosen, rejected = trees.collate(range(start, min(start + micro, images.stop)))
        logps, _ = response_logps(model, batch.to(torch.device("cpu"), model.dtype))
        for pair, won, lost in zip(pairs, logps[chosen].tolist(), logps[rejected].tolist(), strict=True):
            found[pair.key] = ReferenceLogps(key=pair.key, chosen=won, rejected=lost)
    return found


def prepare(name: str, clock: str) -> Prepared:
    """Build both sides, hold their losses against each other, find the best micro-batches.

    Raises:
        AssertionError: the sides do not compute the same loss.
    """
    from trl import DPOConfig, DPOTrainer

    shape_name, lora = CASES[name]
    shape = SHAPES[shape_name]
    world = World(shape, images=4 * shape.step)
    per_step = shape.step * shape.questions
    reference = world.model(0)
    loaded = as_loaded(copy.deepcopy(reference))
    policy = with_lora(world.model(0)) if lora else world.model(1)
    trees = PairTrees(world.pairs, world.load_image, TreeCollator(world.processor))
    objective = DpoObjective(trees, reference_pass(trees, loaded, range(world.images), shape.step), **LOSS)

    rows = [{"image_key": p.image_key, "prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in world.pairs]
    dataset = trl_dataset(world, rows)

    def ours(micro: int) -> Stepper:
        return Stepper(our_trainer(objective, copy.deepcopy(policy), world, DPOConfig, micro, beta=BETA))

    def theirs(micro: int) -> Stepper:
        made = world.model(0) if lora else copy.deepcopy(policy)
        trainer = DPOTrainer(
            model=made,
            ref_model=None if lora else copy.deepcopy(reference),
            args=trl_arguments(DPOConfig, world, micro, beta=BETA),
            train_dataset=dataset,
            processing_class=world.processor,
            peft_config=copy.deepcopy(policy.peft_config["default"]) if lora else None,
        )
        if lora:
            trainer.model.load_state_dict({n: p for n, p in policy.state_dict().items() if "lora_" in n}, strict=False)
        return Stepper(trainer)

    check(objective, policy, theirs(per_step).trainer, dataset, shape.step)
    trl_micro, trl_step = fastest(theirs, divisors(per_step, largest=min(per_step, 10)), clock)
    our_micro, our_step = fastest(ours, divisors(shape.step, largest=min(shape.step, 10)), clock)
    branches = [(i, tuple(Branch(p.prompt, (p.chosen, p.rejected)) for p in group)) for i, group in enumerate(trees.groups[: shape.step])]
    return Prepared(
        sides={
            "ours": our_step,
            "peer": trl_step,
            "reference": lambda: reference_pass(trees, loaded, range(shape.step), our_micro),
            "floor": Floor(copy.deepcopy(policy), world, branches),
        },
        measures=tuple(_measure(name, epochs, per_step) for epochs in EPOCHS),
        peer=f"TRL `DPOTrainer`, {trl_micro} pairs a forward",
        peer_package="trl",
    )


def _measure(name: str, epochs: int, pairs: int) -> Measure:
    def ours(times: Times) -> float:
        return pairs * epochs / (times["reference"] + epochs * times["ours"])

    return Measure(
        name=f"{name}-{epochs}ep",
        unit="pairs/s",
        ours=ours,
        peer=lambda times: pairs / times["peer"],
        floor=lambda times: times["ours"] / times["floor"],
    )


def check(objective: DpoObjective, model: Any, trainer: Any, dataset: Any, images: int) -> None:
    """The same pairs, the same weights: the same loss."""
    with torch.no_grad():
        visits = [Visit(n, 0, True) for n in range(images)]
        numerator, _ = objective.terms(model, objective.collate(visits))
        ours = float(numerator) / sum(objective.denominator(visit) for visit in visits)
        pairs = sum(len(objective.trees.groups[n]) for n in range(images))
        theirs = float(trainer.compute_loss(trainer.model.train(), trainer.data_collator([dataset[n] for n in range(pairs)])))
    assert abs(ours - theirs) < 1e-4, f"losses of the same pairs differ: ours {ours}, TRL's {theirs}"
    assert abs(ours - 0.6931) > 1e-3, f"the loss {ours} is that of a policy equal to its reference, which any code gets right"
