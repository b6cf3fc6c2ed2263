"""Which stages a run consists of: pure, from a `RunConfig` to a list of nodes in topological order, each with its fingerprint and folder.

Every row of the recipe asks for its score, the score asks for predictions, and so on down to `ingest`; a stage that two rows ask for
with the same configuration is one node. What the nodes are made of is the table in `docs/` and the dataclasses of `inbol.config.stages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inbol.benchmarks.registry import BENCHMARKS, files_of
from inbol.config import stages as config
from inbol.config.benchmarks import TINY, BenchmarkConfig, BenchmarkDataStage, BenchmarkScoreStage
from inbol.config.identity import identity
from inbol.config.published import PUBLISHED
from inbol.config.run import RunConfig, is_trained, round_of
from inbol.config.serving import JudgeStage
from inbol.config.training import REFERENCE_FREE
from inbol.probing.estimators.registry import ESTIMATORS, asks_of
from inbol.probing.estimators.stable_explanations import EXPLAIN
from inbol.shards.manifest import fingerprint
from inbol.stages.registry import STAGES
from inbol.text.refusals import LEADING
from launch import features, on_policy
from launch import outside as sources
from launch.outside import checkpoint_identity, folder_files, folder_identity, published_identity, rule_identity, shards_identity
from launch.rows import calibrated_row, labels

FRESH = 10
"""Samples per question of the evaluated split that only grade the confidence."""
ALIGN = ("align-train", "align-val")


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
        self.rounds: dict[int, Node] = {}

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
        trained = {f"train:{row}": self.model(row) for row in rows if is_trained(row)}
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
        elif source.name in PUBLISHED:
            outside = published_identity(source)
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

    def sample(self, splits: tuple[str, ...], model: Node | None = None, mark: str = "") -> Node:
        fresh = splits != ALIGN and model is None
        # the confidences of the evaluated split are scored as they are
        sampling = replace(self.run.sampling, fresh=FRESH, stop="never") if fresh else self.run.sampling
        boundary = self.run.boundary if sampling.stop == "label" else None
        stage = config.SampleStage(sampling=sampling, splits=splits, seed=self.run.seed, boundary=boundary)
        mark = mark or (splits[0] if fresh else "")
        return self.node("sample", stage, {**self.questions(), "model": model or self.base()}, mark=mark)

    def confidence(self, splits: tuple[str, ...]) -> Node:
        mark = splits[0] if splits != ALIGN else ""
        return self.confidence_of(self.sample(splits), mark)

    def confidence_of(self, responses: Node, mark: str) -> Node:
        return self.node("confidence", config.ConfidenceStage(), {**self.questions(), "responses": responses}, mark=mark)

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
        return self.boundary_of(self.confidence(ALIGN), "")

    def boundary_of(self, confidence: Node, mark: str) -> Node:
        stage = config.BoundaryStage(boundary=self.run.boundary)
        inputs = {**self.questions(), "confidence": confidence}
        if (estimator := self.run.confidence.estimator) != "accuracy":
            inputs["estimates"] = self.estimate(ALIGN, (estimator,))
        return self.node("boundary", stage, inputs, mark=mark)

    def sft_data(self) -> Node:
        run = self.run
        stage = config.SftDataStage(sft_data=run.sft_data, boundary=run.boundary, seed=run.seed)
        drawn = {} if run.sft_data.answer == "gold" else {"responses": self.sample(ALIGN)}
        return self.node("sft_data", stage, {**self.questions(), **drawn, **features.measured(self), "boundary": self.boundary()})

    def sft(self) -> Node:
        run = self.run
        stage = config.SftStage(sft=run.sft, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
        return self.node("sft", stage, {"vqa": self.vqa(), "sft_data": self.sft_data(), "model": self.base()})

    def pairs(self, round_: int = 1) -> Node:
        """The pairs of a round: the first one's from samples of the base, a later one's from those of the round before it."""
        run, mark = self.run, _round(round_)
        stage = config.PairsStage(pairs=run.pairs, boundary=run.boundary, seed=run.seed)
        if round_ == 1:
            responses, boundary = self.sample(ALIGN), self.boundary()
        else:
            responses = self.sample(ALIGN[:1], self.dpo(round_ - 1), mark)
            boundary = self.boundary_of(self.confidence_of(responses, mark), mark)
        inputs = {**self.questions(), **features.measured(self), "responses": responses, "boundary": boundary}
        return self.node("pairs", stage, inputs, mark=mark)

    def reference(self, round_: int = 1) -> Node:
        stage = config.ReferenceStage(trees_per_batch=self.run.sampling.trees_per_batch)
        inputs = {"vqa": self.vqa(), "pairs": self.pairs(round_), "model": self.before(round_)}
        return self.node("reference", stage, inputs, mark=_round(round_))

    def dpo(self, round_: int = 1) -> Node:
        if round_ not in self.rounds:
            self.rounds[round_] = self.trained(round_)
        return self.rounds[round_]

    def trained(self, round_: int) -> Node:
        run = self.run
        stage = config.DpoStage(dpo=run.dpo, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
        against = {} if run.dpo.loss in REFERENCE_FREE else {"reference": self.reference(round_)}
        inputs = {"vqa": self.vqa(), "pairs": self.pairs(round_), **against, "model": self.before(round_)}
        return self.node("dpo", stage, inputs, mark=_round(round_))

    def before(self, round_: int) -> Node:
        """The checkpoint that a round of preference training begins from."""
        return self.sft() if round_ == 1 else self.dpo(round_ - 1)

    def model(self, row: str) -> Node:
        """The checkpoint that a row of the table evaluates."""
        row = self.system(row)
        round_ = round_of(row)
        if row == "grpo":
            return on_policy.grpo(self)
        return self.dpo(round_) if round_ else self.sft() if row == "sft" else self.base()

    def rule(self, model: Node) -> dict[str, str]:
        """Identity of the rule that was saved with the checkpoint of this node."""
        base = self.run.base
        linked = model.stage == "base" and base.kind == "pretrained" and Path(base.path).is_dir()
        return rule_identity(Path(base.path) if linked else model.folder / "checkpoint")

    def system(self, row: str) -> str:
        """The row whose model answers."""
        return calibrated_row(self.run) if row == "calibrated" else row

    def prompt(self, row: str) -> str:
        """The style in which a row is asked."""
        return "allow-refusal" if row == "refusal-prompt" else self.run.recipe.prompts.get(self.system(row), "plain")

    def mark(self, row: str, split: str) -> str:
        return row if split == self.run.eval_split else f"{row},{split}"

    def predict(self, row: str, split: str) -> Node:
        prompt = self.prompt(row)
        stage = config.PredictStage(predict=self.run.predict, split=split, prompt=prompt)
        inputs = {**self.questions(), **features.predicted(self, row, split), "model": self.model(row)}
        return self.node("predict", stage, inputs, mark=self.mark(row, split), outside=self.rule(inputs["model"]))

    def refusal_logps(self, row: str, split: str) -> Node:
        refusals = self.run.risk.refusals or LEADING
        stage = config.RefusalLogpsStage(split=split, prompt=self.prompt(row), refusals=refusals)
        return self.node("refusal_logps", stage, {**self.questions(), "model": self.model(row)}, mark=self.mark(row, split))

    def calibrate(self, row: str) -> Node:
        risk, split = self.run.risk, "align-val"
        stage = config.CalibrateStage(risk=risk, split=split, prompt=self.prompt(row), refusals=risk.refusals or LEADING)
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
        stage = config.ScoreStage(score=run.score, boundary=boundary, row=row, split=split, judge_decides=run.judge.decides)
        if run.judge.kind != "rules":  # where it decides, what is unjudged in one row is left out of all: rows stay comparable
            inputs |= {f"verdicts:{one}": self.judge(one) for one in ("base", *(run.recipe.rows if run.judge.decides else (row,)))}
        return self.node("score", stage, inputs, mark=row)

    def benchmark_config(self, name: str) -> BenchmarkConfig:
        """Word noise reads the files of its benchmark, unless it is given its own."""
        given = self.run.benchmark
        return given.get(name) or given.get(files_of(name)) or BenchmarkConfig()

    def judge(self, row: str, benchmark: str = "", inputs: Mapping[str, Node] | None = None) -> Node:
        """The judge's verdicts on the responses of a row's system, or those to a benchmark in `inputs`."""
        run, split = self.run, "test" if benchmark else self.run.eval_split
        row = row if benchmark else {"threshold": "base"}.get(row, self.system(row))
        inputs = inputs or {**self.questions(), "predictions": self.predict(row, split)}
        stage = JudgeStage(judge=run.judge, split=split, benchmark=benchmark, bootstrap=run.score.bootstrap, seed=run.score.seed)
        return self.node("judge", stage, inputs, mark=f"{benchmark},{row}".lstrip(","))

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
        return self.node("benchmark_data", stage, {}, mark=name, outside=sources.benchmark_identity(Path(own.path)))

    def benchmark_predict(self, name: str, row: str) -> Node:
        """The stage `predict` on a benchmark's items, whose prompts are shown as they are."""
        if row == "threshold":
            return self.benchmark_predict(name, "base")
        own, predict = self.benchmark_config(name), self.run.predict
        if own.max_new_tokens:
            predict = replace(predict, max_new_tokens=own.max_new_tokens)
        stage = config.PredictStage(predict=predict, split="test", prompt=self.prompt(row))
        data, model = self.benchmark_data(name), self.model(row)
        inputs = {"vqa": data, "unsolvable": data, "model": model}
        return self.node("predict", stage, inputs, mark=f"{name},{row}", outside=self.rule(model))

    def benchmark_score(self, name: str, row: str) -> Node:
        own = self.benchmark_config(name)
        stage = BenchmarkScoreStage(benchmark=name, seed=own.seed, score=self.run.score)
        inputs = {"data": self.benchmark_data(name), "predictions": self.benchmark_predict(name, row)}
        if row == "threshold":
            inputs["threshold"] = self.score(row)
        if self.run.judge.kind != "rules" and hasattr(BENCHMARKS[name], "judged"):
            inputs["verdicts"] = self.judge(row, name, dict(inputs))
            stage = replace(stage, judge_decides=self.run.judge.decides)
        return self.node("benchmark_score", stage, inputs, mark=f"{name},{row}")


def _round(number: int) -> str:
    return f"round {number}" if number > 1 else ""
