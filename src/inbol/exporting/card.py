"""A model card in the Hugging Face form: front matter, data, method, settings, metrics with intervals, limits, licences, provenance.

It is made from a finished run and never stands in `checkpoint/`: the checkpoint is hashed by its stage's manifest before its scores exist,
and a run that takes it as its base knows it by its files. The card goes to the run folder, or with a copy of the model to one of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.exporting.folder import write_folder
from inbol.exporting.template import CARD
from inbol.shards.manifest import read_manifest
from inbol.text.masking import masked

LICENCES = {
    "easy-vqa": "easy-VQA: MIT.",
    "vqav2": "VQAv2: CC BY 4.0; its images are COCO's, under Flickr's terms and their authors' licences.",
    "gqa": "GQA: see https://cs.stanford.edu/people/dorarad/gqa; its images are Visual Genome's.",
    "a-okvqa": "A-OKVQA: see https://github.com/allenai/aokvqa; its images are COCO's, under Flickr's terms and their authors' licences.",
    "vizwiz": "VizWiz-VQA: see https://vizwiz.org/tasks-and-datasets/vqa/; its photographs were taken by blind people and shared by them.",
    "vqav2-idk": "VQAv2-IDK: BSD-3-Clause for its files, CC BY 4.0 for VQAv2's questions; its images are COCO's.",
}
OWN_DATA = "The data are the user's own: their licence is not known here."
SFT = {
    "soft": "CA-SFT: the answer with weight c and a refusal with weight 1 - c, c being the confidence (this project's own).",
    "threshold": "IDK-IT: the answer where the model knows it, else a refusal (R-Tuning, arXiv 2311.09677; arXiv 2412.11196).",
    "plain": "Plain SFT: gold answers, no refusals (the control).",
    "extrinsic": "SFT on answers, and on refusals of what is beyond the image, whatever the model knows (MoHoBench, arXiv 2507.21503).",
    "verb": "SFT on answers in five degrees of confidence, a refusal at c = 0 (Alignment for Honesty, arXiv 2312.07000).",
    "suffix": "SFT on the gold answer, and whether the model is sure of it (R-Tuning, arXiv 2311.09677).",
    "levels": "SFT on answers and refusals at levels of boldness named in the prompt (Idk-HIR, arXiv 2401.13275).",
}
DPO = {
    "hard": "DPO (arXiv 2305.18290) on refusal/answer pairs.",
    "soft": "CA-DPO, soft labels: per-pair label smoothing by the confidence (this project's own form).",
    "weight": "CA-DPO, weights |2c - 1|^gamma (this project's own form).",
    "margin": "CA-DPO, margin by the confidence, after ODPO (arXiv 2402.10571; this project's own form).",
    "regression": "CA-DPO, regression to a confidence target (this project's own form).",
    "simpo": "SimPO (arXiv 2405.14734) on refusal/answer pairs.",
    "orpo": "ORPO's odds ratio (arXiv 2403.07691) on refusal/answer pairs.",
    "mdpo": "mDPO (arXiv 2406.11839) on refusal/answer pairs and an altered image.",
    "v-dpo": "V-DPO (arXiv 2411.02712) on refusal/answer pairs and an altered image.",
}
GRPO = {
    "outcome": "On-policy GRPO (arXiv 2402.03300), rewarded by outcome (TruthRL, arXiv 2509.25760; beyond the image this project's own).",
    "model": "On-policy GRPO (arXiv 2402.03300) against the score of a reward model that was trained on refusal/answer pairs.",
}
METRICS = {
    "answerable": ("T0", "T0 - base", "Acc", "RefR", "Wrong"),
    "trust": ("T1 50/50", "T1 50/50 - base"),
    "unsolvable": ("RefR",),
    "over-refusal": ("c>=.8", "base right"),
}
"""Metrics of the card by slice of `scores.json`; what a score does not have is left out. docs/metrics.md defines them."""
WORK = ("log_steps", "save_steps", "trees_per_batch", "micro_batch", "row_tokens")
"""Settings that only say how the work was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A trained model of a finished run."""

    row: str
    """`sft`, `dpo`, `dpo-2` (after the second round), ... or `base`."""
    run: str
    folder: Path
    """The stage's folder, with `checkpoint/`."""
    inputs: Mapping[str, Path]
    """Folders of `ingest`, `sft_data`, `pairs`, `sft` and `base`, as far as the run has them."""
    score: Path | None
    """The folder of its score, if there is one."""
    config: Mapping[str, Any]
    """The run's whole configuration, as `resolved.yaml` has it."""

    @property
    def kind(self) -> str:
        """`sft`, `dpo` or `base`."""
        return self.row.partition("-")[0]


