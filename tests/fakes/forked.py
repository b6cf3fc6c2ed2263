"""Training runs on the toy set by ranks forked from one process: torch and DeepSpeed are imported once, a run takes a second or two.

`python forked.py ORDERS.json`: the orders, by name, are run one after the other. Most are legs: a set of ranks that train in a folder from
where its checkpoints say, until they are done or killed. The results go to `<ORDERS>.done.json`. The process that forks computes nothing
itself, so nothing of torch's is running when it does.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from inbol import interrupt

STOPPED = 75
"""Exit code of a rank that was told to stop."""
LIMIT = 60
"""Seconds that a leg may take; about two on an idle machine. Ranks that wait for each other forever end here."""


@dataclass(kw_only=True)
class Leg:
    """Ranks that train."""

    folder: str
    kind: str = "sft"
    """`sft` or `dpo`, or one of `objectives` in `main`."""
    ranks: int = 2
    zero: int = 2
    steps: int = 10
    size: int = 6
    """Images, of six."""
    save_steps: int = 2
    dropout: float = 0.2
    lora: bool = False
    precision: str = "fp32"
    weight_decay: float = 0.0
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of `Budget`, and `seed`."""
    probe: int = 0
    """Steps between looks of the honesty probe; 0: none."""
    dies_at: int = 0
    """Every rank kills itself with SIGKILL when it has done this step, before that can be saved."""
    kill: tuple[str, int, float, int] | None = None
    """(`step` or `save`, its number, seconds after it, rank or -1 for all): SIGKILL that many seconds after rank 0 has done the step, or
    has begun to save it."""
    tell: tuple[int, int] | None = None
    """(rank, number of its forward pass): SIGUSR1 to that rank alone, in the middle of it."""


