"""The points of a sweep as chains of Slurm jobs, no more than so many of them at a time.

A limit of N makes N lanes: the first jobs of a point wait until the last ones of the point N places before it are over, however they ended.
A point that fails holds nobody up, and a stage that an earlier point's job makes is waited for, as in any chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launch import squeue
from launch.chain import Chain
from launch.console import Screen
from launch.plan import Node
from launch.points import PlannedPoint
from launch.runs import link_name
from launch.slurm import missing, submit, waits_for


class Lanes:
    """What the next point has to wait for."""

    def __init__(self, limit: int | None) -> None:
        """`limit`: points at a time; None is any number."""
        self.limit = limit
        self.ends: list[list[str]] = []

    def behind(self) -> list[str]:
        """Jobs that have to be over before the next point starts."""
        return self.ends[-self.limit] if self.limit and len(self.ends) >= self.limit else []

    def add(self, last: Sequence[str]) -> None:
        """Note the last jobs of a point; one without any takes no place."""
        if last:
            self.ends.append(list(last))


def submit_points(points: Sequence[PlannedPoint], folder: Path, limit: int | None, screen: Screen) -> None:
    """Submit every point's missing stages; its record and scripts go to `point-<number>` in `folder`. Raises StageFailed."""
    lanes = Lanes(limit)
    for number, point in enumerate(points):
        screen.say(f"point {number + 1} of {len(points)}: {' '.join(point.texts)}")
        own = folder / f"point-{number:03d}"
        own.mkdir()
        chain = submit(point.nodes, point.run, own, screen, lanes.behind())
        lanes.add(last_jobs(chain, point.nodes))


def last_jobs(chain: Chain, nodes: Sequence[Node]) -> list[str]:
    """The chain's own jobs that no other of its own jobs waits for."""
    own = {link.folder: link.job for link in chain.links if not link.shared}
    return [own[str(node.folder.resolve())] for node in _last([node for node in nodes if str(node.folder.resolve()) in own])]


def dry(points: Sequence[PlannedPoint], limit: int | None) -> str:
    """What would be submitted: the command of every job, with `<point/stage>` for the jobs it waits for."""
    lanes, made, lines = Lanes(limit), dict[Path, str](), []
    for number, point in enumerate(points, start=1):
        todo = missing(point.nodes)
        own = [node for node in todo if node.folder not in made]
        made |= {node.folder: f"<{number}/{node.name}>" for node in own}
        names = {made[node.folder] for node in own}
        lines.append(f"# point {number} of {len(points)}: {' '.join(point.texts)}; {len(own)} jobs")
        for place, node in enumerate(todo, start=1):
            if node in own:
                after = [made[parent.folder] for parent in waits_for(node, todo)]
                behind = [] if names & set(after) else lanes.behind()
                script = f"{place:02}-{link_name(node.name)}.sbatch"
                lines.append(" ".join(squeue.sbatch_command(script, after, behind, held=not after)))
        lanes.add([made[node.folder] for node in _last(own)])
    at_once = f", {limit} points at a time" if limit else ""
    lines.append(f"# {len(points)} points, {len(made)} jobs{at_once}; nothing was submitted")
    return "\n".join(lines) + "\n"


def _last(nodes: Sequence[Node]) -> list[Node]:
    """Those that none of the others reads."""
    read = {parent.folder for node in nodes for parent in node.inputs.values()}
    return [node for node in nodes if node.folder not in read]