def export_model(out: Path, model: Model) -> tuple[bool, dict[str, Any]]:
    """Copy the checkpoint to `out` with its card as README.md; returns and raises as `write_folder`."""
    text = card_text(model)

    def fill(folder: Path) -> dict[str, Any]:
        for path in sorted((model.folder / "checkpoint").iterdir()):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, folder / path.name)
        (folder / "README.md").write_text(text, encoding="utf-8")
        return {"row": model.row, "run": model.run}

    parents = {model.row: read_manifest(model.folder)["fingerprint"]}
    return write_folder(out, "model", {"card": hashlib.sha256(text.encode()).hexdigest()}, parents, fill)


def card_text(model: Model) -> str:
    """The card, front matter and all.

    Raises:
        ValueError: a folder of the run that is not complete, or a front matter that the hub would not read.
    """
    from huggingface_hub import ModelCard, ModelCardData  # here, because the other commands start without it

    manifest = read_manifest(model.folder)
    scores = read_scores(model.score)
    source = model.config["source"]["name"]
    data = ModelCardData(
        model_name=f"{model.run}-{model.row}",
        base_model=hub_id(model.config["base"]),
        datasets=[source],
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=tags(model, manifest),
        metrics=[name for name, *_ in metric_rows(scores)] or None,
        eval_results=results(scores, source) or None,
    )
    card = ModelCard.from_template(data, template_str=CARD, **sections(model, manifest, scores))
    again = ModelCard(str(card))  # parses the front matter as the hub does
    if again.data.to_dict() != data.to_dict():
        raise ValueError(f"{model.folder}: its model card does not read back as it was written")
    return str(card)


def read_scores(folder: Path | None) -> dict[str, Any] | None:
    """`scores.json` of a score folder."""
    return None if folder is None else dict(json.loads((folder / "scores.json").read_text(encoding="utf-8")))


def metric_rows(scores: Mapping[str, Any] | None) -> list[tuple[str, float, float | None, float | None, int]]:
    """(name, value, low, high, n) of the metrics that the card shows, of those that the score has."""
    rows = []
    for part, names in METRICS.items() if scores else ():
        for name in names:
            found = scores["slices"].get(part, {}).get(name) if scores else None
            if found and found["value"] is not None:
                rows.append((f"{name} ({part})", found["value"], found.get("low"), found.get("high"), found["n"]))
    return rows


