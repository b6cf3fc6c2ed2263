"""Hostfiles, and what follows from them for machines and processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbol.config.hosts import read_hostfile
from inbol.config.launching import LauncherConfig
from inbol.config.load import ConfigError, from_mapping


def written(folder: Path, text: str) -> str:
    path = folder / "hosts"
    path.write_text(text)
    return str(path)


def launcher(path: str, **values: object) -> LauncherConfig:
    ssh = {"hostfile": path, **values.pop("ssh", {})}  # type: ignore[dict-item]
    return from_mapping(LauncherConfig, {"kind": "ssh", "nodes": 0, "ranks": 0, "ssh": ssh, **values}, "launcher")


def test_a_hostfile_of_deepspeeds_form(tmp_path: Path) -> None:
    path = written(tmp_path, "# the machines\n\ngpu-1 slots=8\n  me@10.0.0.2\tslots=8  # the second\nfe80::1 slots=8")
    assert list(read_hostfile(path).items()) == [("gpu-1", 8), ("me@10.0.0.2", 8), ("fe80::1", 8)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a slots=2\nb", r"hosts:2: 'b' is not of the form `host slots=N`"),
        ("a slots=two", r"hosts:1: 'a slots=two' is not of the form"),
        ("a slots=0", r"hosts:1: 'a slots=0' is not of the form"),
        ("a slots=2 b", r"hosts:1: 'a slots=2 b' is not of the form"),
        ("-oProxyCommand=rm slots=2", r"hosts:1: '-oProxyCommand=rm slots=2' is not"),
        ("a;b slots=2", r"hosts:1: 'a;b slots=2' is not"),
        ("a slots=2\n\na slots=2", r"hosts:3: a stands in an earlier line"),
        ("a slots=2\nb slots=4", r"hosts:2: b has 4 slots and the machines above have 2; give all the smallest"),
        ("# nothing\n", r"hosts: holds no host"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^launcher\.ssh\.hostfile: .*" + message):
        launcher(written(tmp_path, text))


def test_no_hostfile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^launcher\.ssh\.hostfile: '.*hosts' cannot be read \(No such file"):
        launcher(str(tmp_path / "hosts"))
    with pytest.raises(ConfigError, match=r"^launcher\.ssh\.hostfile: '' names no file"):
        launcher("")


def test_machines_and_processes_come_from_the_file(tmp_path: Path) -> None:
    """Three machines of four slots: all of it, or the first two with three processes each."""
    path = written(tmp_path, "a slots=4\nb slots=4\nc slots=4\n")
    whole = launcher(path)
    assert (whole.nodes, whole.ranks, whole.hosts) == (3, 4, ["a", "b", "c"])
    assert whole.resources("sft") == (3, 4) and whole.world("sft") == 12
    part = launcher(path, nodes=2, ranks=3)
    assert part.hosts == ["a", "b"] and part.world("predict") == 6
    with pytest.raises(ConfigError, match=r"launcher\.nodes: 4, but .*hosts has 3 machines"):
        launcher(path, nodes=4)
    with pytest.raises(ConfigError, match=r"launcher\.ranks: 5, but .*hosts has 4 slots a machine"):
        launcher(path, ranks=5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 70000}, r"ssh\.port: 70000 is not in \[0, 65535\]"),
        ({"user": "-l root"}, r"ssh\.user: '-l root' is not the name of a user"),
        ({"key": "/nowhere/key"}, r"ssh\.key: '/nowhere/key' is not a file"),
        ({"config": "/nowhere/config"}, r"ssh\.config: '/nowhere/config' is not a file"),
        ({"master_address": "a b"}, r"ssh\.master_address: 'a b' is neither"),
        ({"forward": ["A-B"]}, r"ssh\.forward: 'A-B' is neither a variable"),
        ({"environment": {"A B": "c"}}, r"ssh\.environment: 'A B' is not the name of a variable"),
        ({"connect_timeout": 0}, r"ssh\.connect_timeout: 0 must be at least 1"),
        ({"hostfiel": "x"}, r"ssh\.hostfiel: unknown key \(value 'x'\); did you mean 'hostfile'"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launcher(written(tmp_path, "a slots=1"), ssh=values)
