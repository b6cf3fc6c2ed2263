"""Stages of a sweep's points that are done at once: a score writes the number that it is told, everything else an empty manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from launch.jobs import StageFailed
from launch.plan import Node


def instant_stages(
    ran: list[str], fails: Callable[[Node], bool] = lambda node: False, *, number: Callable[[float], float]
) -> Callable[..., None]:
    """What takes the place of `run_nodes`.

    Args:
        ran: gains the name of every stage that is run.
        fails: the stages that do not end.
        number: every number of a point's score, by its `dpo.beta`; 0 beta in other rows.
    """

    def run_nodes(nodes: Sequence[tuple[Node, Any]], *_: Any) -> None:
        for node, _run in nodes:
            if (node.folder / "manifest.json").exists():
                continue
            ran.append(node.name)
            if fails(node):
                raise StageFailed(f"{node.name} failed: it was told to")
            node.folder.mkdir(parents=True)
            if node.stage == "score":
                value = number(node.inputs["predictions"].inputs["model"].config.dpo.beta if node.name == "score[dpo]" else 0.0)
                found = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 5}
                slices = {"trust": {"T1 50/50": found}, "answerable": {"T0": found}, "over-refusal": {"c>=.8": found}}
                slices["unsolvable/text-kinds"] = {"RefR": found}
                (node.folder / "scores.json").write_text(json.dumps({"slices": slices}))
            (node.folder / "manifest.json").write_text("{}")

    return run_nodes
