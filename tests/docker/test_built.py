"""The image built for real on a bootstrapped Debian, and the README's command in it: `make test-docker`. About a quarter of an hour, 8 GB.

Two base images: one without torch, and one made like NVIDIA's, whose torch must stay. What pip is configured with on this machine (mirrors,
certificates, folders of wheels) is mounted for the build, read-only, and is no part of the image.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from launch.compose import ROOT

FREE_GB = 10
CERTIFICATES = Path("/etc/ssl/certs")
SIDE = ["skypilot==0.14.1", "kubernetes-validate==1.37.0"]
"""The parsers that read our files as the real thing does; their own requirements contradict ours, so they get an environment."""
TORCH = "2.13.0a0+9186a08b2c.nv26.7"


def lacks() -> str:
    """Why no image can be built here; empty where one can."""
    names = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if names:
        return f"{', '.join(names)} not installed; make test-docker installs them"
    if os.geteuid() != 0:
        return "bootstrapping a Debian needs root"
    free = shutil.disk_usage(os.environ.get("TMPDIR", "/tmp")).free / 1e9
    return "" if free >= FREE_GB else f"{free:.0f} GB free for temporary files, {FREE_GB} are needed"


pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500), pytest.mark.skipif(bool(lacks()), reason=lacks() or "has what it needs")]


def pip_settings() -> dict[str, str]:
    """What pip on this machine is configured with, of files and environment together, without its constraints."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if name != "constraint" and (name not in found or section == ":env:"):
            found[name] = ast.literal_eval(value)
    return found


