"""The trainer: a thin `transformers.Trainer` whose loss is divided by the global batch's denominator and whose data are arithmetic.

Why each override exists is written beside it; everything else (DeepSpeed, schedules, clipping, checkpoints, logging) is the library's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from inbol.shards.order import Layout, spread
from inbol.training.checkpoints import COMPLETE, last_complete, write_marker
from inbol.training.engine import deepspeed_config
from inbol.training.stream import FromStep, MicroBatch, Objective, StepStream
from inbol.training.throughput import Counts, flops_per_token, peak_flops, peak_memory_gb, rates

Report = Callable[[int, int, str], None]
"""(done, total, note): where progress goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Optimiser and length of a run; see `OptimConfig` for the fields' meaning."""

    lr: float
    epochs: float
    global_batch: int
    micro_batch: int
    warmup_share: float
    weight_decay: float
    max_grad_norm: float
    save_steps: int
    log_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """DeepSpeed's part; see `DeepSpeedConfig`."""

    zero_stage: int
    precision: str
    offload_optimizer: bool
    gradient_checkpointing: bool


class StreamTrainer(Trainer):
    """Trains an `Objective`. `args` is TRL's `SFTConfig` or `DPOConfig`, as vocabulary."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the global denominator; neither Trainer nor DeepSpeed may divide again

    def __init__(self, *, stream: StepStream, lr_factors: dict[str, float] | None = None, **kwargs: Any) -> None:
        self.stream = stream
        self.lr_factors = lr_factors or {}
        self.sums: dict[str, list[float]] = {}
        self.optimizer: torch.optim.Optimizer | None
        self.counted = self.counted_in_all = Counts()
        self.logged_at = time.perf_counter(), 0, 0.0
        super().__init__(**kwargs)
        self.flops = _flops(self.model)

    def get_train_dataloader(self) -> DataLoader[MicroBatch]:
        """This rank's micro-batches, not passed through `accelerator.prepare`, which would split them over the ranks a second time."""
        return DataLoader(
            self.stream,
            batch_size=None,
            sampler=FromStep(self, self.stream.layout.accumulation),
            num_workers=self.args.dataloader_num_workers,
            generator=torch.Generator(),  # without its own, iter() draws from the RNG that a resume has just restored
        )

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        """The denominator travels with the batch; nothing is gathered."""
        return

    def _prepare_inputs(self, inputs: MicroBatch) -> MicroBatch:
        inputs.batch = inputs.batch.to(self.args.device)
        return inputs

    def floating_point_ops(self, inputs: Any) -> int:
        """Not estimated: trees have no single input shape."""
        return 0

    def compute_loss(self, model: Any, inputs: MicroBatch, return_outputs: bool = False, num_items_in_batch: Any = None) -> torch.Tensor:
        """Sum of weighted losses / denominator of the whole global batch x world size, which undoes DeepSpeed's mean over ranks."""
        numerator, metrics = self.stream.objective.terms(model, inputs.batch)
        if not torch.isfinite(numerator.detach()):
            raise FloatingPointError(
                f"loss is {numerator.item()} at step {self.state.global_step + 1}, trees {inputs.keys}; no step was taken"
            )
        self.counted += inputs.counts
        for name, (total, count) in metrics.items():
            sums = self.sums.setdefault(name, [0.0, 0.0])
            sums[0] += total
            sums[1] += count
        return numerator / inputs.denominator * self.args.world_size

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with decay on matrices alone, and a learning-rate factor per parameter-name prefix."""
        if self.optimizer is None:
            model = model or self.model
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[tuple[float, float], list[Any]] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    factor = next((f for part, f in self.lr_factors.items() if part in name), 1.0)
                    groups.setdefault((factor, self.args.weight_decay if name in decayed else 0.0), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": parameters, "lr": self.args.learning_rate * factor, "weight_decay": decay}
                    for (factor, decay), parameters in groups.items()
                ],
                lr=self.args.learning_rate,
                betas=(0.9, 0.99),
                fused=True,  # one pass over each tensor instead of a dozen
            )
        return self.optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's metrics, samples and tokens per second (all summed over ranks), and the share of time spent on data."""
        if self.sums:
            names, counted = sorted(self.sums), self.counted
            sums = torch.tensor([*map(self.sums.get, names), (counted.samples, counted.tokens), (counted.slots, 0)], dtype=torch.float64)
            if self.args.world_size > 1:
                sums = sums.to(self.args.device)
                dist.all_reduce(sums)
            *metrics, (samples, tokens), (slots, _) = sums.tolist()
            logs.update({name: float(total / count) if count else 0.0 for name, (total, count) in zip(names, metrics, strict=True)})
            now, (then, step, waited) = time.perf_counter(), self.logged_at
            counts = Counts(int(samples), int(tokens), int(slots))
            logs.update(rates(counts, seconds=now - then, world_size=self.args.world_size, flops=self.flops, peak=peak_flops()))
            trees = (self.state.global_step - step) * self.stream.layout.global_batch
            logs["throughput/trees_per_second"] = trees / max(now - then, 1e-9)
            logs["throughput/data_wait_share"] = (self.stream.seconds - waited) / max(now - then, 1e-9)
            logs["memory/peak_gb"] = peak_memory_gb()
            self.logged_at = now, self.state.global_step, self.stream.seconds
            self.sums, self.counted, self.counted_in_all = {}, Counts(), self.counted_in_all + counts
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Marked complete once every rank has written its part; an unmarked folder is never resumed from."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.is_world_process_zero():
            (folder / COMPLETE).unlink(missing_ok=True)
        super()._save_checkpoint(model, trial)
        if self.args.world_size > 1:
            dist.barrier()
        if self.is_world_process_zero():
            write_marker(folder)

    def run(self) -> None:
        """Train from the last complete checkpoint, or from the start."""
        checkpoint = last_complete(Path(self.args.output_dir), remove_others=self.is_world_process_zero())
        if self.args.world_size > 1:
            dist.barrier()
        done = int(checkpoint.name.split("-")[1]) if checkpoint else 0
        self.logged_at = time.perf_counter(), done, self.stream.seconds
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _flops(model: Any) -> float | None:
    """Per token; None for what is no vision-language model (the tower's warm-up)."""
    return flops_per_token(model) if hasattr(model, "get_output_embeddings") else None


