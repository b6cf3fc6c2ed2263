"""`report.html`: one file that needs no other, with images inlined. Everything from a model or a data set is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from inbol.reporting.gallery import RULE, Example, data_address
from inbol.reporting.tables import Table, format_cell


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its caption."""

    path: Path
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row's numbers come from."""

    label: str
    seed_index: int
    fingerprint: str
    revision: str
    folder: str
    facts: str


def render(
    *,
    title: str,
    facts: Sequence[str],
    main: Sequence[Table],
    details: Sequence[Table],
    figures: Sequence[Figure],
    gallery: Sequence[Example],
    sources: Sequence[Source],
) -> str:
    """The page as text."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.globals["format_cell"] = format_cell
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    inlined = [(figure, data_address(figure.path.read_bytes())) for figure in figures]
    return template.render(
        title=title, facts=facts, main=main, details=details, figures=inlined, gallery=gallery, rule=RULE, sources=sources
    )
