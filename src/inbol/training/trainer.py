"""The trainer: a thin `transformers.Trainer` whose loss is divided by the global batch's denominator and whose data are arithmetic.

Why each override exists is written beside it; everything else (DeepSpeed, schedules, clipping, checkpoints, logging) is the library's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from inbol import interrupt
from inbol.shards.files import write_text
from inbol.shards.order import spread
from inbol.training.accounting import Ledger, cut_off, prove, read_all
from inbol.training.arguments import Budget, Sharding, bound, schedule_of, trainer_arguments
from inbol.training.checkpoints import PART, PREFIX, hashes, listing, publish, rotate
from inbol.training.engine import deepspeed_config
from inbol.training.finite import FiniteGuard
from inbol.training.honesty import PREFIX as HONESTY
from inbol.training.images import check_unreadable
from inbol.training.ranks import any_of, barrier, gathered
from inbol.training.resume import STREAM, Resume, find_resume, hyperparameters, restore_hyperparameters, stream_facts
from inbol.training.stream import FromStep, MicroBatch, Objective, StepStream
from inbol.training.throughput import Counts, flops_per_token, peak_flops, peak_memory_gb, rates

ACCOUNT = "account"
"""Where the ranks book what they trained on, beside the checkpoints."""
Report = Callable[[int, int, str], None]
"""(done, total, note): where progress goes."""


class StreamTrainer(Trainer):
    """Trains an `Objective`. `args` is TRL's `SFTConfig` or `DPOConfig`, as vocabulary."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the global denominator; neither Trainer nor DeepSpeed may divide again

    def __init__(
        self,
        *,
        stream: StepStream,
        lr_factors: dict[str, float] | None = None,
        resume: Resume | None = None,
        ledger: Ledger | None = None,
        bound_to: dict[str, Any] | None = None,
        keep: int = 2,
        max_bad_share: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """`resume`: where to go on, of `find_resume`. `bound_to`: what its checkpoints may be resumed with. `keep`: number of checkpoints
        that are kept. `ledger`: opened behind `resume`. `max_bad_share`: of the trees, whose image may be unreadable."""
        self.stream = stream
        self.lr_factors = lr_factors or {}
        self.resume, self.ledger, self.bound_to, self.keep = resume or Resume(), ledger, bound_to or {}, keep
        self.max_bad_share, self.lost = max_bad_share, set[str]()
        self.part: Path | None = None
        self.stopping = False
        self.made_with: list[dict[str, Any]] = []
        self.sums: dict[str, list[float]] = {}
        self.optimizer: torch.optim.Optimizer | None
        self.counted = self.counted_in_all = Counts()
        self.logged_at = time.perf_counter(), 0, 0.0
        super().__init__(**kwargs)
        self.flops = _flops(self.model)
        self.guard = FiniteGuard(self.args.world_size, stream.objective.name)

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
        numerator = self.guard.watch(numerator, self.state.global_step + 1, inputs.keys)
        if self.ledger:
            self.ledger.note(inputs.places, inputs.keys)
        self.counted += inputs.counts
        self.lost.update(inputs.lost)
        for name, (total, count) in metrics.items():
            sums = self.sums.setdefault(name, [0.0, 0.0])
            sums[0] += total
            sums[1] += count
        return numerator / inputs.denominator * self.args.world_size

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """With DeepSpeed the optimiser's step is part of it; one that was skipped ends the training, on all ranks."""
        loss = super().training_step(*args, **kwargs)
        if self.deepspeed is not None and self.accelerator.gradient_state.sync_gradients:
            self.guard.end_step(bool(getattr(self.deepspeed.optimizer, "overflow", False)), self.state.global_step + 1)
        return loss

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
            self.made_with = hyperparameters(self.optimizer)
            self.optimizer.register_step_pre_hook(self._before_step)
        return self.optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's metrics, samples and tokens per second (all summed over ranks), and the share of time spent on data."""
        if self.sums:
            names, counted = sorted(self.sums), self.counted
            rows = [*map(self.sums.get, names), (counted.samples, counted.tokens), (counted.slots, len(self.lost))]
            sums = torch.tensor(rows, dtype=torch.float64)
            if self.args.world_size > 1:
                sums = sums.to(self.args.device)
                dist.all_reduce(sums)
            *metrics, (samples, tokens), (slots, lost) = sums.tolist()
            if lost:
                logs["data/unreadable_trees"] = float(self.check_lost())
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

    def check_lost(self) -> int:
        """Trees of all ranks whose image could not be read. Called by all ranks; raises TooManyBad on all of them."""
        size = self.stream.objective.size
        return check_unreadable(self.lost, size=size, share=self.max_bad_share, world_size=self.args.world_size)

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.guard.step_hook(getattr(self.deepspeed, "optimizer", None), optimizer, self.state.global_step + 1)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """What DeepSpeed gets wrong in a universal checkpoint, and what a changed configuration changes, is put right."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (self.resume.universal or self.resume.changed):
            zero = self.optimizer if self.deepspeed is None else self.deepspeed.optimizer
            restore_hyperparameters(getattr(zero, "optimizer", zero), self.lr_scheduler, self.made_with)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.part or super()._get_output_dir(trial))

    def _save_rng_state(self, output_dir: str) -> None:
        """None is needed: dropout is a function of seed, step and rank, and the data are arithmetic."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Written elsewhere, flushed, hashed and marked, and only then given its name; an interrupted one is never seen."""
        folder, step, first = Path(self.args.output_dir), self.state.global_step, self.is_world_process_zero()
        rank, world_size = self.args.process_index, self.args.world_size
        part = folder / f"{PART}{step}"
        written = part / f"{PREFIX}{step}"
        if first:
            shutil.rmtree(part, ignore_errors=True)
        barrier(world_size)
        self.part = part  # where the library's own code saves to
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.part = None
        if first:
            write_text(written / STREAM, stream_facts(self.bound_to, world_size=world_size, since=self.resume.since))
        if self.ledger:
            self.ledger.sync()
        barrier(world_size)  # every rank has written its part
        names = gathered(listing(written), world_size)[0]  # one list for all: another machine may see a new file later
        shares = gathered(hashes(written, names[rank::world_size]), world_size)
        if first:
            publish(written, folder / written.name, {name: facts for share in shares for name, facts in share.items()})
            part.rmdir()
            rotate(folder, self.keep)
            if self.resume.universal and self.resume.folder:
                shutil.rmtree(self.resume.folder, ignore_errors=True)  # loaded, and no longer the newest
        barrier(world_size)
        if self.stopping:  # past the barrier: no rank ends while another still writes
            raise interrupt.Interrupted(f"step {step} of {self.args.max_steps}")

    def run(self) -> None:
        """Train from where `resume` says."""
        self.logged_at = time.perf_counter(), self.resume.step, self.stream.seconds
        self.train(resume_from_checkpoint=str(self.resume.folder) if self.resume.folder else None)


def _flops(model: Any) -> float | None:
    """Per token; None for what is no vision-language model (the tower's warm-up)."""
    return flops_per_token(model) if hasattr(model, "get_output_embeddings") else None


class EveryStep(TrainerCallback):
    """Dropout as a function of (seed, step, rank), so that resuming needs no RNG state; the account; progress; learning curves."""

    def __init__(
        self,
        report: Report,
        track: Callable[[dict[str, float], int], None] | None,
        note: str,
        ledger: Ledger | None = None,
        *,
        replay: bool = False,
    ) -> None:
        self.report, self.track, self.note, self.ledger = report, track, note, ledger
        self.loss, self.replay = "", replay
        self.trainer: StreamTrainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Pass on what the checkpoint knows of the curve, where the tracker may not have kept it."""
        if self.replay and self.track and state.is_world_process_zero:
            for logs in state.log_history:
                if "loss" in logs or any(name.startswith(HONESTY) for name in logs):
                    self._track(logs, int(logs["step"]))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed dropout."""
        torch.manual_seed(args.seed + 1_000_003 * state.global_step + 7919 * args.process_index)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Book the step, before a checkpoint of it can be saved; report progress."""
        if self.ledger:
            self.ledger.commit(state.global_step)
        state.epoch = state.global_step / max(state.max_steps, 1)
        self.report(state.global_step, state.max_steps, f"{self.note}{self.loss}")
        if interrupt.listening() and self.trainer and state.global_step < state.max_steps:
            # asked of one rank, at whatever moment: all stop behind the same step, and save it together
            self.trainer.stopping = any_of(interrupt.asked(), args.world_size)
            if self.trainer.stopping:
                control.should_log = control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Pass the curve on."""
        if logs and "loss" in logs:
            self.loss = f"loss {logs['loss']:.4f}"
        if logs and self.track and state.is_world_process_zero:
            self._track(logs, state.global_step)

    def _track(self, logs: dict[str, float], step: int) -> None:
        assert self.track is not None
        self.track({name: value for name, value in logs.items() if isinstance(value, int | float) and name != "step"}, step)


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
    replay: bool = False,
    probe: Any = None,
    **more: Any,
) -> tuple[StreamTrainer, dict[str, Any]]:
    """Train `model` in place, resuming from `folder` when it holds a complete checkpoint; the number of ranks may have changed.

    `folder` is one that all ranks see: their checkpoints and accounts lie side by side. `replay`: `track` also gets the part of the curve
    that lies before the checkpoint; for a tracker that was cut off. `probe`: a `HonestyProbe`.

    Returns:
        (the trainer, facts for the manifest: steps, world size, ZeRO stage, trees read by this rank, account, last logged values).

    Raises:
        ValueError: the ranks do not divide the global batch; the checkpoints in `folder` are not whole, or of another training; a tree
            was lost or doubled.
        TooManyBad: more trees have an image that cannot be read than is tolerated.
        Interrupted: the process was told to stop; a checkpoint of the step that was being taken is there.
        FloatingPointError: a loss or gradient that is not finite on any rank; the step is not taken.
    """
    layout = spread(budget.global_batch, world_size, budget.micro_batch)
    schedule = schedule_of(objective, budget, seed=seed)
    stream = StepStream(objective, layout, rank=rank, schedule=schedule)
    max_steps = max(1, round(budget.epochs * schedule.steps_per_epoch))
    bound_to = bound(objective, budget, sharding, seed=seed, max_steps=max_steps, lr_factors=lr_factors or {})
    resume = find_resume(folder, bound_to, rank=rank, world_size=world_size, zero_stage=sharding.zero_stage, changed=budget.resume_changed)
    if rank == 0:
        cut_off(folder / ACCOUNT, resume.step)
    barrier(world_size)
    ledger = Ledger(folder / ACCOUNT, rank)
    deepspeed = deepspeed_config(sharding, layout, model, max_grad_norm=budget.max_grad_norm, load_universal=resume.universal)
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
    every_step = EveryStep(report, track, note, ledger, replay=replay)
    trainer = StreamTrainer(
        stream=stream,
        lr_factors=lr_factors,
        resume=resume,
        ledger=ledger,
        bound_to=bound_to,
        keep=budget.keep_checkpoints,
        max_bad_share=budget.max_bad_share,
        model=model,
        args=arguments,
        processing_class=processor,
        callbacks=[every_step, *([probe] if probe else [])],
    )
    for callback in (every_step, probe) if probe else (every_step,):
        callback.trainer = trainer
    start = time.perf_counter()
    trainer.run()
    seconds = time.perf_counter() - start
    ledger.close()
    barrier(world_size)  # every rank has booked its last step
    lost = trainer.check_lost()
    account = prove(read_all(folder / ACCOUNT), schedule, steps=max_steps, since=resume.since)
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
        "account": account,
        "unreadable_trees": lost,
        "throughput": {
            name.removeprefix("throughput/"): round(value, 4)
            for name, value in rates(
                trainer.counted_in_all, seconds=seconds, world_size=world_size, flops=trainer.flops, peak=peak_flops()
            ).items()
        },
        "last": {name: value for name, value in (logged[-1] if logged else {}).items() if isinstance(value, int | float)},
    }
    return trainer, facts
