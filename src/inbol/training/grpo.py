"""On-policy training by TRL's `GRPOTrainer`, which is used as it is: responses are sampled from the model that is being trained, a reward
says what each is worth, and what lies above the mean of its group becomes more likely (GRPO, arXiv 2402.03300)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from inbol import interrupt
from inbol.contracts import Question
from inbol.shards.order import spread
from inbol.training.arguments import Descent, Sharding, common_arguments
from inbol.training.engine import deepspeed_config
from inbol.training.ranks import any_of
from inbol.training.trainer import EveryStep, Report

Reward = Callable[[Sequence[Question], Sequence[str]], tuple[list[float | None], Mapping[str, float]]]
"""(questions, responses) to (what each response is worth, None where nobody can say; shares to be logged)."""
LOSSES = {"response": "grpo", "tokens": "dapo"}
"""TRL's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoBudget(Descent):
    """See `GrpoConfig` for the fields' meaning."""

    steps: int
    questions: int
    group: int
    updates: int
    clip: float
    beta: float
    temperature: float
    max_new_tokens: int
    length: str


class GrpoSteps(EveryStep):
    """Sampling as a function of (seed, step, rank); the curve; an end where the process is told to, or where numbers are not finite."""

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Nothing is saved within this stage: what is stopped begins again."""
        super().on_step_end(args, state, control, **more)
        if interrupt.listening() and state.global_step < state.max_steps and any_of(interrupt.asked(), args.world_size):
            raise interrupt.Interrupted(f"step {state.global_step} of {state.max_steps}, which are taken anew")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
        """Raises FloatingPointError for a loss or a gradient that is not finite, on all ranks: both are reduced over them."""
        for name in ("loss", "grad_norm"):
            if logs and not math.isfinite(logs.get(name) or 0.0):
                raise FloatingPointError(f"{name} is {logs[name]} at step {state.global_step}; take a smaller grpo.lr")
        super().on_log(args, state, control, logs, **more)
        if logs and "reward" in logs:
            self.loss = f"reward {logs['reward']:+.3f}"


def train_grpo(
    model: Any,
    processor: Any,
    questions: Sequence[Question],
    load_image: Callable[[str], Image.Image],
    reward: Reward,
    *,
    folder: Path,
    budget: GrpoBudget,
    sharding: Sharding,
    seed: int,
    world_size: int,
    report: Report,
    track: Callable[[dict[str, float], int], None] | None = None,
    prompt: Callable[[Question], str] = lambda question: question.text,
) -> tuple[Any, dict[str, Any]]:
    """Train `model` in place. The ranks have been joined, and nothing is resumed.

    Args:
        model: loaded from a folder, which is loaded again as the reference of the KL penalty where `budget.beta` asks for one; with LoRA
            its frozen weights are the reference.
        processor: of the model.
        questions: drawn in a seeded order, epoch after epoch.
        load_image: the image of a key.
        reward: called by every rank for its own share of the responses.
        folder: for the trainer.
        prompt: what is asked instead of a question's own text.

    Returns:
        (the trainer, facts for the manifest: steps, world size, ZeRO stage, responses of this rank, mean reward of the first
        and of the last logged steps).

    Raises:
        ValueError: there are no questions, or the ranks do not divide the responses of a step.
        FloatingPointError: a loss or gradient that is not finite.
        Interrupted: the process was told to stop.
    """
    from datasets import Dataset
    from trl import GRPOTrainer

    if not questions:
        raise ValueError("there is nothing to ask: no question of align-train is of the kind that grpo.of names")
    by_key = {question.key: question for question in questions}

    def shown(rows: dict[str, list[str]]) -> dict[str, list[Any]]:
        asked = [by_key[key] for key in rows["key"]]
        return {
            "key": rows["key"],
            "prompt": [[{"role": "user", "content": prompt(question)}] for question in asked],
            "image": [load_image(question.image_key) for question in asked],
        }

    def worth(completions: list[list[dict[str, str]]], key: list[str], log_metric: Callable[[str, float], None], **_: Any) -> list[Any]:
        texts = [completion[0]["content"].strip() for completion in completions]
        rewards, shares = reward([by_key[one] for one in key], texts)
        for name in sorted(shares):
            log_metric(name, shares[name])
        return rewards

    model.set_attn_implementation("sdpa")  # no trees here
    steps = GrpoSteps(report, track, "")
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=worth,
        args=_arguments(folder, budget, sharding, model, seed=seed, world_size=world_size),
        train_dataset=Dataset.from_dict({"key": list(by_key)}).with_transform(shown),
        processing_class=processor,
        callbacks=[steps],
    )
    trainer.train()
    curve = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    last = trainer.state.log_history[-2] if len(trainer.state.log_history) > 1 else {}
    facts = {
        "steps": trainer.state.global_step,
        "questions": len(questions),
        "group": budget.group,
        "responses_by_this_rank": budget.questions * budget.group // world_size * math.ceil(budget.steps / budget.updates),
        "world_size": world_size,
        "zero_stage": sharding.zero_stage,
        "precision": sharding.precision,
        "reward": {"first": curve[0], "last": curve[-1]},
        "last": {name: value for name, value in last.items() if isinstance(value, int | float)},
    }
    return trainer, facts


def _arguments(folder: Path, budget: GrpoBudget, sharding: Sharding, model: Any, *, seed: int, world_size: int) -> Any:
    """TRL's `GRPOConfig` with every default that would bite switched off."""
    from trl import GRPOConfig

    layout = spread(budget.questions * budget.group, world_size, budget.micro_batch)
    deepspeed = deepspeed_config(sharding, layout, model, max_grad_norm=budget.max_grad_norm)
    return GRPOConfig(
        **common_arguments(
            folder=folder, descent=budget, layout=layout, sharding=sharding, max_steps=budget.steps, seed=seed, deepspeed=deepspeed
        ),
        num_generations=budget.group,
        num_iterations=budget.updates,
        epsilon=budget.clip,
        beta=budget.beta,
        loss_type=LOSSES[budget.length],
        scale_rewards="group",
        temperature=budget.temperature,
        top_p=1.0,
        top_k=0,  # the library's own default would cut the distribution
        max_completion_length=budget.max_new_tokens,
        optim="adamw_torch_fused",
        adam_beta2=0.99,
        save_strategy="no",
        logging_nan_inf_filter=False,
    )
