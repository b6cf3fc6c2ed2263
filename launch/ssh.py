"""Stages on the machines of a hostfile: what they have for a run, and one ssh connection to each for as long as a stage takes.

DeepSpeed's own runner of several machines is not used, since what it starts outlives it; `docs/decisions.md` has what was measured.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from inbol.config.hosts import SshConfig
from inbol.config.launching import LauncherConfig
from inbol.config.load import ConfigError
from inbol.shards.files import write_text
from launch.agent import BEAT, MARK, Facts, Orders, facts
from launch.compose import ROOT
from launch.processes import GRACE, deepspeed_command, shard_commands, stop, undisturbed

LOOK = 30.0
"""Seconds that a machine which was reached may take to say what it has."""
SETTLE = 2.0
"""Seconds after the first failure in which others may still fail by themselves: the cause may not be the first to be heard of."""
UNREACHED = 255
"""ssh's own exit code: the connection, and not the command behind it, has failed."""


def ssh_command(config: SshConfig, host: str) -> list[str]:
    """ssh to one machine, without questions, with an end when it does not answer any more; the last word is the agent's command line."""
    options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={config.connect_timeout}", "-o", "ServerAliveInterval=10"]
    options += ["-o", "ServerAliveCountMax=3", "-o", "ControlPath=none", "-o", "ClearAllForwardings=yes"]
    for flag, value in (("-F", config.config), ("-i", config.key)):
        options += [flag, str(Path(value).expanduser())] if value else []
    for flag, text in (("-p", str(config.port or "")), ("-l", config.user)):
        options += [flag, text] if text else []
    source = shlex.quote(f"PYTHONPATH={ROOT / 'src'}")
    agent = f"cd {shlex.quote(str(ROOT))} && exec env {source} {shlex.quote(sys.executable)} -m launch.agent"
    return ["ssh", *options, "--", host, agent]


def look(launcher: LauncherConfig, folder: Path) -> dict[str, Facts]:
    """What every machine has for a run.

    Args:
        launcher: names the machines.
        folder: what all of them have to see; a file is written there for the moment.

    Raises:
        ConfigError: every machine that cannot take part: not reached, without the repository, the environment or the folder, with other
            code or versions, with too few accelerators; each with what to do.
    """
    token = folder.resolve() / f".seen-{secrets.token_hex(8)}.part"  # what a killed launcher leaves of it, the next one clears away
    write_text(token, token.name)
    try:
        here = facts(token)
        answers = _ask(launcher, token)
    finally:
        token.unlink(missing_ok=True)
    errors = [text for host, answer in answers.items() if (text := _mistake(launcher, folder, host, answer, here))]
    found = {host: answer for host, answer in answers.items() if isinstance(answer, Facts)}
    if not errors and (text := _unmet(launcher, found)):
        errors = [text]
    if errors:
        raise ConfigError(errors)
    return found