def results(scores: Mapping[str, Any] | None, source: str) -> list[Any]:
    """The metrics in the hub's form, interval and n among their arguments."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="visual-question-answering",
            dataset_type=source,
            dataset_name=source,
            dataset_split=(scores or {})["split"],
            metric_type=name,
            metric_value=round(value, 6),
            metric_args={"interval_95": [None if bound is None else round(bound, 6) for bound in (low, high)], "n": n},
        )
        for name, value, low, high, n in metric_rows(scores)
    ]


def tags(model: Model, manifest: Mapping[str, Any]) -> list[str]:
    """Tags of the hub."""
    trained = {"dpo": ["dpo", "trl"], "sft": ["sft", "trl"], "grpo": ["grpo", "trl"]}.get(model.kind, [])
    lora = ["lora"] if manifest["config"].get("peft", {}).get("kind") == "lora" else []
    return ["visual-question-answering", "abstention", "refusal", "inbol-recipes", *trained, *lora]


def hub_id(base: Mapping[str, Any]) -> str | None:
    """Id of the base on the hub; None for one of this machine, or trained from scratch."""
    path = base.get("path") or ""
    on_hub = base["kind"] == "pretrained" and path.count("/") == 1 and not Path(path).is_absolute() and not Path(path).exists()
    return path if on_hub and not path.startswith(".") else None


def sections(model: Model, manifest: Mapping[str, Any], scores: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the template is filled with."""
    config = model.config
    source, base = config["source"]["name"], config["base"]
    manifests = {name: read_manifest(folder) for name, folder in model.inputs.items()}
    chain = {print_: name for name, print_ in manifest["parents"].items()} | {one["fingerprint"]: name for name, one in manifests.items()}
    label = config["recipe"].get("labels", {}).get(model.row, model.row)
    scratch = "a small model trained from scratch by the same recipe"
    local = f"a checkpoint of the trainer's own machine (revision {base.get('revision', 'unknown')})"
    return {
        "title": f"{label} of {config['recipe']['name']}, scale {config['scale']}, seed {config['seed']}",
        "label": label,
        "purpose": config["recipe"]["purpose"],
        "base": hub_id(base) or (scratch if base["kind"] != "pretrained" else local),
        "source": source,
        "images": facts(manifests, "ingest", "images"),
        "left_out": facts(manifests, "ingest", "questions_left_out"),
        "examples": facts(manifests, "sft_data", "examples_by_role"),
        "labels": facts(manifests, "sft_data", "questions_by_label"),
        "pairs": facts(manifests, "pairs", "pairs_by_role") if model.kind == "dpo" else "",
        "method": method(model, config),
        "settings": settings(manifest, config, model.kind),
        "metrics": [(name, f"{value:.4f}", interval(low, high), n) for name, value, low, high, n in metric_rows(scores)],
        "split": scores["split"] if scores else "",
        "interval": scores["interval"] if scores else "",
        "held_out": ", ".join(scores.get("held_out", ())) if scores else "",
        "licence": LICENCES.get(source, OWN_DATA),
        "run": model.run,
        "fingerprint": manifest["fingerprint"],
        "chain": ", ".join(f"{name} `{print_}`" for print_, name in sorted(chain.items(), key=lambda pair: pair[1])),
        "revision": manifest.get("git_revision") or "unknown",
        "packages": ", ".join(f"{name} {version}" for name, version in manifest["packages"].items() if version),
        "weights": sorted((name, one["sha256"]) for name, one in manifest["files"].items() if name.endswith(".safetensors")),
    }


def method(model: Model, config: Mapping[str, Any]) -> list[str]:
    """A sentence for every training the model went through, with the source of its loss."""
    lines = []
    if model.kind in ("sft", "dpo", "grpo"):
        name = config["sft_data"]["method"]
        lines.append(SFT.get(name, f"SFT on data of the method `{name}`; docs/recipes.md of the code has its source."))
    if model.kind == "dpo":
        name = config["dpo"]["loss"]
        lines.append(DPO.get(name, f"Preference training with the loss `{name}`; docs/recipes.md of the code has its source."))
        if config["dpo"].get("anchor"):
            lines.append(f"An NLL anchor on the preferred response, factor {config['dpo']['anchor']}.")
    if model.kind == "grpo":
        lines.append(GRPO[config["grpo"]["reward"]])
    if model.kind != "base" and config.get("features"):
        lines.append(
            "It is asked with confidence and entropy behind the question (UAlign, arXiv 2412.11803), in the form of text/features.py."
        )
    if model.kind != model.row:
        lines.append(f"Round {model.row.partition('-')[2]} of preference training, on pairs of its own samples.")
    return lines or ["The base alone: no refusals were taught."]


def settings(manifest: Mapping[str, Any], config: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    """(key, value) of the settings that decide what was trained: those of the stage, and of the data it was given."""
    parts = {**masked(manifest["config"])}
    if parts.get("peft", {}).get("kind") == "full":
        parts["peft"] = {name: parts["peft"][name] for name in ("kind", "freeze_vision_tower") if name in parts["peft"]}
    if kind != "base":
        parts |= masked({name: config[name] for name in ("sampling", "boundary", "sft_data")})
    if kind == "dpo":
        parts |= masked({"pairs": config["pairs"], "sft": config["sft"]})
    parts["base"] = {"kind": config["base"]["kind"]}  # its path may be one of a machine
    return sorted((key, value) for key, value in flat(parts) if key.rpartition(".")[2] not in WORK)


def flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of nested mappings."""
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in flat(inner, f"{path}.{key}".lstrip("."))]
    return [(path, value)]


def facts(manifests: Mapping[str, Mapping[str, Any]], stage: str, name: str) -> str:
    """Counts of a stage as one line; empty without them."""
    counts = manifests.get(stage, {}).get("facts", {}).get(name) or {}
    return ", ".join(f"{key} {count:,}" for key, count in counts.items())


def interval(low: float | None, high: float | None) -> str:
    """Bounds as text."""
    return "n/a" if low is None or high is None else f"[{low:.4f}, {high:.4f}]"
