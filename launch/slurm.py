"""One Slurm job per missing stage: which resources it takes, its script from `slurm/stage.sbatch`, and the submission of a whole chain."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inbol.config.load import ConfigError
from inbol.config.run import RunConfig
from inbol.shards.files import write_text
from inbol.shards.manifest import is_complete
from inbol.stages.registry import STAGES
from launch import squeue
from launch.chain import Chain, Link, live_job
from launch.compose import ROOT
from launch.console import Screen
from launch.jobs import StageFailed, job_of, linked, log_of
from launch.plan import Node
from launch.runs import link_name

TEMPLATE = ROOT / "slurm" / "stage.sbatch"
SAFE = re.compile(r"[\w./+=@-]+")
"""A path that needs no quoting, in shell or in a line of `#SBATCH`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one stage's job asks for."""

    nodes: int
    ranks: int
    """Tasks on each node."""
    gpus: bool
    """One for each task."""
    partition: str
    memory: str
    time: str

    @property
    def world(self) -> int:
        """All tasks."""
        return self.nodes * self.ranks


def resources(node: Node, run: RunConfig) -> Resources:
    """What a stage takes: what holds no model takes one task without a GPU, and so does linking a pretrained base."""
    slurm = run.launcher.slurm
    if STAGES[node.stage].parallel == "inline" or linked(node):
        partition = slurm.cpu_partition or slurm.partition
        return Resources(nodes=1, ranks=1, gpus=False, partition=partition, memory=slurm.cpu_memory, time=slurm.time)
    own = slurm.stages.get(node.stage)
    nodes, ranks = run.launcher.resources(node.stage)
    return Resources(
        nodes=nodes,
        ranks=ranks,
        gpus=slurm.gpus,
        partition=(own and own.partition) or slurm.partition,
        memory=slurm.memory,
        time=(own and own.time) or slurm.time,
    )


def script(node: Node, run: RunConfig) -> str:
    """The job script of a stage: the template with every `@name@` filled in.

    Raises:
        ConfigError: a path holds a character that a line of a job script cannot take.
    """
    slurm, takes = run.launcher.slurm, resources(node, run)
    job = job_of(node, run, "")
    options = {
        "partition": takes.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "mem": takes.memory,
        "gpus-per-node": takes.ranks if takes.gpus else "",
    }
    setup = [
        *(f"module load {name}" for name in slurm.modules),
        *(f"export {name}={shlex.quote(value)}" for name, value in slurm.environment.items()),
        *slurm.setup,
    ]
    values = {
        "name": link_name(node.name),
        "nodes": takes.nodes,
        "ranks": takes.ranks,
        "threads": run.launcher.threads,
        "time": takes.time,
        "log": _path(log_of(job)),
        "notice": slurm.notice,
        "root": _path(ROOT),
        "job": _path(job.out / "job.json"),
        "world": takes.world,
        "starts": slurm.starts,
        "keeper": _path(Path(sys.executable)),
        "python": slurm.python or _path(Path(sys.executable)),
        "container": container(run),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("#@options@", "\n".join(f"#SBATCH --{name}={value}" for name, value in options.items() if value != ""))
    text = text.replace("#@setup@\n", "".join(f"{line}\n" for line in setup))
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text.replace("  bash -c", " bash -c")  # without a container, its place is empty


def container(run: RunConfig) -> str:
    """What stands between srun and the processes: pyxis' options, or apptainer's command, or nothing."""
    slurm = run.launcher.slurm
    if slurm.container == "pyxis":
        mounts = [f"--container-mounts={','.join(slurm.mounts)}"] if slurm.mounts else []
        return " ".join([f"--container-image={shlex.quote(slurm.image)}", *mounts, f"--container-workdir={ROOT}"])
    if slurm.container == "apptainer":
        binds = [f"--bind={mount}" for mount in slurm.mounts]
        return " ".join(["apptainer exec --nv", *binds, f"--pwd={ROOT}", shlex.quote(slurm.image)])
    return ""


def missing(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that a job has to be submitted for, in order."""
    return [node for node in nodes if not is_complete(node.folder)]


def dry(nodes: Sequence[Node], run: RunConfig) -> str:
    """What would be submitted: every job's command, with the names of the jobs it waits for, and its script."""
    out = []
    todo = missing(nodes)
    for number, node in enumerate(todo, start=1):
        after = [f"<{parent.name}>" for parent in waits_for(node, todo)]
        command = " ".join(squeue.sbatch_command(f"{link_name(node.name)}.sbatch", after))
        out.append(f"# [{number}/{len(todo)}] {command}\n{script(node, run)}")
    out.append(f"# {len(todo)} jobs for {len(nodes)} stages; nothing was submitted\n")
    return "\n".join(out)


def submit(nodes: Sequence[Node], run: RunConfig, folder: Path, screen: Screen, behind: Sequence[str] = ()) -> Chain:
    """Submit a job for every missing stage that no job of another run makes already.

    The first jobs are submitted held, and released when the chain is whole: a launcher that dies in between leaves nothing that runs.

    Args:
        nodes: the plan, inputs first.
        run: the configuration.
        folder: the run's; gets the scripts and `chain.json`.
        screen: what is printed to.
        behind: jobs that have to be over before any of this chain starts.

    Raises:
        StageFailed: Slurm refused a job; what was submitted has been cancelled.
    """
    todo = missing(nodes)
    texts = {node.folder: script(node, run) for node in todo}
    chain, ids = Chain(folder), dict[Path, str]()
    own: list[str] = []
    held: list[str] = []
    try:
        known = {node.folder: live_job(node.folder) for node in todo}
        running = squeue.states(job for job in known.values() if job)
        for number, node in enumerate(todo, start=1):
            job = job_of(node, run, folder.name)
            before = known[node.folder]
            shared = bool(before and before in running and running[before].alive)
            if shared:
                ids[node.folder] = str(before)
            else:
                job.save()
                path = folder / "slurm" / f"{number:02}-{link_name(node.name)}.sbatch"
                write_text(path, texts[node.folder])
                after = [ids[parent.folder] for parent in waits_for(node, todo)]
                first = not set(after) & set(own)  # the others wait for these
                ids[node.folder] = squeue.sbatch(path, after, behind if first else (), held=not after)
                own.append(ids[node.folder])
                held += [] if after else [ids[node.folder]]
            chain.add(Link(name=node.name, stage=node.stage, job=ids[node.folder], folder=str(job.out), shared=shared))
            screen.say(f"[{number:>2}/{len(todo)}] job {ids[node.folder]:<8} {node.name:<22} {'of another run' if shared else ''}".rstrip())
        squeue.release(held)
    except BaseException as error:
        if own:
            squeue.scancel(own)
            screen.say(f"cancelled {len(own)} jobs that had been submitted")
        if isinstance(error, squeue.SlurmError):
            raise StageFailed(str(error)) from None
        raise
    return chain


def waits_for(node: Node, todo: Sequence[Node]) -> list[Node]:
    """The missing inputs of a node, each once."""
    folders = {one.folder for one in todo}
    return list({parent.folder: parent for parent in node.inputs.values() if parent.folder in folders}.values())


def _path(path: Path) -> str:
    if not SAFE.fullmatch(str(path)):
        raise ConfigError([f"{path}: holds a character that a line of a job script cannot take; move it, or set runs_dir elsewhere"])
    return str(path)
