"""A judge's verdicts where scores are made: as a second opinion beside the rules, or in their place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inbol.contracts import Graded, Outcome
from inbol.evaluation.outcomes import REFUSED_TEXT
from inbol.judging.judge import Verdict, outcome_of
from inbol.shards.files import read_records
from inbol.stages.job import Job

SUMMARY = "judge.json"
Found = Mapping[str, Mapping[str, Verdict]]
"""Verdicts by dimension and key."""


def verdict_files(folder: Path) -> list[Path]:
    """The record files of a judge's folder, in order."""
    return sorted(folder.glob("*-[0-9][0-9][0-9][0-9][0-9][0-9].jsonl"))


def load_verdicts(folder: Path) -> dict[str, dict[str, Verdict]]:
    """The verdicts of one folder by dimension and key."""
    found: dict[str, dict[str, Verdict]] = {}
    for path in verdict_files(folder):
        for verdict in read_records(path, Verdict):
            found.setdefault(verdict.dimension, {})[verdict.key] = verdict
    return found


def read_verdicts(job: Job) -> dict[str, dict[str, dict[str, Verdict]]]:
    """The verdicts of every row that is given, by row; empty where no judge ran."""
    prefix = "verdicts:"
    return {role.removeprefix(prefix): load_verdicts(folder) for role, folder in job.inputs.items() if role.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Judged:
    """Outcomes by the judge's verdicts."""

    decided: list[Graded]
    """Of all questions that are judged in every row given."""
    excluded: dict[str, int]
    """By row, how many questions are unjudged; a question that is so in one row is left out of all."""
    second: dict[str, Any]
    """The judge's shares on this row's own judged questions: answerable and beyond the image."""
    row: str

    def summary(self, decides: bool, inputs: Mapping[str, Path]) -> dict[str, Any]:
        """What scores.json says about the judge."""
        own = json.loads((inputs[f"verdicts:{self.row}"] / SUMMARY).read_text(encoding="utf-8"))
        about = {"decides": decides, "outcomes": self.second, **own}
        return about | ({"excluded": self.excluded} if decides else {})


def judged_by(graded: list[Graded], verdicts: Mapping[str, Found], *, row: str) -> Judged:
    """The outcomes that the judge finds: REFUSED by its tag, else CORRECT or WRONG; beyond the image all but a refusal is WRONG.

    A response that a threshold or a calibration withheld is REFUSED without a judge.

    Raises:
        ValueError: no verdicts of this row or of the base.
    """
    if missing := sorted({row, "base"} - verdicts.keys()):
        raise ValueError(f"verdicts: none for row {', '.join(missing)}; there are {', '.join(verdicts)}")
    by_row = {name: {g.key: _outcome(g, found) for g in graded} for name, found in verdicts.items()}
    replaced = {g.key for g in graded if g.text == REFUSED_TEXT and g.outcome == Outcome.REFUSED}
    mine = {g.key: Outcome.REFUSED if g.key in replaced else by_row[row][g.key] for g in graded}
    excluded = {name: sum(outcome is None for outcome in found.values()) for name, found in by_row.items()}
    decided = []
    for g in graded:
        outcome, base = mine[g.key], by_row["base"][g.key]
        if outcome is not None and base is not None and all(found[g.key] is not None for found in by_row.values()):
            decided.append(replace(g, outcome=outcome, base_outcome=base))
    return Judged(decided, excluded, _shares(graded, mine), row)


def _outcome(g: Graded, found: Found) -> Outcome | None:
    return outcome_of(found.get("refusal", {}).get(g.key), found.get("correctness", {}).get(g.key), answerable=g.answerable)


def _shares(graded: list[Graded], outcomes: Mapping[str, Outcome | None]) -> dict[str, Any]:
    """Shares of the judge's outcomes, seen wordings as in the tables."""
    out = {}
    slices = {
        "answerable": [g for g in graded if g.answerable and g.wording == "seen"],
        "unsolvable": [g for g in graded if not g.answerable],
    }
    for name, group in slices.items():
        known = [outcome for g in group if (outcome := outcomes[g.key]) is not None]
        shares = {one.value: sum(outcome == one for outcome in known) / len(known) for one in Outcome} if known else {}
        out[name] = {"judged": len(known), "unjudged": len(group) - len(known), **shares}
    return out


def benchmark_findings(folder: Path, *, decides: bool) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """(what to add to the grade of every item by key, what scores.json says about the judge).

    A score stands under its dimension's name, None where it was not asked for or is unjudged; `judge_refused` is the judge's finding, and
    with `decides` it takes the place of `refused` too. What is unjudged stands in `unjudged` with its reason.
    """
    found = load_verdicts(folder)
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    findings: dict[str, dict[str, Any]] = {}
    for dimension, by_key in found.items():
        for key, verdict in by_key.items():
            mine = findings.setdefault(key, {"unjudged": {}})
            if verdict.value is None:
                mine["unjudged"][dimension] = verdict.unjudged
            if dimension != "refusal":
                mine[dimension] = verdict.value
                continue
            mine["judge_refused"] = None if verdict.value is None else verdict.value == 1
            if decides:
                mine["refused"] = mine["judge_refused"]
    scores = [name for name in summary["judged"] if name in ("rationality", "helpfulness")]
    findings = {key: dict.fromkeys(scores) | mine for key, mine in findings.items()}
    return findings, {"decides": decides, **summary}


def judge_notes(summary: Mapping[str, Any]) -> Iterable[str]:
    """Sentences for below a table."""
    refusals = "found by the judge" if summary["decides"] else "found by rules; the judge's are a second opinion"
    yield f"Judge {summary['model']}: refusals are {refusals}."
    kappa = summary["agreement"].get("refusal", {}).get("kappa", {})
    if kappa.get("value") is not None:
        raw = summary["agreement"]["refusal"]["agreement"]["value"]
        between = f" [{kappa['low']:.2f}, {kappa['high']:.2f}]" if kappa["low"] is not None else ""
        yield f"On refusal, rules and judge agree on {raw:.1%}, kappa {kappa['value']:.2f}{between}."
    for dimension, about in summary["dimensions"].items():
        if out := about["asked"] - about["judged"]:
            yield f"{out} of {about['asked']} responses are unjudged for {dimension} and left out of it."
