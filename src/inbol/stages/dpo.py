"""Stage `dpo`: preference training of a checkpoint, against its own precomputed log-probabilities where the loss has them, under
DeepSpeed."""

from __future__ import annotations

from typing import Any

from inbol.config.stages import DpoStage
from inbol.config.training import IMAGE_LOSSES, REFERENCE_FREE, DpoConfig
from inbol.contracts import PreferencePair, ReferenceLogps
from inbol.stages.job import Job
from inbol.stages.training_parts import (
    finish_training,
    finished,
    honesty_probe,
    lengths,
    prepare,
    read_all,
    settings,
    training_images,
)
from inbol.training.binding import binding, check_binding
from inbol.training.honesty import items_of_pairs
from inbol.training.objectives import DpoObjective, PairTrees
from inbol.training.trainer import train


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/`. Raises ValueError for a reference of other weights, texts or pairs."""
    from trl import DPOConfig

    if (facts := finished(job)) is not None:
        return facts
    config: DpoStage = job.config
    dpo = config.dpo
    reference = job.inputs.get("reference")
    if job.rank == 0 and reference is not None:
        check_binding(reference, binding(job.inputs["model"] / "checkpoint", job.inputs["pairs"]))
    start = prepare(job, dpo.optim, config.peft, config.deepspeed)
    pairs = read_all(job.inputs["pairs"], PreferencePair)
    images = training_images(job, dpo.optim)
    objective = DpoObjective(
        PairTrees(pairs, images, start.collator, group_by_image=dpo.optim.group_by_image),
        {record.key: record for record in read_all(reference, ReferenceLogps)} if reference is not None else None,
        **loss_arguments(dpo),
    )
    start.facts.update(lengths(objective.trees.groups, objective.name, images, start, dpo.optim))
    items = items_of_pairs(pairs, dpo.optim.probe_items) if dpo.optim.probe_steps else []
    probe = honesty_probe(items, images, start, dpo.optim) if items else None
    how = settings(job, start, dpo.optim, config.deepspeed)
    trainer, facts = train(
        objective, start.model, start.processor, config_class=DPOConfig, seed=config.seed, probe=probe, beta=dpo.beta, **how
    )
    return finish_training(job, trainer, start, facts)


def loss_arguments(dpo: DpoConfig) -> dict[str, Any]:
    """Name and parameters of the loss, as `DpoObjective` takes them."""
    common = {"name": dpo.loss, "beta": dpo.beta, "anchor": dpo.anchor, "anchor_normalise": dpo.anchor_normalise}
    if dpo.loss in REFERENCE_FREE:
        return {**common, "simpo_gamma": dpo.simpo_gamma}
    if dpo.loss in IMAGE_LOSSES:
        return {**common, "image_gamma": dpo.image_gamma, "anchor_margin": dpo.anchor_margin}
    names = ("soft_eps", "weight_gamma", "margin_alpha", "regression_kappa")
    return {**common, **{name: getattr(dpo, name) for name in names}}
