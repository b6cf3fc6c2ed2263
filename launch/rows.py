"""What the rows of a recipe's table are called, and which system the row `calibrated` is about."""

from __future__ import annotations

from inbol.config.run import RunConfig, round_of

LABELS = {"base": "base", "threshold": "base + threshold", "refusal-prompt": "refusal prompt", "sft": "SFT", "dpo": "DPO", "grpo": "GRPO"}


def labels(run: RunConfig) -> dict[str, str]:
    """Printed name of every row of the run's recipe."""
    given = {**LABELS, **run.recipe.labels}

    def name(row: str) -> str:
        return given.get(row) or (f"{name(calibrated_row(run))} calibrated" if row == "calibrated" else f"DPO, round {round_of(row)}")

    return {row: name(row) for row in run.recipe.rows}


def calibrated_row(run: RunConfig) -> str:
    """The row whose system the row `calibrated` calibrates: the last of base, sft, the rounds of dpo, and grpo."""
    rows = run.recipe.rows
    if "grpo" in rows:
        return "grpo"
    return max((row for row in rows if round_of(row)), key=round_of, default="sft" if "sft" in rows else "base")
