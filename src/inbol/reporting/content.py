"""Which tables a report has, and what stands in them."""

from __future__ import annotations

from collections.abc import Sequence

from inbol.evaluation.suite import IMAGE_KIND
from inbol.reporting.compare import Comparison, pairs
from inbol.reporting.load import System
from inbol.reporting.tables import Cell, Column, Style, Table

SHORT = {
    "false-premise": "false pr.",
    "context-dependent": "context",
    "other-modality": "other mod.",
}
"""Heads of the columns of kinds with long names."""

Spec = tuple[Column, str, str]
"""(column, slice, metric)."""


def main_tables(comparison: Comparison, systems: Sequence[System], comparators: Sequence[str]) -> list[Table]:
    """The tables a reader wants first: answering, refusing, and what differs from what."""
    tables = [answering(comparison, systems), refusing(comparison, systems), differences(comparison, systems, comparators)]
    return tables + promises(comparison, systems)


def detail_tables(comparison: Comparison, systems: Sequence[System]) -> list[Table]:
    """Where the figures of the main tables come from."""
    levels = _levels(comparison, "answerable/level=")
    premise_levels = _levels(comparison, f"unsolvable/{IMAGE_KIND}/level=")
    tables = [
        _table(
            comparison,
            systems,
            "gain",
            "Where the gain over the base comes from, as shares of the base's wrong answers",
            [_spec(name, "gain", name) for name in ("refused-wrong", "fixed", "refused-right", "broken", "gain")],
            notes=("gain = refused-wrong + 2 fixed - refused-right - 2 broken = (T0 - T0 of the base) / Wrong of the base.",),
        ),
        _table(
            comparison,
            systems,
            "levels",
            "T0 on answerable questions by degradation level (0: undegraded)",
            [_spec(f"level {x}", f"answerable/level={x}", "T0") for x in levels],
        ),
        _table(
            comparison,
            systems,
            "premise-levels",
            "Refusal recall on false premises by degradation level",
            [_spec(f"level {x}", f"unsolvable/{IMAGE_KIND}/level={x}", "RefR") for x in premise_levels],
        ),
        _table(
            comparison,
            systems,
            "bands",
            "T0 on answerable questions by the base's confidence c",
            [_spec(name, f"answerable/{name}", "T0") for name in ("c<.2", "c=.2-.8", "c>.8")],
        ),
        _table(
            comparison,
            systems,
            "kinds",
            "T0 on answerable questions by kind",
            [_spec(x, f"answerable/kind={x}", "T0") for x in _levels(comparison, "answerable/kind=")],
        ),
        _table(
            comparison,
            systems,
            "unseen",
            "Answerable questions in unseen wordings",
            [_spec(name, "answerable/unseen", name) for name in ("T0", "Acc", "RefR", "Wrong", "SelAcc")],
        ),
        _table(
            comparison,
            systems,
            "over-refusal",
            "Over-refusal: refused, though it could have been answered",
            [_spec(name, "over-refusal", name) for name in comparison.slices["over-refusal"]],
        ),
        _table(
            comparison,
            systems,
            "detection",
            "Refusal as detection of what the base does not know (c < tau), on answerable questions",
            [
                *(_spec(name, "refusal/intrinsic", name) for name in ("precision", "recall", "F1")),
                *(_spec(f"{name}, banded", "refusal/intrinsic-banded", name) for name in ("precision", "recall", "F1")),
            ],
            notes=(f"banded: questions with |c - {comparison.tau:g}| < .2 left out, where the label is close to a coin flip.",),
        ),
        _table(
            comparison,
            systems,
            "truthful",
            "Other published scores, answerable questions",
            [
                _spec("SelAcc", "answerable", "SelAcc"),
                _spec("coverage", "answerable", "coverage"),
                _spec("truthful", "trust", "truthful answerable"),
                _spec("strict", "trust", "truthful-strict answerable"),
                _spec("prudence", "trust", "prudence"),
                _spec("over-cons.", "trust", "over-conservativeness"),
                _spec("honesty", "trust", "honesty"),
                _spec("Rely", "contrasts", "Rely"),
                _spec("THS", "contrasts", "THS"),
            ],
            notes=(
                "truthful: right, or refused and unknown (Say-I-Don't-Know); strict: right and known, or refused and unknown (UAlign); "
                "prudence, over-conservativeness, honesty: GAIR; Rely = Acc + RefR (1 - RefR), in the manner of RLKF; THS = Acc - Wrong x "
                "Acc/Wrong of the base: CRaFT.",
            ),
        ),
    ]
    return [table for table in tables if table.columns]


def answering(comparison: Comparison, systems: Sequence[System]) -> Table:
    """T0, Acc, RefR, T1 and over-refusals."""
    specs = [
        _spec("T0", "answerable", "T0"),
        _spec("Acc", "answerable", "Acc"),
        _spec("RefR", "answerable", "RefR"),
        _spec("T1", "trust", "T1 50/50"),
        _spec("over c≥.8", "over-refusal", "c>=.8"),
        _spec("over L0", "over-refusal", "c>=.8, level 0"),
        _spec("over new", "over-refusal", "unseen, base right"),
    ]
    counts = _counts(comparison, systems[0], specs)
    notes = (
        "T0, Acc, RefR: answerable questions in seen wordings, right +1, refused 0, wrong -1. T1: (T0 + 2 RefR - 1 beyond the image) / 2.",
        "over: refused, though the base is sure (c≥.8; L0: on undegraded images) or right on an unseen wording (new).",
        f"n: {counts}.",
    )
    return _table(comparison, systems, "main", "Answering what the image shows", specs, notes=notes)


