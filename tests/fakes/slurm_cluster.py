"""A Slurm of its own on this one machine: controller, munge and some nodes with GPUs that are only names. Needs root and the packages.

Everything lies in one folder, munge's key and socket included, and every daemon is ended by the id in its pid file. Two partitions: a job
in `urgent` preempts one in `main`, which is given `GRACE` seconds and its user signal first, and is then requeued.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

GRACE = 30
"""Seconds between the notice of a preemption and the end."""
SBIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.sock,cred_expire=5
SlurmctldPort={port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
StateSaveLocation={root}/state
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdLogFile={root}/slurmd.%n.log
SlurmdSpoolDir={root}/spool/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
MinJobAge=3600
OverTimeLimit=0
SlurmdTimeout=10
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=main Nodes=node[1-{count}] Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=urgent Nodes=node[1-{count}] MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 "
    "RealMemory=4000 Gres=gpu:2 State=UNKNOWN"
)


class Cluster:
    """The daemons, and the commands against them."""

    def __init__(self, root: Path, count: int = 2) -> None:
        self.root, self.count = root, count
        self.env = {**os.environ, "SLURM_CONF": str(root / "slurm.conf"), "PATH": SBIN}

    @staticmethod
    def lacks() -> str:
        """Why there can be no cluster here; empty where there can."""
        names = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name, path=SBIN) is None]
        if names:
            return f"{', '.join(names)} not installed; make test-slurm installs them"
        if os.geteuid() != 0:
            return "a Slurm of one's own needs root"
        with tempfile.TemporaryDirectory() as folder:
            try:
                os.mknod(Path(folder) / "gpu", 0o20666, os.makedev(1, 3))
            except OSError as error:
                return f"GPUs that are only names cannot be made here: mknod: {error.strerror}"
        return ""

    def start(self) -> None:
        """Bring everything up; raises RuntimeError with the logs when the nodes do not get idle."""
        for name in ("state", "spool", "munge"):
            (self.root / name).mkdir(parents=True)
        (self.root / "munge").chmod(0o700)
        self.root.chmod(0o755)
        key = self.root / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        port, host = free_ports(self.count + 1), socket.gethostname().split(".")[0]
        nodes = [NODE.format(name=f"node{i}", host=host, port=port + i) for i in range(1, self.count + 1)]
        for number in range(2):
            os.mknod(self.root / f"gpu{number}", 0o20666, os.makedev(1, 3))  # any character device will do
        (self.root / "gres.conf").write_text(f"Name=gpu File={self.root}/gpu[0-1]\n")
        conf = CONF.format(root=self.root, host=host, port=port, nodes="\n".join(nodes), count=self.count, grace=GRACE)
        (self.root / "slurm.conf").write_text(conf)
        files = {"key-file": key, "socket": self.root / "munge.sock", "pid-file": self.root / "munged.pid"}
        files |= {"log-file": self.root / "munged.log", "seed-file": self.root / "munge" / "seed"}
        self._run("munged", "--force", *(f"--{name}={path}" for name, path in files.items()))
        self._run("slurmctld", "-c")
        for number in range(1, self.count + 1):
            self.start_node(f"node{number}")
        self.wait_idle()

    def start_node(self, name: str) -> None:
        """Start one node's daemon."""
        (self.root / "spool" / name).mkdir(exist_ok=True)
        self._run("slurmd", "-N", name)

    def wait_idle(self, seconds: float = 60) -> None:
        """Wait until every node can take jobs."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self._run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %t").split("\n")
            if sum(line.endswith(" idle") for line in shown) == self.count:
                return
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.root.glob("*.log")))
                raise RuntimeError(f"the nodes are not idle: {shown}\n{logs}")
            time.sleep(0.2)

    def lose_node(self, name: str) -> None:
        """End a node as a loss of power does: its daemon and everything below it, by id."""
        kill(int((self.root / f"slurmd.{name}.pid").read_text()), signal.SIGKILL)
        for process in psutil.process_iter():  # what a job started there knows the node's name and this cluster
            try:
                env = process.environ()
                if (env.get("SLURMD_NODENAME"), env.get("SLURM_CONF")) == (name, str(self.root / "slurm.conf")):
                    for one in [*(p for p in process.parents() if p.name() == "slurmstepd"), process]:
                        one.kill()
            except psutil.Error:
                continue

    def stop(self) -> None:
        """Cancel what is left and end every daemon."""
        try:
            ids = self._run("squeue", "--noheader", "--format=%A").split()
            if ids:
                self._run("scancel", *ids)
            deadline = time.monotonic() + 20
            while self._run("squeue", "--noheader") and time.monotonic() < deadline:
                time.sleep(0.2)
        except RuntimeError:
            pass  # no controller
        for pattern in ("slurmd.*.pid", "slurmctld.pid", "munged.pid"):
            pids = [int(path.read_text()) for path in self.root.glob(pattern) if path.read_text().strip()]
            for pid in pids:
                kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
                time.sleep(0.1)
            for pid in pids:
                kill(pid, signal.SIGKILL)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    run = _run


def kill(pid: int, number: int) -> None:
    """Signal a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def free_ports(count: int) -> int:
    """The first of `count` TCP ports in a row that nobody listens on at the moment."""
    for first in range(17000, 19000, 10):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports between 17000 and 19000")