def mounts(settings: dict[str, str], file: Path) -> list[str]:
    """Options of buildah that show a build these settings, and every file and folder that they name."""
    file.write_text("[global]\n" + "".join(f"{name} = {' '.join(value.split())}\n" for name, value in settings.items()))
    file.chmod(0o600)
    paths = {CERTIFICATES} if CERTIFICATES.is_dir() else set()
    for word in " ".join(settings.values()).split():
        # The pages of an index in a folder link to its neighbours.
        path = Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)
        if path.is_absolute() and path.exists() and not any(path.is_relative_to(other) for other in paths):
            paths.add(path)
    return [f"--volume={path}:{path}:ro" for path in sorted(paths)] + [f"--volume={file}:/etc/pip.conf:ro"]


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah with a storage of its own."""

    folder: Path
    env: dict[str, str]
    mounts: list[str]

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(["buildah", *words], env=self.env, capture_output=True, text=True, timeout=1200, check=False)
        assert not check or done.returncode == 0, " ".join(words) + "\n" + done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout.strip()

    def image(self, name: str, base: str) -> str:
        """Build ours with the script of `make image`, and return a container of it."""
        command = [ROOT / "docker" / "build.sh", name, base, *self.mounts]
        path = self.folder / "bin"  # with a docker that does not work
        done = subprocess.run(command, env={**self.env, "PATH": f"{path}:{self.env['PATH']}"}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return self("from", "--pull-never", name)


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    folder = tmp_path_factory.mktemp("images")
    conf = folder / "storage.conf"
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "CONTAINERS_STORAGE_CONF": str(conf)}
    for driver in ("overlay", "vfs"):  # overlay does not lie on overlay
        conf.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/{driver}"\nrunroot = "{folder}/{driver}-run"\n')
        if subprocess.run(["buildah", "info"], env=env, capture_output=True, check=False).returncode == 0:
            break
    (folder / "bin").mkdir()
    (folder / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
    (folder / "bin" / "docker").chmod(0o755)
    made = Builder(folder, env, mounts(pip_settings(), folder / "pip.conf"))
    try:
        tar = folder / "root.tar"
        bootstrap = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", str(tar)]
        subprocess.run(bootstrap, check=True, capture_output=True, timeout=900)
        container = made("from", "scratch")
        made("add", "--quiet", container, str(tar), "/")
        made("commit", "--quiet", container, "localhost/plain")
        tar.unlink()
        yield made
    finally:
        made("rm", "--all", check=False)
        made("rmi", "--all", "--force", check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def plain(buildah: Builder) -> str:
    return buildah.image("localhost/ours", "localhost/plain")


def test_the_recipe_runs_to_its_table_as_a_user_that_is_not_root(buildah: Builder, plain: str) -> None:
    assert buildah("run", plain, "--", "id", "-u") == "1000"
    assert "DeepSpeed ops" in buildah("run", plain, "--", "make", "doctor")
    said = buildah("run", plain, "--", "make", "train", "RECIPE=inbol-dpo", "SCALE=smoke")
    assert "[22/22] ran    report" in said and "| CA-DPO" in said
    again = buildah("run", plain, "--", "make", "train", "RECIPE=inbol-dpo", "SCALE=smoke")
    assert "[22/22] reused" in again and "installing" not in said + again
    revision = buildah("run", plain, "--", "printenv", "INBOL_REVISION")
    assert revision and revision in buildah("run", plain, "--", "bash", "-c", "cat runs/report/*/manifest.json")


def test_the_health_check_is_the_doctor_and_tells_sick_from_well(buildah: Builder, plain: str) -> None:
    test = buildah("inspect", "--format", "{{.Docker.Config.Healthcheck.Test}}", "--type", "image", "localhost/ours")
    assert test == "[CMD python -m launch doctor]"
    assert buildah("run", plain, "--", "bash", "-c", "python -m launch doctor >/dev/null; echo $?") == "0"
    broken = "mkdir /tmp/broken; echo 'raise ImportError' > /tmp/broken/deepspeed.py; PYTHONPATH=/tmp/broken python -m launch doctor >&2"
    broken += "; echo $?"
    assert buildah("run", plain, "--", "bash", "-c", broken) == "1"


def test_any_user_can_run_it(buildah: Builder, plain: str) -> None:
    """`docker run --user "$(id -u)"`: an id without a name or a home of its own."""
    said = buildah(
        "run", "--user", "4321:4321", plain, "--", "make", "train", "RECIPE=refusal-prompt", "SCALE=smoke", "ARGS=runs_dir=/tmp/runs"
    )
    assert "refusal prompt" in said


def test_nothing_of_the_builder_is_in_the_image(buildah: Builder, plain: str) -> None:
    """Neither its pip configuration nor anything outside the list of .dockerignore."""
    assert buildah("run", plain, "--", "pip", "config", "list") == ":env:.constraint='/opt/inbol/.venv/constraints.txt'"
    made = {".venv", "docker", "runs", "data"}
    named = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")} - {"docker/install.py"}
    assert set(buildah("run", plain, "--", "ls", "-A").split()) == named | made


def test_the_torch_of_a_base_image_stays(buildah: Builder) -> None:
    file = ROOT / "tests" / "docker" / "base_with_torch.Dockerfile"
    words = ["--build-arg=PLAIN=localhost/plain", "--tag=localhost/torch", f"--file={file}"]
    buildah("bud", "--format", "docker", *buildah.mounts, *words, str(file.parent))
    ours = buildah.image("localhost/ours-torch", "localhost/torch")
    ask = "import torch, numpy; print(torch.__version__, torch.__file__.split('/')[1], numpy.__version__, numpy.__file__.split('/')[1])"
    assert buildah("run", ours, "--", "python", "-c", ask) == f"{TORCH} usr 2.4.6 opt"
    said = buildah("run", ours, "--", "make", "train", "RECIPE=refusal-prompt", "SCALE=smoke")
    assert "refusal prompt" in said


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("side")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *SIDE], check=True, capture_output=True, timeout=900)
    return folder


def test_kubernetes_knows_every_key_of_the_job(side: Path, tmp_path: Path) -> None:
    check = [side / "bin" / "kubernetes-validate", "--strict", "-k", "1.37"]
    good = ROOT / "docker" / "kubernetes.yaml"
    assert subprocess.run([*check, good], capture_output=True, check=False).returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(good.read_text().replace("podReplacementPolicy", "podReplacementPolcy"))
    assert subprocess.run([*check, bad], capture_output=True, check=False).returncode != 0


def test_skypilot_reads_the_task(side: Path, tmp_path: Path) -> None:
    ask = "import sys, sky; got = sky.Task.from_yaml(sys.argv[1]).resources; print(sorted((*r.accelerators.items(),) for r in got))"
    env = {**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run(
        [side / "bin" / "python", "-c", ask, ROOT / "docker" / "skypilot.yaml"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["[(('A100-80GB', 8),), (('H100', 8),)]"], done.stderr[-2000:]
