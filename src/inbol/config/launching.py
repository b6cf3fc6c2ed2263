"""How a run's processes are started: on this machine, or as jobs of a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from inbol.config.checks import at_least, one_of, positive, variables
from inbol.config.hosts import SshConfig, read_hostfile

KINDS = ("local", "torchrun", "ssh", "slurm")
CONTAINERS = ("none", "pyxis", "apptainer")
TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{2}){0,2}")
"""Slurm's own forms of a time: minutes, minutes:seconds, hours:minutes:seconds, and days before any of them."""
STAGES = ("base", "sample", "probe", "sft", "reference", "dpo", "reward", "grpo", "predict", "refusal_logps")
"""Stages whose processes hold a model; what the others take is small, and the same everywhere."""


def _one_line(name: str, value: str) -> None:
    """Refuse what would not stay one word of a line of shell."""
    if not re.fullmatch(r"[\w./:,=@&|()\[\]+*~#-]*", value):
        raise ValueError(f"{name}: {value!r} holds a space, a quote or another character that a line of a job script cannot take")


def _time(name: str, value: str) -> None:
    if not TIME.fullmatch(value):
        raise ValueError(f"{name}: {value!r} is no time of Slurm, such as 90, 8:00:00 or 2-12:00:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResources:
    """What one stage takes where it is not what the launcher says; null leaves it."""

    nodes: int | None = None
    """Machines."""
    ranks: int | None = None
    """Processes per machine, one GPU each."""
    time: str | None = None
    """Time limit."""
    partition: str | None = None
    """Partition."""

    def __post_init__(self) -> None:
        for name in ("nodes", "ranks"):
            if (value := getattr(self, name)) is not None:
                positive(name, value)
        if self.time is not None:
            _time("time", self.time)
        if self.partition is not None:
            _one_line("partition", self.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmConfig:
    """What every job of a chain asks Slurm for. Empty texts leave a thing to the cluster's default."""

    partition: str = ""
    """Partition of stages that hold a model."""
    cpu_partition: str = ""
    """Partition of the others; `partition` where empty."""
    account: str = ""
    """Who pays."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Features a node must have."""
    time: str = "24:00:00"
    """Time limit of one start of a stage; a stage that needs longer is requeued and goes on."""
    memory: str = "0"
    """Memory per node, as sbatch's `--mem`; `0` is all of a node, empty the cluster's default."""
    cpu_memory: str = "16G"
    """The same for stages that hold no model."""
    gpus: bool = True
    """Whether a GPU is asked for per process; false on a cluster without GPUs."""
    notice: int = 120
    """Seconds before the time limit at which the processes are told to save; longer than a checkpoint takes to write."""
    starts: int = 3
    """Starts of a stage without any progress between them, after which its job ends with the reason."""
    container: str = "none"
    """What runs `image`: `none`, `pyxis` (enroot) or `apptainer`."""
    image: str = ""
    """Container image of the processes."""
    mounts: tuple[str, ...] = ()
    """Folders seen inside the container, as `/outside:/inside`; the repository, its environment and `runs_dir` have to be among them."""
    python: str = ""
    """Python of the processes; the launcher's own where empty. Inside a container usually another."""
    modules: tuple[str, ...] = ()
    """Loaded with `module load` before anything else."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the processes get, such as `NCCL_SOCKET_IFNAME`."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run on the first node before the processes start."""
    stages: dict[str, StageResources] = field(default_factory=dict)
    """What single stages take instead."""

    def __post_init__(self) -> None:
        for name in ("partition", "cpu_partition", "account", "qos", "constraint", "memory", "cpu_memory", "image", "python"):
            _one_line(name, getattr(self, name))
        _time("time", self.time)
        at_least("notice", self.notice, 1)
        positive("starts", self.starts)
        one_of("container", self.container, CONTAINERS)
        if (self.container == "none") == bool(self.image):
            raise ValueError(f"image: {self.image!r} with container={self.container!r}; an image and what runs it belong together")
        for mount in self.mounts:
            if not re.fullmatch(r"/[^\s:,]+(:/[^\s:,]+){0,1}", mount):
                raise ValueError(f"mounts: {mount!r} is not of the form /outside:/inside")
        for module in self.modules:
            if not re.fullmatch(r"[\w./+-]+", module):
                raise ValueError(f"modules: {module!r} is not the name of a module")
        variables("environment", self.environment)
        for stage in self.stages:
            if stage not in STAGES:
                raise ValueError(f"stages: {stage!r} is not one of {', '.join(STAGES)}, which hold a model")


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherConfig:
    """How processes are started."""

    kind: str = "local"
    """`local`: the deepspeed launcher on this machine. `torchrun`: torchrun on this machine. `ssh`: the machines of a hostfile.
    `slurm`: one job a stage."""
    nodes: int = 1
    """Machines of a training stage; more than one only with `slurm` and `ssh`. With `ssh`, 0 takes all of the hostfile, n its first n."""
    ranks: int = 2
    """Processes of a training or sampling stage on one machine. With `ssh`, 0 takes the slots of the hostfile."""
    threads: int = 1
    """CPU threads per process."""
    slurm: SlurmConfig = SlurmConfig()
    """Only read with `slurm`."""
    ssh: SshConfig = SshConfig()
    """Only read with `ssh`."""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        positive("threads", self.threads)
        if self.kind == "ssh":
            self._from_hostfile()
        positive("nodes", self.nodes)
        positive("ranks", self.ranks)
        if self.nodes > 1 and self.kind not in ("slurm", "ssh"):
            raise ValueError(f"nodes: {self.nodes} machines with launcher.kind={self.kind!r}, which knows one; take launcher=slurm or ssh")

    def _from_hostfile(self) -> None:
        """What is 0 becomes the hostfile's number, so that everything else finds machines and processes where it always does."""
        if not self.ssh.hostfile:
            raise ValueError("ssh.hostfile: '' names no file; launcher=ssh needs one with a line `host slots=N` for every machine")
        try:
            hosts = read_hostfile(self.ssh.hostfile)
        except ValueError as error:
            raise ValueError(f"ssh.hostfile: {error}") from None
        for name, there in (("nodes", len(hosts)), ("ranks", min(hosts.values()))):
            value = getattr(self, name)
            if value > there:
                what = "machines" if name == "nodes" else "slots a machine"
                raise ValueError(f"{name}: {value}, but {self.ssh.hostfile} has {there} {what}")
            if value == 0:
                object.__setattr__(self, name, there)

    @property
    def hosts(self) -> list[str]:
        """The machines of the hostfile that take part; the first one has rank 0."""
        return list(read_hostfile(self.ssh.hostfile))[: self.nodes]

    def resources(self, stage: str) -> tuple[int, int]:
        """(machines, processes on each) of a stage that holds a model."""
        own = self.slurm.stages.get(stage) if self.kind == "slurm" else None
        return (own and own.nodes) or self.nodes, (own and own.ranks) or self.ranks

    def world(self, stage: str) -> int:
        """Processes of a stage that holds a model, on all machines."""
        nodes, ranks = self.resources(stage)
        return nodes * ranks
