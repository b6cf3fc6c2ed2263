"""Which stages a run consists of: pure, from a `RunConfig` to a list of nodes in topological order, each with its fingerprint and folder.

Every row of the recipe asks for its score, the score asks for predictions, and so on down to `ingest`; a stage that two rows ask for
with the same configuration is one node. What the nodes are made of is the table in `docs/` and the dataclasses of `inbol.config.stages`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inbol.benchmarks.registry import files_of
from inbol.config import stages as config
from inbol.config.benchmarks import TINY, BenchmarkConfig, BenchmarkDataStage, BenchmarkScoreStage
from inbol.config.identity import identity
from inbol.config.run import RunConfig
from inbol.config.training import BaseConfig
from inbol.evaluation.calibrated import CALIBRATION
from inbol.probing.estimators.registry import ESTIMATORS, asks_of
from inbol.probing.estimators.stable_explanations import EXPLAIN
from inbol.shards.manifest import fingerprint
from inbol.shards.remote import expand, is_remote
from inbol.stages.registry import STAGES
from inbol.text.refusals import LEADING

FRESH = 10
"""Samples per question of the evaluated split that only grade the confidence."""
ALIGN = ("align-train", "align-val")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt")
"""Of a benchmark's files."""
LABELS = {"base": "base", "threshold": "base + threshold", "refusal-prompt": "refusal prompt", "sft": "SFT", "dpo": "DPO"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One stage to run: its name is for people, its fingerprint names the folder."""

    name: str
    stage: str
    config: Any
    """The stage's dataclass from `inbol.config.stages`."""
    inputs: Mapping[str, Node] = field(hash=False, repr=False)
    """The nodes it reads, by role."""
    fingerprint: str
    folder: Path

    @property
    def parents(self) -> dict[str, str]:
        """Fingerprint of every input, by role."""
        return {role: node.fingerprint for role, node in self.inputs.items()}


def plan(run: RunConfig) -> list[Node]:
    """The nodes of `run`, inputs before what reads them, the report last."""
    return _Planner(run).nodes_for(report=True)


def score_nodes(run: RunConfig) -> tuple[list[Node], dict[str, Node]]:
    """As `plan`, without the report: all nodes in order, and what a report over several runs reads, by role.

    Roles: every row's score, `train:<row>` for trained rows, and `vqa`.
    """
    planner = _Planner(run)
    inputs = planner.report_inputs()
    return planner.nodes_for(report=False), inputs


def benchmark_nodes(run: RunConfig) -> tuple[list[Node], dict[str, Node]]:
    """As `score_nodes`, for the benchmarks alone: nothing of the source's own questions is scored but what a row needs.

    Roles: `benchmark:<name>:<row>`.
    """
    planner = _Planner(run)
    for name in run.benchmarks:
        planner.benchmark_data(name)
    inputs = {f"benchmark:{name}:{row}": planner.benchmark_score(name, row) for name in run.benchmarks for row in run.recipe.rows}
    return planner.nodes_for(report=False, inputs=inputs), inputs


def labels(run: RunConfig) -> dict[str, str]:
    """Printed name of every row of the run's recipe."""
    given = {**LABELS, **run.recipe.labels}
    return {row: given.get(row) or f"{given[calibrated_row(run)]} calibrated" for row in run.recipe.rows}


def calibrated_row(run: RunConfig) -> str:
    """The row whose system the row `calibrated` calibrates: the last of base, sft and dpo."""
    return next(row for row in ("dpo", "sft", "base") if row in run.recipe.rows)


def calibration_nodes(run: RunConfig) -> list[Node]:
    """What the calibration of the run's last system takes, in order; `calibrate` is the last."""
    planner = _Planner(run)
    planner.calibrate(calibrated_row(run))
    return list(planner.made.values())


def graded_nodes(run: RunConfig, splits: Sequence[str]) -> tuple[list[Node], dict[str, dict[str, Node]]]:
    """As far as the responses of the run's last system with their scores, without a threshold.

    Returns:
        (all nodes in order, and by split what they are graded from: `vqa`, `unsolvable`, `predictions` and `refusal_logps`).
    """
    planner, row = _Planner(run), calibrated_row(run)
    graded = {split: planner.graded(row, split) for split in splits}
    return list(planner.made.values()), graded


def estimate_nodes(run: RunConfig, split: str, estimators: tuple[str, ...]) -> tuple[list[Node], Node]:
    """All nodes in order for the scores of these estimators on one evaluated split, and the node with the scores."""
    planner = _Planner(run)
    scores = planner.estimate((split,), estimators)
    return planner.nodes_for(report=False, inputs={}), scores


class _Planner:
    """Builds nodes on demand, each once."""

    def __init__(self, run: RunConfig) -> None:
        self.run = run
        self.made: dict[tuple[str, str], Node] = {}

    def nodes_for(self, *, report: bool, inputs: Mapping[str, Node] | None = None) -> list[Node]:
        inputs = self.report_inputs() if inputs is None else inputs
        if report:
            run = self.run
            title = f"{run.recipe.name} at scale {run.scale}, seed {run.seed}, {run.eval_split} split"
            stage = config.ReportStage(title=title, rows=run.recipe.rows, labels=labels(run), score=run.score, boundary=run.boundary)
            self.node("report", stage, inputs)
        return list(self.made.values())

    def report_inputs(self) -> dict[str, Node]:
        rows = self.run.recipe.rows
        for name in self.run.benchmarks:
            self.benchmark_data(name)  # first of all, so that what is missing shows before anything is trained
        scores = {row: self.score(row) for row in rows}
        trained = {f"train:{row}": self.model(row) for row in rows if row in ("sft", "dpo")}
        measured = {f"benchmark:{name}:{row}": self.benchmark_score(name, row) for name in self.run.benchmarks for row in rows}
        return {**scores, **trained, "vqa": self.vqa(), **measured}

    def node(
        self, stage: str, stage_config: Any, inputs: Mapping[str, Node], *, mark: str = "", outside: Mapping[str, str] | None = None
    ) -> Node:
        """The node of `stage` with this configuration and these inputs, made at its first use."""
        parents = {role: parent.fingerprint for role, parent in inputs.items()}
        print_ = fingerprint(stage, STAGES[stage].version, identity(stage_config), {**parents, **(outside or {})})
        if (stage, print_) not in self.made:
            name = f"{stage}[{mark}]" if mark else stage
            folder = Path(self.run.runs_dir) / stage / print_
            node = Node(name=name, stage=stage, config=stage_config, inputs=inputs, fingerprint=print_, folder=folder)
            self.made[(stage, print_)] = node
        return self.made[(stage, print_)]

    def vqa(self) -> Node:
        source = self.run.source
        outside = {}
        if source.name == "local":
            outside = folder_identity(Path(source.path), "questions.jsonl")
        elif source.name == "shards":
            outside = shards_identity(source.parts or {"": source.path})
        return self.node("ingest", config.IngestStage(source=source), {}, outside=outside)

    def unsolvable(self) -> Node:
        return self.node("unsolvable", config.UnsolvableStage(unsolvable=self.run.unsolvable), {"vqa": self.vqa()})

    def questions(self) -> dict[str, Node]:
        """The two inputs of every stage that looks at questions."""
        return {"vqa": self.vqa(), "unsolvable": self.unsolvable()}

    def base(self) -> Node:
        run = self.run
        stage = config.BaseStage(base=run.base, deepspeed=run.deepspeed, seed=run.seed)
        return self.node("base", stage, {"vqa": self.vqa()}, outside=checkpoint_identity(run.base))

    def sample(self, splits: tuple[str, ...]) -> Node:
        fresh = splits != ALIGN
        # the confidences of the evaluated split are scored as they are
        sampling = replace(self.run.sampling, fresh=FRESH, stop="never") if fresh else self.run.sampling
        boundary = self.run.boundary if sampling.stop == "label" else None
        stage = config.SampleStage(sampling=sampling, splits=splits, seed=self.run.seed, boundary=boundary)
        mark = splits[0] if fresh else ""
        return self.node("sample", stage, {**self.questions(), "model": self.base()}, mark=mark)

    def confidence(self, splits: tuple[str, ...]) -> Node:
        mark = splits[0] if splits != ALIGN else ""
        inputs = {**self.questions(), "responses": self.sample(splits)}
        return self.node("confidence", config.ConfidenceStage(), inputs, mark=mark)

    def probe(self, splits: tuple[str, ...], estimators: tuple[str, ...]) -> Node | None:
        """What these estimators need beyond the samples; None where they need nothing."""
        run, own = self.run, self.run.confidence
        asks = asks_of(estimators)
        entailment = own.entailment if {"self-consistency", "semantic-entropy"}.intersection(estimators) else ""
        if not asks and not entailment:
            return None
        explained = EXPLAIN.name in asks
        stage = config.ProbeStage(
            asks=asks,
            splits=splits,
            samples=run.sampling.k,
            answer_tokens=run.sampling.max_new_tokens,
            explanations=own.explanations if explained else 0,
            explanation_tokens=own.explanation_tokens if explained else 0,
            entailment=entailment,
            trees_per_batch=own.trees_per_batch,
            seed=run.seed,
        )
        inputs = {**self.questions(), "responses": self.sample(ALIGN if splits[0] in ALIGN else splits), "model": self.base()}
        outside = folder_files(Path(entailment)) if entailment else None
        return self.node("probe", stage, inputs, mark="" if splits == ALIGN else ",".join(splits), outside=outside)

    def estimate(self, splits: tuple[str, ...], estimators: tuple[str, ...]) -> Node:
        """Scores of these estimators; trained ones are trained on align-train, whichever splits they score."""
        trained = tuple(name for name in estimators if ESTIMATORS[name].fit)
        inputs = {**self.questions(), "responses": self.sample(splits)}
        if probe := self.probe(splits, estimators):
            inputs["probe"] = probe
        if trained and splits != ALIGN:
            inputs["train_responses"] = self.sample(ALIGN)
            if train := self.probe(ALIGN[:1], trained):
                inputs["train_probe"] = train
        own = self.run.confidence
        stage = config.EstimateStage(
            estimators=estimators, ridge=own.ridge if trained else 0.0, folds=own.folds if trained and splits == ALIGN else 0
        )
        return self.node("estimate", stage, inputs, mark=splits[0] if splits != ALIGN else "")

    def boundary(self) -> Node:
        stage = config.BoundaryStage(boundary=self.run.boundary)
        inputs = {**self.questions(), "confidence": self.confidence(ALIGN)}
        if (estimator := self.run.confidence.estimator) != "accuracy":
            inputs["estimates"] = self.estimate(ALIGN, (estimator,))
        return self.node("boundary", stage, inputs)

    def sft_data(self) -> Node:
        run = self.run
        stage = config.SftDataStage(sft_data=run.sft_data, boundary=run.boundary, seed=run.seed)
        return self.node("sft_data", stage, {**self.questions(), "boundary": self.boundary()})

    def sft(self) -> Node:
        run = self.run
        stage = config.SftStage(sft=run.sft, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
        return self.node("sft", stage, {"vqa": self.vqa(), "sft_data": self.sft_data(), "model": self.base()})

    def pairs(self) -> Node:
        run = self.run
        stage = config.PairsStage(pairs=run.pairs, boundary=run.boundary, seed=run.seed)
        inputs = {**self.questions(), "responses": self.sample(ALIGN), "boundary": self.boundary()}
        return self.node("pairs", stage, inputs)

    def reference(self) -> Node:
        stage = config.ReferenceStage(trees_per_batch=self.run.sampling.trees_per_batch)
        return self.node("reference", stage, {"vqa": self.vqa(), "pairs": self.pairs(), "model": self.sft()})

    def dpo(self) -> Node:
        run = self.run
        stage = config.DpoStage(dpo=run.dpo, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
        inputs = {"vqa": self.vqa(), "pairs": self.pairs(), "reference": self.reference(), "model": self.sft()}
        return self.node("dpo", stage, inputs)

    def model(self, row: str) -> Node:
        """The checkpoint that a row of the table evaluates."""
        row = calibrated_row(self.run) if row == "calibrated" else row
        return {"sft": self.sft, "dpo": self.dpo}.get(row, self.base)()

    def mark(self, row: str, split: str) -> str:
        return row if split == self.run.eval_split else f"{row},{split}"

    def predict(self, row: str, split: str) -> Node:
        prompt = "allow-refusal" if row == "refusal-prompt" else "plain"
        stage = config.PredictStage(predict=self.run.predict, split=split, prompt=prompt)
        model = self.model(row)
        outside = rule_identity(model, self.run.base)
        return self.node("predict", stage, {**self.questions(), "model": model}, mark=self.mark(row, split), outside=outside)

    def refusal_logps(self, row: str, split: str) -> Node:
        refusals = self.run.risk.refusals or LEADING
        stage = config.RefusalLogpsStage(split=split, prompt="plain", refusals=refusals)
        return self.node("refusal_logps", stage, {**self.questions(), "model": self.model(row)}, mark=self.mark(row, split))

    def calibrate(self, row: str) -> Node:
        risk, split = self.run.risk, "align-val"
        stage = config.CalibrateStage(risk=risk, split=split, prompt="plain", refusals=risk.refusals or LEADING)
        return self.node("calibrate", stage, self.graded(row, split), mark=row)

    def graded(self, row: str, split: str) -> dict[str, Node]:
        """What responses with their scores are graded from."""
        return {**self.questions(), "predictions": self.predict(row, split), "refusal_logps": self.refusal_logps(row, split)}

    def score(self, row: str) -> Node:
        run, split = self.run, self.run.eval_split
        base = self.predict("base", split)
        inputs = {
            **self.questions(),
            "confidence": self.confidence(ALIGN if split in ALIGN else (split,)),
            "predictions": base if row == "threshold" else self.predict(calibrated_row(run) if row == "calibrated" else row, split),
            "base_predictions": base,
        }
        if row == "threshold":
            inputs["val_predictions"] = self.predict("base", "align-val")
        if row == "calibrated":
            system = calibrated_row(run)
            inputs |= {"refusal_logps": self.refusal_logps(system, split), "calibration": self.calibrate(system)}
        # what counts as mistaken decides training targets, not outcomes: recipes that differ in it share their scores
        boundary = replace(run.boundary, mistaken=None)
        stage = config.ScoreStage(score=run.score, boundary=boundary, row=row, split=split)
        return self.node("score", stage, inputs, mark=row)

    def benchmark_config(self, name: str) -> BenchmarkConfig:
        """Word noise reads the files of its benchmark, unless it is given its own."""
        given = self.run.benchmark
        return given.get(name) or given.get(files_of(name)) or BenchmarkConfig()

    def benchmark_data(self, name: str) -> Node:
        run, own = self.run, self.benchmark_config(name)
        stage = BenchmarkDataStage(
            benchmark=name,
            path=own.path,
            seed=own.seed,
            max_pixels=run.source.max_pixels,
            images_per_shard=run.source.images_per_shard,
        )
        if own.path == TINY:
            return self.node(
                "benchmark_data", replace(stage, tiny_images=own.tiny_images, split=run.eval_split), {"vqa": self.vqa()}, mark=name
            )
        return self.node("benchmark_data", stage, {}, mark=name, outside=benchmark_identity(Path(own.path)))

    def benchmark_predict(self, name: str, row: str) -> Node:
        """The stage `predict` on a benchmark's items, whose prompts are shown as they are."""
        if row == "threshold":
            return self.benchmark_predict(name, "base")
        own, predict = self.benchmark_config(name), self.run.predict
        if own.max_new_tokens:
            predict = replace(predict, max_new_tokens=own.max_new_tokens)
        stage = config.PredictStage(predict=predict, split="test", prompt="allow-refusal" if row == "refusal-prompt" else "plain")
        data, model = self.benchmark_data(name), self.model(row)
        inputs = {"vqa": data, "unsolvable": data, "model": model}
        return self.node("predict", stage, inputs, mark=f"{name},{row}", outside=rule_identity(model, self.run.base))

    def benchmark_score(self, name: str, row: str) -> Node:
        own = self.benchmark_config(name)
        stage = BenchmarkScoreStage(benchmark=name, seed=own.seed, score=self.run.score)
        inputs = {"data": self.benchmark_data(name), "predictions": self.benchmark_predict(name, row)}
        if row == "threshold":
            inputs["threshold"] = self.score(row)
        return self.node("benchmark_score", stage, inputs, mark=f"{name},{row}")


def benchmark_identity(folder: Path) -> dict[str, str]:
    """What of a benchmark's folder counts: as `folder_identity`, with every file as annotation whose name ends as those of data do."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in DATA_SUFFIXES and path.is_file()]
    return folder_identity(folder, *(path.relative_to(folder).as_posix() for path in found))


def folder_identity(folder: Path, *annotations: str) -> dict[str, str]:
    """What of a source outside the runs folder counts: the hashes of its annotation files, and one of the names, sizes and times of its
    images (hashing a million of them for a plan would take an hour). Absent files are left out; their stage reports them."""
    identity = {}
    for path in (folder / name for name in annotations):
        if path.is_file():
            with path.open("rb") as file:
                identity[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return {**identity, "images": digest.hexdigest()}


def shards_identity(parts: Mapping[str, str]) -> dict[str, str]:
    """One hash of the addresses of all shards, and of the sizes and times of those on this machine; what is wrong, `ingest` reports."""
    digest = hashlib.sha256()
    for part, pattern in parts.items():
        try:
            addresses = expand(pattern)
        except ValueError:
            addresses = [pattern]
        for address in addresses:
            path = Path(address)
            stat = path.stat() if not is_remote(address) and path.is_file() else None
            digest.update(f"{part}\0{address}\0{(stat.st_size, stat.st_mtime_ns) if stat else ''}\n".encode())
    return {"shards": digest.hexdigest()}


def checkpoint_identity(base: BaseConfig) -> dict[str, str]:
    """Names, sizes and times of a local checkpoint's files (hashing 15 GB for a plan would take a minute); empty for a hub id."""
    folder = Path(base.path)
    return folder_files(folder) if base.kind == "pretrained" and folder.is_dir() else {}


def folder_files(folder: Path) -> dict[str, str]:
    """Size and time of every file of a folder by name."""
    facts = {path.name: path.stat() for path in sorted(folder.iterdir()) if path.is_file() and path.name != CALIBRATION}
    return {name: f"{stat.st_size}-{stat.st_mtime_ns}" for name, stat in facts.items()}


def rule_identity(model: Node, base: BaseConfig) -> dict[str, str]:
    """The hash of the rule for refusing that was saved with a checkpoint (`make calibrate`), which `predict` honours; empty without one."""
    linked = model.stage == "base" and base.kind == "pretrained" and Path(base.path).is_dir()
    path = (Path(base.path) if linked else model.folder / "checkpoint") / CALIBRATION
    return {"calibration": hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else {}
