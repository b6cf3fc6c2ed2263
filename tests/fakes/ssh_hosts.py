"""Machines of one's own: sshd instances on this machine, each at an address of the loopback network, with keys that nobody else knows.

Everything lies in one folder (keys, known hosts, ssh's configuration), so nothing of `~/.ssh` is read or written. Two of them are two hosts
to whoever starts something through ssh; they share the file system, as the hosts of a real hostfile do.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
SSHD = """\
ListenAddress {address}:{port}
HostKey {root}/host_key
AuthorizedKeysFile {root}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
HOST = """\
Host {name}
  HostName {address}
  Port {port}
  User {user}
  IdentityFile {root}/key
  IdentitiesOnly yes
  UserKnownHostsFile {root}/known_hosts
  StrictHostKeyChecking yes
"""


class Hosts:
    """Named hosts, each with an sshd of its own."""

    def __init__(self, root: Path, names: tuple[str, ...] = ("alpha", "beta")) -> None:
        self.root, self.names = root, names
        self.config = root / "config"
        self.addresses = {name: f"127.0.0.{number}" for number, name in enumerate(names, start=1)}
        self.ports: dict[str, int] = {}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    @staticmethod
    def lacks() -> str:
        """Why there can be no hosts here; empty where there can."""
        names = [name for name in ("sshd", "ssh", "ssh-keygen") if shutil.which(name, path=SBIN) is None]
        if names:
            return f"{', '.join(names)} not installed; make test-ssh installs them"
        return "" if os.geteuid() == 0 else "an sshd of one's own needs root"

    def start(self) -> None:
        """Make keys, start every daemon, and wait until all listen."""
        for key in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", self.root / key], check=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # what the service's own start makes; sshd refuses to start without
        public = (self.root / "host_key.pub").read_text()
        sections, known = [], []
        for name, address in self.addresses.items():
            port = self.ports[name] = free_port(address)
            (self.root / f"sshd-{name}").write_text(SSHD.format(address=address, port=port, root=self.root))
            sections.append(HOST.format(name=name, address=address, port=port, user=getpass.getuser(), root=self.root))
            known.append(f"[{address}]:{port} {public}")
        self.config.write_text("".join(sections))
        (self.root / "known_hosts").write_text("".join(known))
        for name in self.names:
            self.start_host(name)

    def start_host(self, name: str) -> None:
        """Start one daemon; raises RuntimeError with its log when it does not listen."""
        log = self.root / f"{name}.log"
        command = [str(shutil.which("sshd", path=SBIN)), "-D", "-e", "-f", str(self.root / f"sshd-{name}")]
        with log.open("ab") as out:
            self.daemons[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection((self.addresses[name], self.ports[name]), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"sshd of {name} does not listen:\n{log.read_text()}")

    def stop_host(self, name: str) -> None:
        """End one daemon; connections that are open stay."""
        daemon = self.daemons.pop(name)
        daemon.terminate()
        daemon.wait(timeout=10)

    def stop(self) -> None:
        """End every daemon."""
        for name in list(self.daemons):
            self.stop_host(name)

    def processes(self) -> list[psutil.Process]:
        """All that lives on the hosts and belongs to no daemon itself, and every ssh that goes there."""
        daemons = [psutil.Process(daemon.pid) for daemon in self.daemons.values()]
        there = [process for daemon in daemons for process in daemon.children(recursive=True)]
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if line[:1] == ["ssh"] and str(self.config) in line:
                    there.append(process)
        return [process for process in there if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def hostfile(self, slots: int = 1) -> Path:
        """A hostfile of all hosts."""
        path = self.root / f"hosts-{slots}"
        path.write_text("".join(f"{name} slots={slots}\n" for name in self.names))
        return path

    def overrides(self) -> list[str]:
        """What chooses these hosts among the overrides of a run."""
        return ["launcher=ssh", "launcher.threads=1", f"launcher.ssh.hostfile={self.hostfile()}", f"launcher.ssh.config={self.config}"]


def free_port(address: str) -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
