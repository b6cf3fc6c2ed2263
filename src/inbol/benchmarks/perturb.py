"""Word-level perturbation as a probe: do the decisions to answer or refuse survive a misspelling?

After TREvaL (arXiv 2309.11166): misspelling, swapping or a synonym at `words / degree` positions, degree 3, 5 or 10; what is graded is the
response against the clean question. TREvaL scores by a reward model; here a flip is counted: of refuse/answer, and of right/wrong. Its
synonyms come from a masked language model; ours from a short list, so that nothing is downloaded and no answer changes with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from inbol.benchmarks.base import Benchmark, BenchmarkItem, Grade
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Floats, Measure, Ratio
from inbol.sources.seeding import stream

KINDS = ("misspelling", "swapping", "synonym")
DEGREES = (3, 5, 10)
DEGREE = 5
"""Where none is named."""
SHORTEST = 4
"""Letters of the shortest word that is misspelt; a slip in `is` or `red` makes another word."""

_GROUPS = (
    ("picture", "image", "photo"), ("color", "colour"), ("shape", "form"), ("shown", "displayed", "depicted"), ("visible", "seen"),
    ("big", "large"), ("small", "little"), ("street", "road"), ("car", "automobile"), ("bike", "bicycle"), ("building", "structure"),
    ("kid", "child"), ("kids", "children"), ("person", "human"), ("many", "numerous"), ("near", "close to"), ("correct", "right"),
    ("start", "begin"), ("contain", "include"), ("contains", "includes"), ("object", "thing"), ("objects", "things"), ("kind", "type"),
    ("wearing", "dressed in"), ("holding", "carrying"), ("beside", "next to"), ("below", "beneath"),
)  # fmt: skip
SYNONYMS: dict[str, tuple[str, ...]] = {word: tuple(other for other in group if other != word) for group in _GROUPS for word in group}
_WORD = re.compile(r"^(\W*)([\w'-]+)(\W*)$")


def word_noise(text: str, kind: str, degree: int, rng: np.random.Generator) -> str:
    """`text` with max(1, words // degree) of its words perturbed; all blanks stay, and so do placeholders such as `<image 1>`.

    The text comes back as it is where no word can be: too short to misspell, no two neighbours to swap, no synonym known.

    Args:
        kind: `misspelling` (two inner letters exchanged, one left out, or one doubled), `swapping` (two neighbours) or `synonym`.
        degree: every how many words one is perturbed, at least 1.

    Raises:
        ValueError: unknown kind, or a degree below 1.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} is not one of {', '.join(KINDS)}")
    if degree < 1:
        raise ValueError(f"degree: {degree} is below 1")
    parts = re.split(r"(<[^<>]*>|\s+)", text)
    places = [i for i, part in enumerate(parts) if part.strip() and not part.startswith("<")]
    count = max(1, len(places) // degree)
    if kind == "swapping":
        return "".join(_swapped(parts, places, count, rng))
    change = _misspelt if kind == "misspelling" else _synonym
    done = 0
    for index in rng.permutation(len(places)):
        place = places[index]
        if done < count and (other := change(parts[place], rng)) is not None:
            parts[place] = other
            done += 1
    return "".join(parts)


def _swapped(parts: list[str], places: list[int], count: int, rng: np.random.Generator) -> list[str]:
    """`count` pairs of unlike neighbours exchanged, no word twice."""
    taken: set[int] = set()
    for index in rng.permutation(max(len(places) - 1, 0)):
        pair = {int(index), int(index) + 1}
        a, b = places[index], places[index + 1]
        if len(taken) >= 2 * count:
            break
        if pair & taken or parts[a] == parts[b]:
            continue
        (before_a, word_a, after_a), (before_b, word_b, after_b) = _pieces(parts[a]), _pieces(parts[b])
        parts[a], parts[b] = f"{before_a}{word_b}{after_a}", f"{before_b}{word_a}{after_b}"
        taken |= pair
    return parts


def _pieces(part: str) -> tuple[str, str, str]:
    """A word with the marks around it, which stay where they are."""
    found = _WORD.match(part)
    return (found[1], found[2], found[3]) if found else ("", part, "")


def _misspelt(part: str, rng: np.random.Generator) -> str | None:
    before, word, after = _pieces(part)
    if len(word) < SHORTEST or not word.isalpha():
        return None
    slips = [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]
    way = int(rng.integers(3)) if slips else 1
    at = slips[int(rng.integers(len(slips)))] if slips else int(rng.integers(1, len(word) - 1))
    changed = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
    )[way]
    return f"{before}{changed}{after}"


def _synonym(part: str, rng: np.random.Generator) -> str | None:
    before, word, after = _pieces(part)
    others = SYNONYMS.get(word.lower())
    if not others:
        return None
    other = others[int(rng.integers(len(others)))]
    return f"{before}{other.capitalize() if word[0].isupper() else other}{after}"


