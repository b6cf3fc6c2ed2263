"""The architecture, held by reading every module: imports go down, heavy packages stay where they belong, and no module grows too long."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS: dict[str, int] = {
    "contracts": 0,
    "text": 1, "losses": 1, "config": 1,
    "sources": 2,
    "models": 3, "shards": 3, "tracking": 3, "interrupt": 3,
    "probing": 4, "building": 4, "endpoint": 4,
    "evaluation": 5, "training": 5,
    "reporting": 6, "benchmarks": 6, "exporting": 6, "judging": 6,
    "stages": 7,
    "demo": 8,
    "launch": 9,
    "bench": 10,
}  # fmt: skip
HOMES = {"hydra": "launch", "omegaconf": "launch", "wandb": "tracking", "deepspeed": "training", "trackio": "tracking"}
HOMES |= {"optuna": "launch", "gradio": "demo", "vllm": "endpoint"}
OUTSIDE = ("launch", "bench")
"""Parts that are packages of their own beside `src/`; nothing imports `bench`."""
MODULES = sorted(path for folder in ("src/inbol", *OUTSIDE) for path in (ROOT / folder).rglob("*.py"))
MAX_LINES = 400
# What the launcher runs in its own process, and all that it imports, must start fast and stay small.
INLINE = (
    "ingest", "unsolvable", "confidence", "estimate", "boundary", "sft_data", "pairs", "score", "feature_data", "features",
    "benchmark_data", "benchmark_score", "judge", "report",
)  # fmt: skip
HEAVY = {"torch", "transformers", "deepspeed", "trl", "peft", "accelerate", "datasets"}


def part(path: Path) -> str:
    """The layer a file belongs to: `src/inbol/text/match.py` -> `text`, `launch/plan.py` -> `launch`."""
    relative = path.relative_to(ROOT)
    if relative.parts[0] in OUTSIDE:
        return relative.parts[0]
    return relative.parts[2].removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Dotted names of everything imported in a file; `from a import b` counts as `a.b`, which may be a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(name: str) -> str | None:
    pieces = name.split(".")
    if pieces[0] in OUTSIDE:
        return pieces[0]
    return pieces[1] if pieces[0] == "inbol" and len(pieces) > 1 else None


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 40
    unknown = {part(path) for path in MODULES} - set(LAYERS) - {"__init__"}
    assert unknown == set(), f"add the new part to LAYERS: {unknown}"


def test_every_part_is_on_the_map() -> None:
    """`docs/architecture.md` shows every part, and every module of `launch/`, which has no parts."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\w+", text[text.index("## Modules") : text.index("## From make to the loss")]))
    modules = {path.stem for path in (ROOT / "launch").glob("*.py")} - {"__init__", "__main__", "main"}
    assert set(LAYERS) | modules <= shown, sorted((set(LAYERS) | modules) - shown)


def test_imports_go_down_only() -> None:
    wrong = []
    for path in MODULES:
        own = part(path)
        for name in imports(path):
            other = layer_of(name)
            if other is None or other == own or own == "__init__":
                continue
            if other not in LAYERS or LAYERS[other] >= LAYERS[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_packages_stay_at_home() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        for name in imports(path)
        if (home := HOMES.get(name.split(".")[0])) and part(path) != home
    ]
    assert wrong == []


def test_hydra_is_imported_in_one_module() -> None:
    using = {path.relative_to(ROOT).as_posix() for path in MODULES if any(name.split(".")[0] == "hydra" for name in imports(path))}
    assert using == {"launch/compose.py"}


def test_configuration_stops_at_the_stages() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        if part(path) not in ("config", "stages", "launch")
        for name in imports(path)
        if layer_of(name) == "config"
    ]
    assert wrong == []


@pytest.mark.parametrize("stage", INLINE)
def test_inline_stages_reach_no_heavy_package(stage: str) -> None:
    """Follows the imports of the stage through the whole package, without running any of it."""
    start = ROOT / "src" / "inbol" / "stages" / f"{stage}.py"
    todo, seen = [start], set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports(path):
            if name == "torch.utils.tensorboard.SummaryWriter" and path.name == "tracking.py":
                continue  # imported when that tracker is asked for, by then the user's choice
            assert name.split(".")[0] not in HEAVY, f"{path.relative_to(ROOT)}, reached from {stage}, imports {name}"
            todo += list(files_of(name))
    assert len(seen) > 3


def files_of(name: str) -> set[Path]:
    """Files of a dotted name of this package: the module, and the packages above it."""
    pieces = name.split(".")
    if pieces[0] != "inbol":
        return set()
    found = set()
    for end in range(1, len(pieces) + 1):
        base = ROOT / "src" / Path(*pieces[:end])
        found |= {path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()}
    return found


def test_modules_are_short_and_say_what_they_are() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MAX_LINES, f"{path.relative_to(ROOT)} has more than {MAX_LINES} lines"
        assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
        if path.name == "__init__.py":
            assert len(ast.parse(text).body) == 1, f"{path.relative_to(ROOT)} holds more than a docstring"
