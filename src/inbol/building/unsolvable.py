"""Questions beyond the image, by rule, with exact labels: MoHoBench's kinds (arXiv 2507.21503) in the world of one coloured shape.

False premises ask about a shape or a colour that the image lacks, in the very wordings of answerable questions, so that only the image
decides. The other kinds come from `templates`. Training splits meet `seen` wordings and templates of the kinds that are not held out;
evaluation splits meet `unseen` templates of every kind, and false premises in both wordings.
"""

from __future__ import annotations

import random
import re
from functools import cache
from typing import Any

import numpy as np

from inbol.building.templates import SEEN, UNSEEN
from inbol.contracts import SPLITS, UNSOLVABLE_KINDS, Question, VqaSample
from inbol.sources.wordings import COLORS, SHAPES, Group, all_wordings, reword
from inbol.sources.wordings_text import ORIGINAL

PICTURE_NOUNS = ("image", "picture", "drawing")
FALSE_PREMISE = "false-premise"
REWORDED = 0.75
"""Share of the training false premises that are reworded: with fewer, the refusal sticks to the data set's own three sentences."""


def make_unsolvable(
    sample: VqaSample, *, split: str, false_premises: int, others: int, held_out: tuple[str, ...], seed: int
) -> tuple[Question, ...]:
    """The questions beyond one image; the draw depends on (seed, image key) alone.

    Args:
        sample: its `meta` gives `shape` and `color`; an image of which both are unknown gets no false premise.
        split: `align-train`, `align-val` or `test`.
        false_premises: number of false premises, as far as there are distinct ones.
        others: number of questions of the other kinds, drawn evenly over them.
        held_out: kinds that `align-train` does not get.
        seed: seed of the draw.

    Raises:
        ValueError: a split without unsolvable questions, or an unknown kind in `held_out`.
    """
    if split not in SPLITS or split == "pretrain":
        raise ValueError(f"split: {split!r} gets no unsolvable questions; it must be one of {', '.join(SPLITS[1:])}")
    if unknown := set(held_out) - set(UNSOLVABLE_KINDS):
        raise ValueError(f"held_out: {sorted(unknown)} are not kinds; kinds are {', '.join(UNSOLVABLE_KINDS)}")
    training = split == "align-train"
    rng = random.Random(f"unsolvable:{seed}:{sample.key}")
    shape, color = str(sample.meta.get("shape", "")), str(sample.meta.get("color", ""))
    drafts: list[dict[str, Any]] = []
    if not (training and FALSE_PREMISE in held_out):
        drafts += _false_premises(shape, color, false_premises, training, rng)
    drafts += _others(shape, color, others, held_out if training else (), training, rng)
    return tuple(
        Question(key=f"{sample.key}-u{number:02d}", image_key=sample.key, answerable=False, **draft) for number, draft in enumerate(drafts)
    )


def _false_premises(shape: str, color: str, count: int, training: bool, rng: random.Random) -> list[dict[str, Any]]:
    """Absent colours asked for their shape, and absent shapes for their colour, in turn."""
    absent = {
        "what-shape-of-color": [c for c in COLORS if c != color] if color else [],
        "what-color-of-shape": [s for s in SHAPES if s != shape] if shape else [],
    }
    for values in absent.values():
        rng.shuffle(values)
    meanings = [meaning for meaning, values in absent.items() if values]
    rng.shuffle(meanings)
    drafts: list[dict[str, Any]] = []
    while meanings and len(drafts) < count:
        meaning = meanings[len(drafts) % len(meanings)]
        value = absent[meaning].pop()
        slot = "color" if meaning == "what-shape-of-color" else "shape"
        text, template, wording = _premise(meaning, slot, value, training, rng)
        drafts.append(
            {
                "text": text,
                "kind": FALSE_PREMISE,
                "wording": wording,
                "reason": f"the image has no {value} shape" if slot == "color" else f"the image has no {value}",
                "template": template,
            }
        )
        meanings = [m for m in meanings if absent[m]]
    return drafts


def _premise(meaning: str, slot: str, value: str, training: bool, rng: random.Random) -> tuple[str, str, Group]:
    """(text, template, wording) of a false premise, reworded as often as answerable questions are, half of the time in evaluation."""
    text = rng.choice(ORIGINAL[meaning]).format(**{slot: value})
    wording: Group = "seen"
    reworder = np.random.default_rng(rng.getrandbits(63))
    if rng.random() < (REWORDED if training else 0.5):
        wording = "seen" if training else "unseen"
        text = reword(text, group=wording, rng=reworder)
    number = _numbers(wording, meaning)[re.sub(rf"\b{value}\b", f"{{{slot}}}", text)]
    return text, f"{FALSE_PREMISE}-{meaning}-{wording}-{number:03d}", wording


@cache
def _numbers(wording: Group, meaning: str) -> dict[str, int]:
    """Number of each wording template of a meaning."""
    return {template: n for n, template in enumerate(all_wordings(wording)[meaning])}


def _others(shape: str, color: str, count: int, without: tuple[str, ...], training: bool, rng: random.Random) -> list[dict[str, Any]]:
    """Template questions; every kind comes up once before any comes up again, and no template twice."""
    templates, wording = (SEEN, "seen") if training else (UNSEEN, "unseen")
    kinds = [kind for kind in templates if kind not in without]
    rng.shuffle(kinds)
    left = {kind: rng.sample(range(len(templates[kind])), len(templates[kind])) for kind in kinds}
    names = ["shape", "shape", "figure", *([shape] if shape else []), *([f"{color} shape"] if color else [])]
    drafts: list[dict[str, Any]] = []
    while kinds and len(drafts) < count:
        kind = kinds[len(drafts) % len(kinds)]
        number = left[kind].pop()
        text, reason = templates[kind][number]
        drafts.append(
            {
                "text": text.format(s=rng.choice(names), p=rng.choice(PICTURE_NOUNS)),
                "kind": kind,
                "wording": wording,
                "reason": reason,
                "template": f"{kind}-{wording}-{number:02d}",
            }
        )
        kinds = [k for k in kinds if left[k]]
    return drafts