def go(leg: Leg) -> dict[str, Any]:
    """Run a leg; returns its exit codes by rank (negative: the signal), whether it was killed, what it left, and the ends of what the ranks
    said."""
    folder = Path(leg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sys.stdout.flush()
    start, left = time.monotonic(), parts(folder)
    pids = [fork(leg, rank, port) for rank in range(leg.ranks)]
    codes: dict[int, int] = {}
    killed, due, hung = False, None, False
    while len(codes) < leg.ranks:
        for rank, pid in enumerate(pids):
            if rank not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[rank] = os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if due is None and leg.kill and reached(folder, left, *leg.kill[:2]):
            due = now + leg.kill[2]
        if due is not None and now >= due and not killed and not codes:
            killed = True
            for rank in range(leg.ranks) if leg.kill[3] < 0 else [leg.kill[3]]:
                os.kill(pids[rank], signal.SIGKILL)
        hung = hung or now - start > LIMIT
        if hung or (killed and len(codes) > 0) or any(code != 0 for code in codes.values()):
            time.sleep(0.05 if killed else 1.0)  # the launcher ends the others as soon as one has failed, but not at once
            for rank, pid in enumerate(pids):
                if rank not in codes:
                    os.kill(pid, signal.SIGKILL if killed or hung else signal.SIGTERM)
        time.sleep(0.001)
    in_save = bool(parts(folder) - left)
    said = [(folder / f"log-{rank}.txt").read_text(errors="replace")[-20000:] for rank in range(leg.ranks)]
    seconds = round(time.monotonic() - start, 2)
    saved = sorted(path.name for path in (folder / "trainer").glob("checkpoint-*"))
    return {
        "checkpoints": saved,
        "codes": [codes[rank] for rank in range(leg.ranks)],
        "in_save": in_save,
        "killed": -signal.SIGKILL in codes.values() and not hung,
        "hung": hung,
        "said": said,
        "seconds": seconds,
    }


def parts(folder: Path) -> set[tuple[str, int]]:
    """Checkpoints that are being written, and those whose writing was interrupted: (name, number of the folder)."""
    found = set()
    for path in folder.glob("trainer/.part-*"):
        with suppress(OSError):  # it was given its name just now
            found.add((path.name, path.stat().st_ino))
    return found


def reached(folder: Path, left: set[tuple[str, int]], what: str, number: int) -> bool:
    """Whether the run has come so far; `left` is what was there at its start."""
    if what == "save":
        return any(name == f".part-{number}" for name, _ in parts(folder) - left)
    try:
        return (folder / "trainer" / "account" / "rank-0.jsonl").read_text().count("\n") >= number
    except OSError:
        return False


def fork(leg: Leg, rank: int, port: int) -> int:
    """Start a rank; in the child it never returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(Path(leg.folder) / f"log-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(leg.ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        work(leg)
        code = 0
    except interrupt.Interrupted as stopped:
        print(f"stopped at {stopped}")
        code = STOPPED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def work(leg: Leg) -> None:
    """One rank: train, export, and leave facts, log and weights behind."""
    if (Path(leg.folder) / "checkpoint").exists():
        return  # this rank was killed after the last thing it had to do
    import torch
    import toy
    from toy_runs import CLIP, GLOBAL_BATCH, LR, SEED, config_class, start_model

    from inbol.models.load import add_lora
    from inbol.training.checkpoints import export
    from inbol.training.engine import start_ranks
    from inbol.training.trainer import Budget, Sharding

    if leg.tell:
        os.environ[interrupt.LISTEN] = "1"
        interrupt.listen()
    rank, world_size = start_ranks()
    model: Any = start_model(torch.bfloat16 if leg.precision == "bf16" else torch.float32)
    base = None
    for module in model.model.language_model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = leg.dropout
    if leg.lora:
        base = str(Path(leg.folder) / "base")
        if rank == 0:
            model.save_pretrained(base)
        torch.manual_seed(0)
        model = add_lora(model, r=4, alpha=8, dropout=0.0, target_modules=("q_proj", "v_proj", "up_proj"))
    made = MAKERS[leg.kind](leg.size)
    budget: dict[str, Any] = {
        "lr": LR, "epochs": leg.steps / -(-made.size // GLOBAL_BATCH), "global_batch": GLOBAL_BATCH, "micro_batch": 1, "warmup_share": 0.0,
        "weight_decay": leg.weight_decay, "max_grad_norm": CLIP, "save_steps": leg.save_steps, "log_steps": 1,
    }  # fmt: skip
    changes = dict(leg.changes)
    seed = changes.pop("seed", SEED)
    seen: list[Any] = []
    if leg.kind in SPOILT:
        plain = made.terms
        made.terms = lambda model, batch: (seen.clear(), seen.extend(stored(model)), plain(model, batch))[-1]
    if leg.tell and leg.tell[0] == rank:
        plain_terms, passes = made.terms, iter(range(1, 1000))

        def told(model: Any, batch: Any) -> Any:
            if next(passes) == leg.tell[1]:
                os.kill(os.getpid(), signal.SIGUSR1)
            return plain_terms(model, batch)

        made.terms = told
    probe = None
    if leg.probe:
        from inbol.training.honesty import HonestyProbe, items_of_pairs

        items = items_of_pairs(toy.pairs(), 3)
        probe = HonestyProbe(items, toy.image, made_collator(), refusals=toy.REFUSALS, every=leg.probe, trees_per_batch=2)
    trainer, facts = trained(
        lambda: [torch.equal(one, other) for one, other in zip(seen, stored(model), strict=True)],
        Path(leg.folder) / f"unmoved-{rank}.json",
        made,
        model,
        toy.processor(),
        config_class=config_class("dpo" if leg.kind == "dpo" else "sft"),
        folder=Path(leg.folder) / "trainer",
        budget=Budget(**{**budget, **changes}),
        sharding=Sharding(zero_stage=leg.zero, precision=leg.precision, offload_optimizer=False, gradient_checkpointing=False),
        seed=seed,
        rank=rank,
        world_size=world_size,
        probe=probe,
        report=lambda step, *_: os.kill(os.getpid(), signal.SIGKILL) if step == leg.dies_at else None,
    )
    if rank == 0:
        (Path(leg.folder) / "log.json").write_text(json.dumps(trainer.state.log_history))
    (Path(leg.folder) / f"facts-{rank}.json").write_text(json.dumps(facts))
    export(trainer, toy.processor(), Path(leg.folder) / "checkpoint", base=base)


def trained(unmoved: Callable[[], list[bool]], told: Path, *args: Any, **kwargs: Any) -> Any:
    """`train`; one that stops at what is not finite tells whether every weight is what it was at the last forward pass."""
    from inbol.training.trainer import train

    try:
        return train(*args, **kwargs)
    except FloatingPointError:
        told.write_text(json.dumps(unmoved()))
        raise


def stored(model: Any) -> list[Any]:
    """Copies of what this rank holds of the parameters."""
    return [getattr(parameter, "ds_tensor", parameter).detach().clone() for parameter in model.parameters()]


def made_collator() -> Any:
    """Of the toy set."""
    import toy
    from toy_runs import TreeCollator

    return TreeCollator(toy.processor())


def sft(size: int) -> Any:
    """The first `size` images of the toy set."""
    import toy
    from toy_runs import SftObjective, TreeCollator

    colors = list(toy.COLORS)[:size]
    return SftObjective([e for e in toy.sft_examples() if e.image_key in colors], toy.image, TreeCollator(toy.processor()))


def dpo(size: int) -> Any:
    """All of the toy set's pairs."""
    from toy_runs import objective

    return objective("dpo")


def _spoilt(spoil: Callable[[Any], Any]) -> Any:
    """SFT whose loss for the image `blue` is spoilt in the second epoch, on whichever rank that is."""
    made = sft(6)
    plain_terms, plain_collate = made.terms, made.collate
    spoils: deque[bool] = deque()  # micro-batches are trained on in the order in which they are collated

    def collate(visits: Any) -> Any:
        spoils.append(any(made.name(visit.index) == "blue" and visit.epoch == 1 and visit.real for visit in visits))
        return plain_collate(visits)

    def terms(model: Any, batch: Any) -> Any:
        loss, metrics = plain_terms(model, batch)
        return (spoil(loss) if spoils.popleft() else loss), metrics

    made.terms, made.collate = terms, collate
    return made


def nan_loss(size: int) -> Any:
    """The loss is nan."""
    return _spoilt(lambda loss: loss * float("nan"))


def infinite_loss(size: int) -> Any:
    """The loss is infinite, and its gradient finite: nothing but the loss tells."""
    return _spoilt(lambda loss: loss + float("inf"))


def nan_gradient(size: int) -> Any:
    """The loss is what it was, and its gradient nan: the root of 0 has an infinite slope, times 0."""
    return _spoilt(lambda loss: loss + (loss - loss.detach()).abs().sqrt() * 0)


def unreadable(size: int) -> Any:
    """SFT where the image `blue` cannot be read, on whichever rank comes to it."""

    class Broken:
        """Shows a grey picture from the time on that it was to be read."""

        unreadable: ClassVar[set[str]] = set()

        def __call__(self, key: str) -> Any:
            import toy

            if key == "blue":
                self.unreadable.add(key)
                return toy.image("gray")
            return toy.image(key)

    made = sft(size)
    made.load_image = Broken()
    return made


def mixed(size: int) -> Any:
    """SFT on two parts of the data: `a`, the first two images, and `b`."""
    made = sft(size)
    plain = made.name
    made.name = lambda index: f"{'a' if index < 2 else 'b'}-{plain(index)}"
    return made


SPOILT = ("nan_loss", "infinite_loss", "nan_gradient")
MAKERS: dict[str, Callable[[int], Any]] = {
    "sft": sft, "dpo": dpo, "nan_loss": nan_loss, "infinite_loss": infinite_loss, "nan_gradient": nan_gradient,
    "unreadable": unreadable, "mixed": mixed,
}  # fmt: skip


def random_kill(rng: random.Random, steps: int, save_steps: int) -> tuple[str, int, float, int]:
    """A moment: in a step, while a checkpoint is being written, or after it; of one rank or of all."""
    what = rng.choice(["step", "save", "save"])
    number = rng.randint(1, steps) if what == "step" else rng.randrange(save_steps, steps + 1, save_steps)
    return what, number, rng.uniform(0, 0.05 if what == "step" else 0.25), rng.choice([-1, -1, 0, 1])


def kills(order: dict[str, Any]) -> dict[str, Any]:
    """Train again and again under random kills until so many have come, then to the end."""
    rng, legs, count, runs = random.Random(order["seed"]), [], 0, 1
    base = Path(order["folder"])
    while True:
        leg = Leg(folder=str(base / f"run-{runs}"), kind=order["kind"])
        if count < order["kills"]:
            leg.kill = random_kill(rng, leg.steps, leg.save_steps)
        result = go(leg)
        legs.append({"kill": leg.kill, **result})
        if result["killed"]:
            count += 1
        elif result["codes"] != [0] * leg.ranks or count >= order["kills"]:
            return {"legs": legs, "kills": count, "runs": runs}
        else:
            runs += 1  # it was done before its kill came: another run takes the rest


def damage(order: dict[str, Any]) -> str:
    """Cut the largest file of a folder's newest checkpoint short by a byte; returns its path below the checkpoint."""
    newest = max(Path(order["damage"]).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    path = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    os.truncate(path, path.stat().st_size - 1)
    return str(path.relative_to(newest.parent))


def main() -> None:
    """Import what the ranks need, then run the orders."""
    import deepspeed.module_inject
    import deepspeed.moe.utils
    import deepspeed.runtime.zero.muon.muon_optimizer  # brings torch's compiler along, seconds of imports
    import peft  # noqa: F401
    import toy
    import toy_runs  # noqa: F401
    import trl  # noqa: F401
    from PIL import ImageFile  # noqa: F401

    import inbol.training.trainer  # noqa: F401

    assert deepspeed.runtime.zero.muon.muon_optimizer
    toy.processor()
    gc.collect()
    gc.freeze()  # a rank need not look through, and so copy, what is there already
    path = Path(sys.argv[1])
    results = {}
    for name, order in json.loads(path.read_text()).items():
        do = kills if "kills" in order else damage if "damage" in order else lambda order: go(Leg(**order))
        results[name] = do(order)
    path.with_suffix(".done.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
