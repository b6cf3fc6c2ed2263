"""`make doctor`: what this machine has for a run, and what to do about what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console

from launch.processes import accelerators

# Run apart, so that a broken installation is a finding and not a crash.
_PROBE = """
import json, sys
out = {}
try:
    import torch
    out["torch"] = torch.__version__
    out["threads"] = torch.get_num_threads()
    out["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    out["bf16"] = bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())
except Exception as error:
    out["torch_error"] = repr(error)
try:
    import deepspeed
    from deepspeed.ops.op_builder.all_ops import ALL_OPS
    out["deepspeed"] = deepspeed.__version__
    out["ops"] = {name: bool(op.is_compatible(verbose=False)) for name, op in ALL_OPS.items()}
except Exception as error:
    out["deepspeed_error"] = repr(error)
sys.stdout.write("\\n" + json.dumps(out))
"""
MIN_FREE_GB = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    found: str
    ok: bool
    """Whether the main job runs with what was found."""
    advice: str = ""
    """What to do; empty when there is nothing to do."""


def examine(runs_dir: Path = Path("runs")) -> list[Finding]:
    """Everything that was found, in printing order. Takes seconds: torch and DeepSpeed are imported in a process of their own."""
    probe = _probe()
    return [
        _python(),
        _compiler(),
        _torch(probe),
        _accelerators(probe),
        *_deepspeed(probe),
        flash_attention(),
        _slurm(),
        _wandb(),
        _disk(runs_dir),
    ]


def run_doctor(runs_dir: Path = Path("runs")) -> int:
    """Print the findings; 1 when the main job cannot run."""
    console = Console(highlight=False, soft_wrap=True)
    findings = examine(runs_dir)
    for finding in findings:
        mark = "ok  " if finding.ok and not finding.advice else ("note" if finding.ok else "FAIL")
        console.print(f"{mark}  {finding.what:<14} {finding.found}", markup=False)
        if finding.advice:
            console.print(f"      {'':<14} -> {finding.advice}", markup=False)
    return 0 if all(finding.ok for finding in findings) else 1


def flash_attention() -> Finding:
    """Whether flash-attn can be imported; looked up, not imported."""
    if importlib.util.find_spec("flash_attn") is not None:
        return Finding("flash-attn", f"{_version('flash-attn')}; used in the vision tower, in half precision on a GPU", True)
    advice = "for a faster vision tower: .venv/bin/pip install -e '.[flash]' -c constraints.txt"
    return Finding("flash-attn", "not importable; attention runs on PyTorch's sdpa", True, advice if accelerators() else "")


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    advice = "" if ok else "install Python 3.11 and run: make clean-venv"
    return Finding("Python", f"{platform.python_version()} at {sys.executable}", ok, advice)


def _compiler() -> Finding:
    found = [name for name in ("c++", "g++", "clang++") if shutil.which(name)]
    if found:
        return Finding("compiler", str(shutil.which(found[0])), True)
    return Finding("compiler", "none", True, "DeepSpeed compiles some of its ops at first use: install g++ (Debian: apt install g++)")


def _torch(probe: dict[str, Any]) -> Finding:
    if "torch" in probe:
        return Finding("torch", f"{probe['torch']}, transformers {_version('transformers')}, {os.cpu_count()} CPU cores", True)
    return Finding("torch", probe.get("torch_error", "not found"), False, "pip install -e . -c constraints.txt")


def _accelerators(probe: dict[str, Any]) -> Finding:
    names = probe.get("cuda", [])
    if names:
        return Finding("accelerators", f"{len(names)} x {names[0]}, bf16 {'yes' if probe['bf16'] else 'no'}", True)
    if accelerators():
        advice = "torch does not see them: check the driver with nvidia-smi, and that torch is a CUDA build"
        return Finding("accelerators", f"devices {', '.join(accelerators())}, invisible to torch", True, advice)
    return Finding("accelerators", "none; SCALE=tiny runs on CPU", True)


def _deepspeed(probe: dict[str, Any]) -> list[Finding]:
    if "deepspeed" not in probe:
        return [Finding("DeepSpeed", probe.get("deepspeed_error", "not found"), False, "pip install -e . -c constraints.txt")]
    ops: dict[str, bool] = probe.get("ops", {})
    can = sorted(name for name, ok in ops.items() if ok)
    cannot = sorted(name for name, ok in ops.items() if not ok)
    found = f"can be built: {', '.join(can) or 'none'}" + (f"; cannot: {', '.join(cannot)}" if cannot else "")
    return [Finding("DeepSpeed", str(probe["deepspeed"]), True), Finding("DeepSpeed ops", found, True)]


def _slurm() -> Finding:
    sbatch = shutil.which("sbatch")
    return Finding("Slurm", sbatch or "not found; runs are started on this machine", True)


def _wandb() -> Finding:
    logged_in = bool(os.environ.get("WANDB_API_KEY")) or _in_netrc()
    if logged_in:
        return Finding("W&B", f"{_version('wandb')}, logged in; choose it with tracker=wandb", True)
    advice = "curves are written beside the stages; to see them online: wandb login, then ARGS=tracker=wandb"
    return Finding("W&B", f"{_version('wandb')}, not logged in", True, advice)


def _in_netrc() -> bool:
    """Whether a login for the W&B host is stored; the stored secret itself is not looked at."""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "api.wandb.ai" in path.read_text()
    except OSError:
        return False


def _disk(runs_dir: Path) -> Finding:
    folder = runs_dir if runs_dir.is_dir() else Path()
    free = shutil.disk_usage(folder).free / 1e9
    ok = free >= MIN_FREE_GB
    advice = "" if ok else f"make room: {MIN_FREE_GB} GB, or set ARGS=runs_dir=/elsewhere"
    return Finding("disk", f"{free:.0f} GB free for {runs_dir}", ok, advice)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _probe() -> dict[str, Any]:
    env = dict(os.environ)
    if not accelerators():
        env.setdefault("DS_ACCELERATOR", "cpu")
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=300, env=env, check=False)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        return {"torch_error": f"could not be asked: {error!r}", "deepspeed_error": "could not be asked"}
    return result
