"""Stage `dpo`: preference training of the SFT checkpoint against its own precomputed log-probabilities, under DeepSpeed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inbol.config.stages import DpoStage
from inbol.contracts import PreferencePair, ReferenceLogps
from inbol.stages.job import Job
from inbol.stages.training_parts import align, image_loader, read_all
from inbol.training.objectives import DpoObjective, PairTrees


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/`."""
    from trl import DPOConfig

    config: DpoStage = job.config
    dpo = config.dpo
    pairs = read_all(job.inputs["pairs"], PreferencePair)
    reference = {record.key: record for record in read_all(job.inputs["reference"], ReferenceLogps)}

    def objective(collator: Any) -> DpoObjective:
        return DpoObjective(
            PairTrees(pairs, image_loader(job.inputs["vqa"]), collator),
            reference,
            name=dpo.loss,
            beta=dpo.beta,
            soft_eps=dpo.soft_eps,
            weight_gamma=dpo.weight_gamma,
            margin_alpha=dpo.margin_alpha,
            regression_kappa=dpo.regression_kappa,
            anchor=dpo.anchor,
            anchor_normalise=dpo.anchor_normalise,
        )

    return align(job, objective, DPOConfig, dpo.optim, config.peft, config.deepspeed, Path(job.inputs["model"]), config.seed, beta=dpo.beta)
