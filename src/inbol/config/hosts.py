"""Machines that are reached by ssh: the file that lists them, and how to reach them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from inbol.config.checks import at_least, variables, within

HOST = re.compile(r"(?!-)[\w.@:-]+")
"""What ssh takes for a machine: a name, an address, an alias of its configuration, with or without `user@`; never an option."""
LINE = re.compile(r"(\S+)\s+slots=(\d+)")
PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
FORWARDED = ("HF_*", "WANDB_*", "TRACKIO_*", "NCCL_*", "GLOO_*", "CUDA_HOME", "AWS_*", "DS_ACCELERATOR", "TOKENIZERS_PARALLELISM")


@cache
def read_hostfile(path: str) -> dict[str, int]:
    """Slots (processes) by host, in the order of a DeepSpeed hostfile: `host slots=N` a line, `#` begins a comment.

    Read once in a process, so that a file that is changed meanwhile changes no run. All hosts have the same number of slots, since plan and
    batches count in machines times processes.

    Raises:
        ValueError: no such file, or a line that is wrong, with its number.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ValueError(f"{path!r} cannot be read ({reason}); name a file with a line `host slots=N` for every machine") from None
    hosts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].strip()
        if not words:
            continue
        found = LINE.fullmatch(words)
        if found is None or not HOST.fullmatch(found[1]) or int(found[2]) < 1:
            raise ValueError(f"{path}:{number}: {words!r} is not of the form `host slots=N` with N of at least 1, such as gpu-1 slots=8")
        host, slots = found[1], int(found[2])
        if host in hosts:
            raise ValueError(f"{path}:{number}: {host} stands in an earlier line already; write its slots as one number")
        if hosts and slots != (first := next(iter(hosts.values()))):
            raise ValueError(f"{path}:{number}: {host} has {slots} slots and the machines above have {first}; give all the smallest number")
        hosts[host] = slots
    if not hosts:
        raise ValueError(f"{path}: holds no host; write a line `host slots=N` for every machine")
    return hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class SshConfig:
    """How machines are reached. Empty texts and 0 leave a thing to ssh and its configuration."""

    hostfile: str = ""
    """File with a line `host slots=N` for every machine."""
    port: int = 0
    """Port of ssh on all of them."""
    user: str = ""
    """Who logs in."""
    key: str = ""
    """File of the private key; a key that asks for a passphrase belongs into ssh-agent instead."""
    config: str = ""
    """ssh's configuration file, in the place of `~/.ssh/config`."""
    connect_timeout: int = 10
    """Seconds after which a machine that does not answer counts as unreachable."""
    master_address: str = ""
    """Where the first machine is met by the processes of the others; the address that ssh met it at where empty."""
    master_port: int = 0
    """Port there; 0 takes a free one for every stage."""
    forward: tuple[str, ...] = FORWARDED
    """Variables of this machine's environment that the processes get; `*` at the end stands for any ending."""
    environment: dict[str, str] = field(default_factory=dict)
    """More variables for them, such as `NCCL_SOCKET_IFNAME`."""

    def __post_init__(self) -> None:
        within("port", self.port, 0, 65535)
        within("master_port", self.master_port, 0, 65535)
        at_least("connect_timeout", self.connect_timeout, 1)
        if not re.fullmatch(r"(?!-)[\w.@-]*", self.user):
            raise ValueError(f"user: {self.user!r} is not the name of a user")
        if not re.fullmatch(r"[\w.:-]*", self.master_address):
            raise ValueError(f"master_address: {self.master_address!r} is neither a name nor an address")
        for name in ("key", "config"):
            if (path := getattr(self, name)) and not Path(path).expanduser().is_file():
                raise ValueError(f"{name}: {path!r} is not a file")
        for pattern in self.forward:
            if not PATTERN.fullmatch(pattern):
                raise ValueError(f"forward: {pattern!r} is neither a variable nor its beginning with a *")
        variables("environment", self.environment)
