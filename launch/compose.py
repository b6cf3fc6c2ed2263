"""A recipe, a scale and overrides into one checked `RunConfig`. The only module that imports Hydra.

Hydra composes once, in the launcher; no rank ever sees it. Value overrides are forced in (`++`), so that a key that is misspelt or mistyped
is refused by `from_mapping`, with its full path and together with every other mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inbol.benchmarks.registry import BENCHMARKS, files_of, open_benchmark
from inbol.config.load import ConfigError, from_mapping
from inbol.config.run import RunConfig
from inbol.config.serving import ServerConfig
from inbol.endpoint.client import key_from
from inbol.endpoint.errors import ServerMisconfigured
from inbol.text.masking import credentials_in

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
RECIPES = ROOT / "recipes"
OWN_RANKS = ("launcher.ranks=", "debug=one-rank")
"""Overrides that say how many processes a machine runs."""


def names(folder: Path) -> list[str]:
    """Names of the YAML files in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def recipes() -> dict[str, str]:
    """Every recipe with its one-line purpose."""
    return {name: yaml.safe_load((RECIPES / f"{name}.yaml").read_text())["recipe"]["purpose"] for name in names(RECIPES)}


def groups() -> dict[str, list[str]]:
    """Every group that ARGS may choose from, with its choices."""
    root = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    chosen = [next(iter(entry)) for entry in root if isinstance(entry, dict)]
    return {group: names(CONF / group) for group in chosen if group not in ("recipes", "scale")}


def compose_run(recipe: str, scale: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of `recipe` at `scale` with `overrides` such as `dpo.beta=0.2` or `peft=lora`; overrides win over all else.

    Raises:
        ConfigError: every mistake in one message: unknown recipe, scale, group, choice or key, wrong types and values.
    """
    errors = [*_unknown("recipe", recipe, names(RECIPES)), *_unknown("scale", scale, names(CONF / "scale"))]
    forced: list[str] = []
    for text in overrides:
        ready, mistakes = _override(text)
        errors += mistakes
        forced += ready
    if any(message.startswith(("recipe:", "scale:")) for message in errors):
        raise ConfigError(errors)
    try:
        raw = _compose([f"recipes={recipe}", f"scale={scale}", *forced])
        if raw["launcher"]["kind"] == "ssh" and not any(text.lstrip("+").startswith(OWN_RANKS) for text in overrides):
            raw["launcher"]["ranks"] = 0  # a scale's number is for machines without a hostfile
        run = from_mapping(RunConfig, {**raw, "scale": scale})
    except ConfigError as error:
        raise ConfigError([*errors, *error.errors]) from None
    errors += [
        f"{path}: holds a login, a signature or a secret of the environment, which would be written into manifests; let it come from the "
        f'environment (or, for shards, from a command: pipe:curl "$URL")'
        for path in credentials_in(raw)
    ]
    errors += _benchmark_mistakes(run)
    errors += _key_mistakes("judge", run.judge) if run.judge.kind != "rules" else []
    errors += [
        message
        for name, own in (("sampling", run.sampling), ("predict", run.predict))
        if own.backend == "openai"
        for message in _key_mistakes(f"{name}.server", own.server)
    ]
    if errors:
        raise ConfigError(errors)
    return run


def _key_mistakes(path: str, server: ServerConfig) -> list[str]:
    """A key that is named and not there. Here, since a stage would find out only after everything before it has run."""
    try:
        key_from(server.key_env)
    except ServerMisconfigured as error:
        return [f"{path}.{error}"]
    return []


def _benchmark_mistakes(run: RunConfig) -> list[str]:
    """Benchmarks that do not exist, or are named twice. Here, since the configuration knows of no benchmark."""
    errors = [message for name in run.benchmarks for message in _unknown("benchmarks", files_of(name), BENCHMARKS)]
    for name in run.benchmarks if not errors else ():
        try:
            open_benchmark(name, seed=0)
        except ValueError as error:
            errors.append(f"benchmarks: {name!r}: {error}")
    errors += [message for name in run.benchmark for message in _unknown("benchmark", name, BENCHMARKS)]
    twice = sorted({name for name in run.benchmarks if run.benchmarks.count(name) > 1})
    return errors + [f"benchmarks: {name!r} is named twice" for name in twice]


def _compose(overrides: list[str]) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="inbol"):
            # The repository's root as a second place to look in makes `recipes/` a group beside those of conf/.
            composed = compose("config", overrides=[f"hydra.searchpath=[file://{ROOT}]", *overrides])
        raw = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([f"the configuration does not compose: {' '.join(str(error).split())}"]) from None
    assert isinstance(raw, dict)
    return {str(key): value for key, value in raw.items()}


def _override(text: str) -> tuple[list[str], list[str]]:
    """One override as Hydra is to see it, or what is wrong with it."""
    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        return [], [f"override {text!r}: not of the form key=value ({reason}); example: dpo.beta=0.2"]
    key, choices = parsed.key_or_group, groups()
    if key in ("recipes", "recipe", "scale") and not parsed.is_delete():
        return [], [f"override {text!r}: choose it with {'SCALE' if key == 'scale' else 'RECIPE'}=..., not among the overrides"]
    if parsed.is_sweep_override():
        return [], [f"override {text!r}: several values, but a run takes one; for a list write {key}=[...]"]
    if parsed.is_delete():
        return [], [f"override {text!r}: a key cannot be deleted, every key has a value"]
    if key in choices and isinstance(parsed.value(), (str, int)):
        return _choice(text, parsed, choices[key])
    if key in choices and parsed.value() is None:
        return [], [f"{key}: null is not one of {', '.join(choices[key])}"] if key != "debug" else []
    return [f"++{text.lstrip('+')}"], []


def _choice(text: str, parsed: Override, allowed: list[str]) -> tuple[list[str], list[str]]:
    mistakes = _unknown(parsed.key_or_group, str(parsed.value()), allowed)
    return ([] if mistakes else [text.lstrip("+")]), mistakes


def _unknown(what: str, name: str, existing: Iterable[str]) -> list[str]:
    existing = list(existing)
    if name in existing:
        return []
    near = difflib.get_close_matches(name, existing, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return [f"{what}: there is no {name!r}; {hint}there are {', '.join(existing)}"]
