"""Installs the dependencies into `.venv` of an image, around the torch that its base image may bring.

NVIDIA's images hold a torch of their own, built for their CUDA: an early build of a release (`2.13.0a0+...`), which for pip is *below*
2.13, so that `pip install .` would replace it. They also set constraints on everything else, which contradict ours. Hence: a virtual
environment that sees the base image's packages, the constraints of this repository alone, with the base image's torch in them, and a
check at the end. A base image without torch gets the one of constraints.txt, in an environment that sees nothing else.

Runs with the base image's python3, standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ASK = "import importlib.metadata as m; d = m.distribution('torch'); print(d.version, d.locate_file(''))"


def plan(installed: str | None, constraints: str, dependencies: list[str]) -> tuple[str, list[str]]:
    """The constraints and the requirements for a base image that has torch `installed`, or none.

    Raises:
        ValueError: the base image's torch is of another release than the one this code is tested with.
    """
    if installed is None:
        return constraints, dependencies
    pinned = re.search(r"^torch==(\d+\.\d+)", constraints, re.MULTILINE)
    if pinned is None:
        raise ValueError("constraints.txt has no line torch==...")
    if not re.match(re.escape(pinned[1]) + r"(?!\d)", installed):
        raise ValueError(f"the base image has torch {installed}, and this code is tested with {pinned[1]}; choose another BASE_IMAGE")
    kept = re.sub(r"^torch==.*$", f"torch=={installed}", constraints, flags=re.MULTILINE)
    return kept, [line for line in dependencies if not re.match(r"torch(?![\w-])", line)]


def main() -> None:
    """Make the environment; ends with a message and 1 when the base image does not fit or its torch was not kept."""
    dependencies = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    try:
        before: str | None = version("torch")
    except PackageNotFoundError:
        before = None
    try:
        constraints, requirements = plan(before, Path("constraints.txt").read_text(encoding="utf-8"), dependencies)
    except ValueError as error:
        sys.exit(f"error: {error}")
    base = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout if before else ""

    venv = Path(".venv").absolute()
    subprocess.run([sys.executable, "-m", "venv", *(["--system-site-packages"] if before else []), str(venv)], check=True)
    file = venv / "constraints.txt"
    file.write_text(constraints, encoding="utf-8")
    # In the environment it takes the place of the base image's constraints; with -c it would be added to them.
    env = {**os.environ, "PIP_CONSTRAINT": str(file), "PIP_USE_PEP517": "1"}
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-build-isolation"]
    for packages in (["setuptools"], requirements):
        subprocess.run([*pip, *packages], env=env, check=True)

    after = subprocess.run([str(venv / "bin" / "python"), "-c", ASK], capture_output=True, text=True, check=True).stdout
    if before and after != base:
        sys.exit(f"error: the torch of the base image was not kept: {base.strip()} became {after.strip()}")
    print(f"torch {after.strip()}")


if __name__ == "__main__":
    main()