def _ask(launcher: LauncherConfig, token: Path) -> dict[str, Facts | str]:
    """The answer of every machine, or what ssh or its shell said instead. All are asked at once."""
    orders = json.dumps({"look": str(token)}).encode() + b"\n"
    asked: dict[str, subprocess.Popen[bytes]] = {}
    answers: dict[str, Facts | str] = {}
    try:
        for host in launcher.hosts:
            asked[host] = _start(launcher.ssh, host, stderr=subprocess.PIPE)
        deadline = time.monotonic() + launcher.ssh.connect_timeout + LOOK
        for host, child in asked.items():
            try:
                out, err = child.communicate(orders, timeout=max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                answers[host] = f"was reached, but did not answer within {LOOK:.0f} s; look for a file system that hangs there"
                continue
            answers[host] = _answer(launcher, host, child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    except FileNotFoundError:
        raise ConfigError(["launcher.ssh: there is no ssh on this machine; install OpenSSH's client"]) from None
    finally:
        for child in asked.values():
            child.kill()
            child.wait()
    return answers


def _answer(launcher: LauncherConfig, host: str, code: int, out: str, err: str) -> Facts | str:
    lines = [line for line in out.splitlines() if line.startswith(MARK)]
    if code == 0 and lines:
        return Facts(**json.loads(lines[-1].removeprefix(MARK)))
    said = (err.strip() or out.strip() or f"code {code}").splitlines()[-1]
    by_hand = shlex.join([*ssh_command(launcher.ssh, host)[:-1], "true"])
    if code == UNREACHED:
        return f"cannot be reached ({said}); this has to work without a question: {by_hand}"
    return (
        f"cannot start {sys.executable} in {ROOT} ({said}); the repository and its environment have to lie on a file system that all "
        f"machines see at the same path"
    )


def _mistake(launcher: LauncherConfig, folder: Path, host: str, answer: Facts | str, here: Facts) -> str:
    """Why a machine cannot take part; empty where it can."""
    if isinstance(answer, str):
        return f"launcher.ssh: {host} {answer}"
    if answer.token != here.token:
        return f"launcher.ssh: {host} does not see {folder.resolve()} ({answer.token}); set runs_dir to a folder that all machines share"
    if answer.sources != here.sources:
        return f"launcher.ssh: {host} has other code in {ROOT} ({answer.sources}, here {here.sources}); bring both to one revision"
    if answer.versions != here.versions:
        there = answer.versions
        other = [f"{name} {there.get(name)}, here {own}" for name, own in here.versions.items() if there.get(name) != own]
        return f"launcher.ssh: {host} has {'; '.join(other)}; install the same there (constraints.txt)"
    if 0 < (count := answer.accelerators) < launcher.ranks:
        return f"launcher.ssh: {host} has {count} accelerators for {launcher.ranks} processes; write slots={count} in the hostfile"
    return ""


def _unmet(launcher: LauncherConfig, found: Mapping[str, Facts]) -> str:
    """Why the others will not meet the first machine; empty where nothing speaks against it."""
    first, *others = found
    address = master_address(launcher, found)
    if not address:
        return f"launcher.ssh.master_address: ssh does not say where it met {first}; name an address where the others reach it"
    if others and _loopback(address) and not all(_loopback(found[host].address) for host in others):
        return f"launcher.ssh.master_address: {first} was met at {address}, where others do not reach it; name an address of its network"
    return ""


def master_address(launcher: LauncherConfig, found: Mapping[str, Facts]) -> str:
    """Where the processes of all machines meet the first one."""
    return launcher.ssh.master_address or next(iter(found.values())).address


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def forwarded(config: SshConfig, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that processes on other machines get."""
    chosen = {name: value for name, value in env.items() if any(fnmatchcase(name, pattern) for pattern in config.forward)}
    return {**chosen, **config.environment}


def stage_orders(launcher: LauncherConfig, job: Path, *, collective: bool, address: str, port: int | str) -> dict[str, Orders]:
    """What every machine is to run for a stage; ranks are counted through the machines in the hostfile's order.

    Args:
        launcher: names the machines.
        job: the stage's `job.json`, at the same path everywhere.
        collective: one job under DeepSpeed's launcher, not independent processes.
        address: where the first machine is met.
        port: a free one there.
    """
    ranks, hosts = launcher.ranks, launcher.hosts
    devices = {host: [str(number) for number in range(ranks)] for host in hosts}
    env = forwarded(launcher.ssh, os.environ)
    orders = {}
    for number, host in enumerate(hosts):
        if collective:
            commands = [deepspeed_command(job, devices, node=number, address=address, port=port)]
        else:
            commands = shard_commands(job, len(hosts) * ranks, range(number * ranks, (number + 1) * ranks))
        orders[host] = Orders(commands=commands, environment=env, threads=launcher.threads, deal=not collective)
    return orders


def dry(launcher: LauncherConfig, jobs: Mapping[str, tuple[Path, bool]]) -> str:
    """What would be started: ssh to every machine, and what runs behind it for every stage. Nobody is asked, so address and port are open.

    Args:
        launcher: names the machines.
        jobs: `job.json` of every stage by its name, and whether it is a collective one.
    """
    address = launcher.ssh.master_address or f"<address of {launcher.hosts[0]}>"
    lines = [f"{host}: {shlex.join(ssh_command(launcher.ssh, host))}" for host in launcher.hosts]
    for name, (job, collective) in jobs.items():
        orders = stage_orders(launcher, job, collective=collective, address=address, port=launcher.ssh.master_port or "<free port>")
        lines.append(f"{name}:")
        lines += [f"  {host}: {' '.join(command)}" for host, order in orders.items() for command in order.commands]
    return "".join(f"{line}\n" for line in lines)


def run_stage(launcher: LauncherConfig, job: Path, log: Path, *, collective: bool) -> dict[str, int]:
    """Run the processes of a stage on all machines, all output into `log`; returns the codes that are not 0, by machine.

    Raises:
        ConfigError: as `look`, which is asked again for a free port.
    """
    address, port = "", launcher.ssh.master_port
    if collective:
        found = look(launcher, job.parent)
        address, port = master_address(launcher, found), port or next(iter(found.values())).port
    orders = stage_orders(launcher, job, collective=collective, address=address, port=port)
    with log.open("ab") as out:
        return _run(launcher.ssh, orders, out)


@dataclass(slots=True)
class _Connection:
    host: str
    child: subprocess.Popen[bytes]
    reader: threading.Thread

    def send(self, data: bytes) -> None:
        assert self.child.stdin is not None
        with suppress(OSError):  # it has ended, and its code will say so
            os.write(self.child.stdin.fileno(), data)

    def hang_up(self) -> None:
        assert self.child.stdin is not None
        with suppress(OSError):
            self.child.stdin.close()


def _run(config: SshConfig, orders: Mapping[str, Orders], out: IO[bytes]) -> dict[str, int]:
    connections: list[_Connection] = []
    lock = threading.Lock()
    failed, beat = 0.0, time.monotonic()
    try:
        for host, order in orders.items():
            connections.append(_connect(config, host, out, lock))
            connections[-1].send(json.dumps(asdict(order)).encode() + b"\n")
        while True:
            codes, now = {one.host: one.child.poll() for one in connections}, time.monotonic()
            if any(codes.values()):
                failed = failed or now
            if None not in codes.values() or (failed and now > failed + SETTLE):
                return {host: code for host, code in codes.items() if code}
            if now > beat + BEAT:
                beat = now
                for one in connections:
                    one.send(b"\n")
            time.sleep(0.05)
    finally:
        _hang_up(connections)


def _start(config: SshConfig, host: str, *, stderr: int) -> subprocess.Popen[bytes]:
    """ssh in a session of its own, so that Ctrl-C reaches the launcher alone."""
    command = ssh_command(config, host)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)


def _connect(config: SshConfig, host: str, out: IO[bytes], lock: threading.Lock) -> _Connection:
    child = _start(config, host, stderr=subprocess.STDOUT)

    def read() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            with lock:
                out.write(prefix(host).encode() + line.rstrip(b"\n") + b"\n")
                out.flush()

    reader = threading.Thread(target=read, name=f"output-of-{host}", daemon=True)
    reader.start()
    return _Connection(host, child, reader)


def _hang_up(connections: Sequence[_Connection]) -> None:
    """Close every connection's standard input, which ends everything behind it, and wait for that; then end ssh itself."""
    with undisturbed():
        for one in connections:
            one.hang_up()
        deadline = time.monotonic() + GRACE + 3
        while any(one.child.poll() is None for one in connections) and time.monotonic() < deadline:
            time.sleep(0.05)
        stop([one.child for one in connections if one.child.poll() is None])
        for one in connections:
            one.reader.join(timeout=1)


def prefix(host: str) -> str:
    """What stands before every line of a machine's output in the log."""
    return f"[{host}] "


def failure(launcher: LauncherConfig, codes: Mapping[str, int]) -> str:
    """Which machines failed and how, for the user."""
    hosts = launcher.hosts
    parts = []
    for host, code in codes.items():
        first = hosts.index(host) * launcher.ranks
        ranks = f"rank {first}" if launcher.ranks == 1 else f"ranks {first} to {first + launcher.ranks - 1}"
        lost = ", which is ssh's own: the connection, or the process behind it, was lost" if code == UNREACHED else ""
        parts.append(f"on {host} ({ranks}) with code {code}{lost}")
    return f"ended {' and '.join(parts)}"
