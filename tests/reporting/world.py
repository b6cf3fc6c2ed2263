"""A synthetic world of score folders: made-up outcomes with known rates, written as the score stage writes them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from inbol.contracts import UNSOLVABLE_KINDS, Graded, Outcome, Question, VqaSample
from inbol.evaluation.scores import score
from inbol.reporting.load import System
from inbol.shards.files import write_records, write_text

C, R, W = Outcome.CORRECT, Outcome.REFUSED, Outcome.WRONG
TEXTS = {C: "circle", R: "I do not know.", W: "square"}


def outcomes(name: str, seed: int, *, images: int = 40) -> list[Graded]:
    """Outcomes of the system `name`: `base` answers everything, `plain` too and better, others refuse below c = .4 and beyond the image."""
    world = np.random.default_rng([7, seed])
    own = np.random.default_rng([sum(map(ord, name)), seed])
    rows = []
    for i in range(images):
        level = i % 4
        for q in range(8):
            answerable = q < 5
            c = round(float(np.clip(world.normal(0.95 - 0.2 * level, 0.25), 0, 1)), 1)
            base = C if answerable and world.random() < c else W
            if name == "base":
                outcome = base
            elif name == "plain":
                outcome = C if base is C or (answerable and own.random() < 0.1) else W
            elif answerable:
                outcome = R if c < 0.4 or own.random() < 0.04 else base
            else:
                outcome = R if own.random() < 0.93 else W
            kind = "shape" if q % 2 else "color"
            rows.append(
                Graded(
                    key=f"img{i:03d}-q{q}",
                    image_key=f"img{i:03d}",
                    question="what <b>shape</b> is in the image?" if answerable else "what is it thinking of?",
                    answers=("circle",) if answerable else (),
                    answerable=answerable,
                    kind=kind if answerable else UNSOLVABLE_KINDS[(i + q) % 5],
                    wording="unseen" if q == 4 or not answerable else "seen",
                    template="" if answerable else f"t{q}",
                    level=level,
                    outcome=outcome,
                    base_outcome=base,
                    confidence=c if answerable else 0.0,
                    fresh_accuracy=round(float(np.clip(c + world.normal(0, 0.1), 0, 1)), 1) if answerable else None,
                    logprob=float(np.log(np.clip(c + world.normal(0, 0.3), 0.05, 1))),
                    text=TEXTS[outcome],
                    base_text=TEXTS[base],
                )
            )
    return rows


def write_scores(folder: Path, graded: list[Graded], *, manifest: bool = True) -> Path:
    """A score folder as the stage leaves it."""
    scores = score(graded, tau=0.5, held_out={"other-modality"}, resamples=20, seed=0)
    scores["split"], scores["row"] = "test", "base"
    write_records(folder / "outcomes.jsonl", graded)
    write_text(folder / "scores.json", json.dumps(scores))
    if manifest:
        write_text(folder / "manifest.json", json.dumps({"fingerprint": f"f-{folder.name}", "git_revision": "abc123"}))
    return folder


def write_history(folder: Path, *, dpo: bool, seed: int) -> Path:
    """A training folder's log."""
    rng = np.random.default_rng(seed)
    lines = [{"step": s, "loss": 2 / (1 + s / 20) + 0.3 * rng.random(), "learning_rate": 1e-4} for s in range(10, 110, 10)]
    if dpo:
        lines = [
            {**line, "rewards/accuracies": 0.6 + line["step"] / 400, "rewards/margins": line["step"] / 50 + rng.random()} for line in lines
        ]
    write_text(folder / "log_history.json", json.dumps([*lines, {"train_runtime": 3.0}]))
    return folder


def make_systems(root: Path, names: dict[str, str], *, seeds: int, images: int = 40) -> list[System]:
    """Score folders and logs for systems by label."""
    systems = []
    for name, label in names.items():
        runs = tuple(write_scores(root / f"{name}-{s}", outcomes(name, s, images=images)) for s in range(seeds))
        trained = name not in ("base", "threshold", "refusal-prompt")
        logs = (
            tuple(write_history(root / f"train-{name}-{s}", dpo="dpo" in name, seed=sum(map(ord, name)) + s) for s in range(seeds))
            if trained
            else ()
        )
        systems.append(System(name=name, label=label, runs=runs, train_logs=logs))
    return systems


def vqa_samples(images: int = 40) -> list[VqaSample]:
    """The images of the world: flat squares of different greys."""
    samples = []
    for i in range(images):
        buffer = io.BytesIO()
        pixels = np.full((64, 64, 3), 230, dtype=np.uint8)
        pixels[16:48, 16:48] = np.random.default_rng(i).integers(0, 255, size=3)
        Image.fromarray(pixels).save(buffer, format="PNG")
        key = f"img{i:03d}"
        question = Question(key=f"{key}-q0", image_key=key, text="what shape is in the image?", answers=("circle",), kind="shape")
        samples.append(VqaSample(key=key, image=buffer.getvalue(), image_format="png", split="test", source="fake", questions=(question,)))
    return samples
