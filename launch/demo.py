"""`make demo`: a local page that asks a checkpoint and its base."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from inbol.config.data import PredictConfig
from inbol.config.demo import DemoConfig
from inbol.config.load import ConfigError, from_mapping
from inbol.demo.examples import examples_of
from inbol.demo.find import Checkpoint, asked_as, base_of, data_of, find_checkpoint

if TYPE_CHECKING:
    from inbol.demo.ask import System

NO_BASE = "none"


def demo(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    config = parse(args.overrides)
    if find_spec("gradio") is None:
        raise ConfigError(["demo: Gradio is not installed; make demo installs it, or pip install -c constraints.txt -e '.[demo]'"])
    console = Console(highlight=False, soft_wrap=True)
    try:
        asked = chosen(args.checkpoint, args.base, Path(config.runs_dir))
        _serve(asked, config, console)
    except ValueError as error:
        raise ConfigError(str(error).splitlines()) from error
    except KeyboardInterrupt:
        pass
    console.print("the page is closed", markup=False)  # without an exception, too: where a shell started this with SIGINT ignored
    return 0


def parse(arguments: Sequence[str]) -> DemoConfig:
    """ARGS as a configuration. Raises ConfigError with every mistake."""
    pairs = [argument.partition("=") for argument in arguments]
    if wrong := [key for key, sign, _ in pairs if not sign]:
        raise ConfigError([f"ARGS: {key!r} is not key=value, such as port=7861" for key in wrong])
    return from_mapping(DemoConfig, {key: yaml.safe_load(value) if key in ("port", "examples") else value for key, _, value in pairs})


def chosen(checkpoint: str, base: str, runs_dir: Path) -> list[Checkpoint]:
    """The checkpoint that is meant and, where it has one, its base. Raises ValueError where one is named and not there."""
    asked = find_checkpoint(checkpoint, runs_dir)
    other = None if base == NO_BASE else find_checkpoint(base, runs_dir) if base else base_of(asked)
    return [asked, other] if other else [asked]


def _serve(asked: Sequence[Checkpoint], config: DemoConfig, console: Console) -> None:
    from inbol.demo.page import Page, bound, is_loopback, serve  # torch and Gradio, which the other commands start without

    def say(text: str) -> None:
        console.print(text, markup=False)

    with bound(config.host, config.port) as listening:
        systems = [_load(checkpoint, config.prompt, say) for checkpoint in asked]
        if len(asked) == 1:
            say("no base to compare with: this is one, or no recipe wrote the checkpoint; BASE=... names one")
        examples = examples_of(data_of(asked[0]), config.examples)
        if not examples:
            say("no example images: none were wanted, no recipe wrote the checkpoint, or its data have no test split")
        if not is_loopback(config.host):
            say(f"warning: {config.host} is reachable from other machines, and the page asks for no password")
        serve(
            Page(systems, examples),
            listening,
            title="When to answer, when to refuse",
            facts=" against ".join(f"<b>{escape(one.label)}</b> <code>{escape(one.name)}</code>" for one in asked),
            host=config.host,
            ready=lambda address: say(f"{address}  (Ctrl-C ends it)"),
        )


def _load(checkpoint: Checkpoint, prompt: str, say: Callable[[str], None]) -> System:
    from inbol.demo.ask import System

    style, longest = asked_as(checkpoint, prompt=prompt or "plain", max_new_tokens=PredictConfig().max_new_tokens)
    say(f"loading {checkpoint.label}: {checkpoint.path}, prompt {prompt or style}")
    system = System(checkpoint.label, checkpoint.path, prompt=prompt or style, max_new_tokens=longest)
    if system.rule is not None:
        say(f"        its calibration is applied; promised: {system.rule.guarantee}")
    return system
