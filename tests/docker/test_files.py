"""The files the image is made of and is run by, as far as they can be checked without building it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from launch.compose import ROOT
from launch.main import main

DOCKER = ROOT / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
CONSTRAINTS = "numpy==2.4.6\ntorch==2.13.0\ntransformers==5.23.0\n"
DEPENDENCIES = ["numpy>=2.0", "torch>=2.13,<2.14", "torch-other>=1", "transformers>=5.23"]


def installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docker_install", DOCKER / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job() -> dict[str, Any]:
    (found,) = [item for item in yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text()) if item["kind"] == "Job"]
    return found


@pytest.mark.parametrize("file", [DOCKERFILE, ROOT / "tests/docker/base_with_torch.Dockerfile"], ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_ends_as_a_user_that_is_not_root_known_by_number() -> None:
    text = DOCKERFILE.read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "${USER_ID}:${USER_ID}"
    assert "ARG USER_ID=1000\n" in text


def test_the_torch_of_the_base_image_takes_the_place_of_ours() -> None:
    """An early build of 2.13 is below 2.13 for pip: the requirement goes, the constraint names what is there."""
    constraints, requirements = installer().plan("2.13.0a0+9186a08b2c.nv26.7", CONSTRAINTS, DEPENDENCIES)
    assert constraints == "numpy==2.4.6\ntorch==2.13.0a0+9186a08b2c.nv26.7\ntransformers==5.23.0\n"
    assert requirements == ["numpy>=2.0", "torch-other>=1", "transformers>=5.23"]


def test_without_a_torch_in_the_base_image_nothing_changes() -> None:
    assert installer().plan(None, CONSTRAINTS, DEPENDENCIES) == (CONSTRAINTS, DEPENDENCIES)


@pytest.mark.parametrize("installed", ["2.12.0a0+1", "2.1.3", "2.130.0", "3.13.0"])
def test_a_base_image_with_another_release_of_torch_is_refused(installed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"has torch {installed}, and this code is tested with 2.13; choose another BASE_IMAGE")):
        installer().plan(installed, CONSTRAINTS, DEPENDENCIES)


def test_the_repository_pins_the_torch_that_the_installer_looks_for() -> None:
    kept, _ = installer().plan("2.13.0a0+x", (ROOT / "constraints.txt").read_text(), [])
    assert "\ntorch==2.13.0a0+x\n" in kept


def tools(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment whose PATH has these commands, and what build.sh itself needs."""
    for name in ("bash", "dirname", "git", "cat"):
        found = subprocess.run(["bash", "-c", f"command -v {name}"], capture_output=True, text=True, check=True).stdout.strip()
        (folder / name).symlink_to(found)
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": str(folder)}


def build(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([DOCKER / "build.sh", *words], env=env, capture_output=True, text=True, check=False)


SAY = 'echo "$0 $*"'


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        ({"docker": "[ $1 = info ] || " + SAY, "podman": SAY}, "docker build"),
        ({"docker": "exit 1", "podman": SAY, "buildah": SAY}, "podman build --format docker"),
        ({"docker": "exit 1", "buildah": SAY}, "buildah bud --format docker"),
    ],
    ids=["docker", "a docker without a daemon", "buildah"],
)
def test_the_first_tool_that_works_builds(tmp_path: Path, present: dict[str, str], chosen: str) -> None:
    done = build(tools(tmp_path, **present), "me/inbol:1", "python:3.11-slim-bookworm", "--no-cache")
    assert done.returncode == 0, done.stderr
    assert f"/{chosen} --tag me/inbol:1 --file docker/Dockerfile" in done.stdout
    assert done.stdout.endswith("--build-arg BASE_IMAGE=python:3.11-slim-bookworm --no-cache .\n")


def test_without_a_base_image_the_one_of_the_dockerfile_is_built_on(tmp_path: Path) -> None:
    done = build(tools(tmp_path, buildah=SAY), "inbol", "")
    assert done.returncode == 0 and "BASE_IMAGE" not in done.stdout


@pytest.mark.parametrize(
    ("present", "message"),
    [({}, "needs docker, podman or buildah, and none is on the PATH"), ({"docker": "exit 1"}, "its daemon does not answer")],
)
def test_without_a_tool_the_error_says_what_to_do(tmp_path: Path, present: dict[str, str], message: str) -> None:
    done = build(tools(tmp_path, **present), "inbol", "")
    assert done.returncode == 1 and message in done.stderr


def test_the_job_runs_a_command_that_composes(capsys: pytest.CaptureFixture[str]) -> None:
    args = job()["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[:3] == ["python", "-m", "launch"]
    words = args[3:]
    assert main([*words[: words.index("--")], "--dry", *words[words.index("--") :]]) == 0
    assert "22 of 22 stages to run" in capsys.readouterr().out


def test_the_job_resumes_after_a_preemption_and_gives_up_on_a_refused_configuration() -> None:
    spec = job()["spec"]
    ignored, fatal = spec["podFailurePolicy"]["rules"]
    assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert fatal["action"] == "FailJob" and fatal["onExitCodes"]["values"] == [2]
    assert spec["template"]["spec"]["restartPolicy"] == "Never" and spec["podReplacementPolicy"] == "Failed"


def test_what_must_outlive_a_container_lies_on_volumes() -> None:
    """Runs, data and the cache (a base from the hub is a link into it), where the Dockerfile has them."""
    text = DOCKERFILE.read_text()
    assert "WORKDIR /opt/inbol\n" in text and "HF_HOME=/cache/" in text
    wanted = {"/opt/inbol/runs", "/opt/inbol/data", "/cache"}
    mounts = job()["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {mount["mountPath"] for mount in mounts} == wanted | {"/dev/shm"}
    task = yaml.safe_load((DOCKER / "skypilot.yaml").read_text())
    assert set(re.findall(r"--volume \S+?:(\S+)", task["run"])) == wanted


def test_both_files_name_the_same_image_and_gpus() -> None:
    container = job()["spec"]["template"]["spec"]["containers"][0]
    task = yaml.safe_load((DOCKER / "skypilot.yaml").read_text())
    assert container["image"] == task["envs"]["IMAGE"]
    assert set(task["resources"]["accelerators"].values()) == {container["resources"]["limits"]["nvidia.com/gpu"]}
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_the_image_takes_only_what_it_is_built_from() -> None:
    """Everything is left out but what is named; nothing that is named holds runs, data or tests."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    named = {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in named)
    assert not named & {"runs", "data", "tests", ".git", ".venv", "wandb"}