def refusing(comparison: Comparison, systems: Sequence[System]) -> Table:
    """Refusal recall per kind of question beyond the image, the held-out kind apart."""
    kinds = _levels(comparison, "unsolvable/kind=")
    trained = [kind for kind in kinds if kind not in comparison.held_out and kind != IMAGE_KIND]
    specs = [_spec("text kinds", "unsolvable/text-kinds", "RefR")] if trained else []
    specs += [_spec(SHORT.get(kind, kind), f"unsolvable/kind={kind}", "RefR") for kind in trained]
    if IMAGE_KIND in kinds:
        specs.append(_spec(SHORT[IMAGE_KIND], f"unsolvable/kind={IMAGE_KIND}", "RefR"))
        specs.append(_spec("fp. L0", f"unsolvable/{IMAGE_KIND}/level=0", "RefR"))
    if comparison.held_out:
        specs.append(_spec("held out", "unsolvable/held-out", "RefR"))
    held_out = ", ".join(comparison.held_out) or "none"
    notes = (
        "Share refused. text kinds: pooled over the kinds that the question alone decides, without the held-out one. "
        "L0: undegraded images.",
        f"held out of training: {held_out}. n: {_counts(comparison, systems[0], specs)}.",
    )
    return _table(comparison, systems, "recall", "Refusing what is beyond the image", specs, notes=notes)


def differences(comparison: Comparison, systems: Sequence[System], comparators: Sequence[str]) -> Table:
    """Paired differences of T0 (all, and in the ambiguous band) and T1."""
    labels = {s.name: s.label for s in systems}
    plans = (("T0, all", "answerable", "T0"), ("T0, c in .2-.8", "answerable/c=.2-.8", "T0"), ("T1", "trust", "T1 50/50"))
    rows = [
        (f"{labels[a]} vs {labels[b]}", tuple(comparison.difference(a, b, s, m) for _, s, m in plans))
        for a, b in pairs([s.name for s in systems], comparators)
    ]
    columns = tuple(Column(name, "bounds") for name, _, _ in plans)
    notes = ("First minus second on the same questions, images and seeds; * interval clear of 0.", comparison.method + ".")
    return Table("differences", "Paired differences", columns, tuple(rows), corner="pair", notes=notes)


def promises(comparison: Comparison, systems: Sequence[System]) -> list[Table]:
    """Promised against achieved risk of calibrated rows, one line per seed; no table without such rows."""
    rows, said = [], []
    for system in systems:
        runs = comparison.runs[system.name]
        for seed, run in enumerate(runs):
            if kept := run.scores.get("calibrated"):
                risk = Cell(kept["risk"]["value"], kept["risk"]["low"], kept["risk"]["high"], kept["risk"]["n"])
                plain = [Cell(kept[name]) for name in ("coverage", "risk without", "coverage without")]
                rows.append((f"{system.label}, {seed}" if len(runs) > 1 else system.label, (Cell(kept["level"]), risk, *plain)))
                said.append(f"Promised: {kept['guarantee']}; chosen by the {kept['score']} on {kept['split']}, {kept['images']} images.")
    plain_columns = [Column(name, "plain") for name in ("coverage", "risk without", "coverage without")]
    columns = (Column("promised", "plain"), Column("risk"), *plain_columns)
    notes = (*dict.fromkeys(said), "coverage: share answered of all that is asked, what is beyond the image included.")
    return [Table("promises", "Promised and achieved risk", columns, tuple(rows), notes=notes)] if rows else []


def confidence_table(quality: dict[str, dict[str, Cell]]) -> Table:
    """How well the base's confidence foretells that it is right."""
    metrics = ("AUROC", "ECE", "Brier", "AURC", "E-AURC")
    rows = tuple((name, tuple(cells.get(metric, Cell()) for metric in metrics)) for name, cells in quality.items())
    notes = ("fresh samples never entered c. ECE: 15 equal-width bins. AURC: ties averaged. Answerable questions in seen wordings.",)
    title = "Does the base's confidence foretell that it is right?"
    return Table("confidence", title, tuple(Column(m) for m in metrics), rows, corner="confidence", notes=notes)


def _spec(name: str, slice_name: str, metric: str, style: Style = "plus-minus") -> Spec:
    return Column(name, style), slice_name, metric


def _table(
    comparison: Comparison, systems: Sequence[System], name: str, title: str, specs: Sequence[Spec], notes: tuple[str, ...] = ()
) -> Table:
    rows = tuple((s.label, tuple(comparison.cell(s.name, slice_name, metric) for _, slice_name, metric in specs)) for s in systems)
    return Table(name, title, tuple(column for column, _, _ in specs), rows, notes=notes)


def _levels(comparison: Comparison, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in comparison.slices if name.startswith(prefix)]


def _counts(comparison: Comparison, system: System, specs: Sequence[Spec]) -> str:
    cells = [(column.name, comparison.cell(system.name, slice_name, metric)) for column, slice_name, metric in specs]
    return ", ".join(f"{name} {cell.n}" for name, cell in cells if cell.n is not None)
