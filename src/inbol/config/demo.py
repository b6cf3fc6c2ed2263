"""Configuration of `make demo`, from its ARGS. No stage reads it."""

from __future__ import annotations

from dataclasses import dataclass

from inbol.config.checks import one_of, within
from inbol.config.run import STYLES


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoConfig:
    """Where the page is served, and how questions are put."""

    host: str = "127.0.0.1"
    """Address it binds to. Any but a loopback one lets others ask, without a password."""
    port: int = 7860
    """Port it binds to; 0 takes a free one."""
    runs_dir: str = "runs"
    """Where runs and stage folders are looked for."""
    prompt: str = ""
    """Prompt style (`text/prompts.py`); empty asks as the run's `predict` did, `plain` where none did."""
    examples: int = 8
    """Images of the test split that the page offers."""

    def __post_init__(self) -> None:
        within("port", self.port, 0, 65535)
        one_of("prompt", self.prompt, ("", *STYLES))
        within("examples", self.examples, 0, 64)
        if not self.host:
            raise ValueError("host: it is empty; 127.0.0.1 is this machine alone")