def noisy_questions(questions: Sequence[str], kind: str, degree: int, *, seed: int) -> list[str]:
    """The questions with word noise; what is drawn for one depends on its text and the seed alone."""
    return [word_noise(text, kind, degree, stream(seed, "word-noise", kind, str(degree), text)) for text in questions]


@dataclass
class WordNoise:
    """A benchmark asked clean and with noise in its questions."""

    inner: Benchmark
    kind: str = "misspelling"
    degree: int = DEGREE
    seed: int = 0
    name: str = field(init=False)
    """`vqa+misspelling-5`."""

    def __post_init__(self) -> None:
        word_noise("", self.kind, self.degree, np.random.default_rng(0))
        self.name = f"{self.inner.name}+{self.kind}-{self.degree}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return (
            f"Word noise ({self.kind}, 1 word in {self.degree}, seed {self.seed}) in the question; instructions and options stay.",
            "Each question is asked clean and noisy; responses to both are graded against the clean question.",
            *getattr(self.inner, "notes", ()),
        )

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """Every item, followed by its noisy copy; an item with no word to perturb has none, and `perturbed` counts it."""
        out = []
        for item in self.inner.read(folder):
            out.append(item)
            if (prompt := self._noisy(item)) != item.prompt:
                gold = {**item.gold, "noise_of": item.key}
                out.append(replace(item, key=f"{item.key}-noisy", prompt=prompt, group=item.group or item.key, gold=gold))
        return out

    def _noisy(self, item: BenchmarkItem) -> str:
        """The prompt with noise in the question where `gold` holds it, else in all of it."""
        question = item.gold.get("question")
        if not isinstance(question, str) or not question or question not in item.prompt:
            question = item.prompt
        (noisy,) = noisy_questions([question], self.kind, self.degree, seed=self.seed)
        return item.prompt.replace(question, noisy, 1)

    def file_notes(self, folder: Path) -> list[str]:
        """As the benchmark's own."""
        own = getattr(self.inner, "file_notes", None)
        return list(own(folder)) if own else []

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """As the benchmark grades it, against the clean question."""
        return self.inner.grade(item, response)

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """`perturbed`, the share of questions with a noisy copy, and the flips of `flip_rates` over the copies.

        Raises:
            ValueError: a copy without its clean item, or a benchmark whose grades say neither `refused` nor `correct` nor `accuracy`.
        """
        values = {item.key: grades[item.key].values for item in items}
        copies = np.array(["noise_of" in item.gold for item in items])
        clean_of = [item.gold.get("noise_of", item.key) for item in items]
        if lonely := [key for key in clean_of if key not in values]:
            raise ValueError(f"{self.name}: {lonely[0]!r} has a noisy copy and no clean item; grade whole questions")
        pairs = [(values[clean], values[item.key]) for item, clean in zip(items, clean_of)]
        clean = (~copies).astype(np.float64)
        noisy = {key for key, copy in zip(clean_of, copies) if copy}
        has = np.array([item.key in noisy for item in items], dtype=np.float64)
        return {"perturbed": Measure((Ratio(has * clean, clean),), n=int(clean.sum())), **flip_rates(pairs, copies.astype(np.float64))}

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """The benchmark's own files; the noise is drawn when they are read."""
        self.inner.write_tiny(samples, folder, seed=seed)


def flip_rates(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], where: Floats) -> dict[str, Measure]:
    """Flips between the findings about a clean and a noisy question.

    `flip refuse/answer`, and of its two ways `answer->refuse` (of those answered clean) and `refuse->answer` (of those refused clean);
    `flip correct`, `right->wrong`, `wrong->right`; `drop` of a graded `accuracy`.

    Args:
        pairs: [N] (clean, noisy) findings with `refused`, `correct` or `accuracy`.
        where: [N] weights, 1 for pairs that count and 0 for others.

    Raises:
        ValueError: findings with none of the three.
    """
    names = set(pairs[0][0]) if pairs else set()
    if pairs and not names & {"refused", "correct", "accuracy"}:
        raise ValueError(
            f"word noise needs grades that say refused, correct or accuracy; these say {', '.join(sorted(names)) or 'nothing'}"
        )
    out: dict[str, Measure] = {}
    flips = {
        "refused": ("flip refuse/answer", "answer->refuse", "refuse->answer"),
        "correct": ("flip correct", "wrong->right", "right->wrong"),
    }
    for name, (either, there, back) in flips.items():
        if name in names:
            before = np.array([bool(clean[name]) for clean, _ in pairs], dtype=np.float64)
            after = np.array([bool(noisy[name]) for _, noisy in pairs], dtype=np.float64)
            out[either] = _mean(np.abs(before - after), where)
            out[there] = _mean(after, where * (1 - before))
            out[back] = _mean(1 - after, where * before)
    if "accuracy" in names:
        drop = np.array([float(clean["accuracy"]) - float(noisy["accuracy"]) for clean, noisy in pairs])
        out["drop"] = _mean(drop, where)
    return out


def _mean(top: Floats, weight: Floats) -> Measure:
    return Measure((Ratio(top * weight, weight),), n=int(weight.sum()))