class EveryStep(TrainerCallback):
    """Dropout as a function of (seed, step, rank), so that resuming needs no RNG state; progress; learning curves to the tracker."""

    def __init__(self, report: Report, track: Callable[[dict[str, float], int], None] | None, note: str) -> None:
        self.report, self.track, self.note = report, track, note
        self.loss = ""

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed dropout."""
        torch.manual_seed(args.seed + 1_000_003 * state.global_step + 7919 * args.process_index)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report progress."""
        state.epoch = state.global_step / max(state.max_steps, 1)
        self.report(state.global_step, state.max_steps, f"{self.note}{self.loss}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Pass the curve on."""
        if logs and "loss" in logs:
            self.loss = f"loss {logs['loss']:.4f}"
        if logs and self.track and state.is_world_process_zero:
            self.track({name: value for name, value in logs.items() if isinstance(value, int | float)}, state.global_step)


def trainer_arguments(
    config_class: type,
    *,
    folder: Path,
    budget: Budget,
    layout: Layout,
    sharding: Sharding,
    max_steps: int,
    seed: int,
    deepspeed: dict[str, Any],
    **more: Any,
) -> Any:
    """TRL's `SFTConfig` or `DPOConfig` with every default that would bite switched off."""
    return config_class(
        output_dir=str(folder),
        per_device_train_batch_size=layout.micro_batch,
        gradient_accumulation_steps=layout.accumulation,
        learning_rate=budget.lr,
        lr_scheduler_type="cosine",
        max_steps=max_steps,
        warmup_steps=round(budget.warmup_share * max_steps),
        weight_decay=budget.weight_decay,
        max_grad_norm=budget.max_grad_norm,
        optim="adamw_torch",
        save_steps=budget.save_steps,
        save_total_limit=2,
        logging_steps=budget.log_steps,
        logging_first_step=True,
        seed=seed,
        bf16=sharding.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=sharding.gradient_checkpointing,
        report_to=[],
        ignore_data_skip=True,  # FromStep starts at the right place; skipping would read everything again
        remove_unused_columns=False,
        disable_tqdm=True,
        deepspeed=deepspeed,
        max_length=None,
        dataloader_num_workers=int(os.environ.get("INBOL_LOADER_WORKERS", "0")),
        **more,
    )


def train(
    objective: Objective,
    model: Any,
    processor: Any,
    *,
    config_class: type,
    folder: Path,
    budget: Budget,
    sharding: Sharding,
    seed: int,
    rank: int,
    world_size: int,
    report: Report,
    track: Callable[[dict[str, float], int], None] | None = None,
    lr_factors: dict[str, float] | None = None,
    note: str = "",
    **more: Any,
) -> tuple[StreamTrainer, dict[str, Any]]:
    """Train `model` in place, resuming from `folder` when it holds a complete checkpoint.

    Returns:
        (the trainer, facts for the manifest: steps, world size, ZeRO stage, trees read by this rank, last logged values).

    Raises:
        ValueError: the ranks do not divide the global batch.
        FloatingPointError: a loss that is not finite; the step is not taken.
    """
    layout = spread(budget.global_batch, world_size, budget.micro_batch)
    stream = StepStream(objective, layout, rank=rank, seed=seed)
    max_steps = max(1, round(budget.epochs * stream.steps_per_epoch))
    deepspeed = deepspeed_config(
        zero_stage=sharding.zero_stage,
        precision=sharding.precision,
        offload_optimizer=sharding.offload_optimizer,
        micro_batch=layout.micro_batch,
        accumulation=layout.accumulation,
        world_size=world_size,
        max_grad_norm=budget.max_grad_norm,
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    arguments = trainer_arguments(
        config_class,
        folder=folder,
        budget=budget,
        layout=layout,
        sharding=sharding,
        max_steps=max_steps,
        seed=seed,
        deepspeed=deepspeed,
        **more,
    )
    trainer = StreamTrainer(
        stream=stream,
        lr_factors=lr_factors,
        model=model,
        args=arguments,
        processing_class=processor,
        callbacks=[EveryStep(report, track, note)],
    )
    start = time.perf_counter()
    trainer.run()
    seconds = time.perf_counter() - start
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    facts = {
        "steps": max_steps,
        "trees": objective.size,
        "trees_read_by_this_rank": max_steps * layout.accumulation * layout.micro_batch,
        "world_size": world_size,
        "zero_stage": sharding.zero_stage,
        "precision": sharding.precision,
        "global_batch": layout.global_batch,
        "micro_batch": layout.micro_batch,
        "accumulation": layout.accumulation,
        "throughput": {
            name.removeprefix("throughput/"): round(value, 4)
            for name, value in rates(
                trainer.counted_in_all, seconds=seconds, world_size=world_size, flops=trainer.flops, peak=peak_flops()
            ).items()
        },
        "last": {name: value for name, value in (logged[-1] if logged else {}).items() if isinstance(value, int | float)},
    }
    return trainer, facts
