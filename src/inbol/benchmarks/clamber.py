"""CLAMBER (arXiv 2405.12063): does a question need clarifying? Text only.

Every line of `clamber_benchmark.jsonl` is a JSON string that holds JSON:

    "{\\"question\\": \\"Give me ...\\", \\"context\\": \\"\\", \\"clarifying_question\\": \\"...\\", \\"require_clarification\\": 1,
      \\"category\\": \\"MC\\", \\"subclass\\": \\"whom\\", \\"predict_ambiguous\\": 0, ...}\\n"

The fields `predict_*` are left-over predictions of another model; nothing here reads them. The released file has 3,202 records, 1,601 of
each side; the paper's abstract says about 12,000. The prompt is ours; the form of the answer is that of the left-over predictions,
`{"Output": "True", "Confidence": 4}`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Floats, Measure, Ratio
from inbol.shards.files import write_text
from inbol.sources.seeding import stream
from inbol.text.match import leading_yes_no
from inbol.text.normalise import normalise

FILE = "clamber_benchmark.jsonl"
LEVELS = 5
"""A confidence of k out of five counts as the probability k / 5 of having answered right."""
PUBLISHED = {
    ("FD", "ICL"): (200, 200), ("FD", "NK"): (200, 200), ("LA", "co-reference"): (200, 200), ("LA", "polysemy"): (200, 200),
    ("MC", "what"): (201, 0), ("MC", "when"): (200, 0), ("MC", "where"): (200, 0), ("MC", "whom"): (200, 0), ("MC", "none"): (0, 801),
}  # fmt: skip
"""(ambiguous, clear) records of the released file by category and subclass."""
PROMPT = (
    "Does this question need a clarifying question before it can be answered?\n{context}Question: {question}\n"
    'Reply in the form {{"Output": "True" or "False", "Confidence": 1 to 5}}, where True means that it is ambiguous.'
)
_OUTPUT = re.compile(r"[\"']?output[\"']?\s*:\s*[\"']?(true|false)", re.I)
_CONFIDENCE = re.compile(r"[\"']?confidence[\"']?\s*:\s*[\"']?([1-5])\b", re.I)


@dataclass(frozen=True, slots=True)
class ClamberRecord:
    """One question."""

    question: str
    context: str
    ambiguous: bool
    category: str
    """`FD` epistemic misalignment, `LA` linguistic, `MC` aleatoric output."""
    subclass: str


def read_records(path: Path) -> list[ClamberRecord]:
    """The records in the order of the file, decoded twice; a line that is an object already is taken as it is.

    Raises:
        BenchmarkDataMissing: there is no such file.
        ValueError: a line that cannot be understood, such as one that was cut; names file, line and field.
    """
    if not path.is_file():
        raise BenchmarkDataMissing(f"{path} is not there; download {FILE} from github.com/zt991211/CLAMBER into the folder {path.parent}")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):  # splitlines would cut inside texts
        if line.strip():
            records.append(_record(_twice(line, f"{path}:{number}"), f"{path}:{number}"))
    if not records:
        raise ValueError(f"{path}: holds no records")
    return records


def _twice(line: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
        value = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON in a JSON string ({error}); is the download whole?") from None
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: holds {type(value).__name__}, expected an object")
    return value


def _record(raw: Mapping[str, Any], where: str) -> ClamberRecord:
    for name in ("question", "category", "subclass"):
        if not isinstance(raw.get(name), str) or not raw[name].strip():
            raise ValueError(f"{where}: {name} is {raw.get(name)!r}, expected a text")
    if raw.get("require_clarification") not in (0, 1):
        raise ValueError(f"{where}: require_clarification is {raw.get('require_clarification')!r}, expected 0 or 1")
    context = raw.get("context") or ""
    return ClamberRecord(raw["question"], str(context), bool(raw["require_clarification"]), raw["category"], raw["subclass"])


def counts(records: Sequence[ClamberRecord]) -> dict[tuple[str, str], tuple[int, int]]:
    """(ambiguous, clear) records by category and subclass, as `PUBLISHED`."""
    found = Counter((r.category, r.subclass, r.ambiguous) for r in records)
    return {(c, s): (found[c, s, True], found[c, s, False]) for c, s in sorted({(c, s) for c, s, _ in found})}


def read_verdict(response: str) -> tuple[bool | None, int | None]:
    """(ambiguous?, confidence of 1 to 5) as a response states them; None for what it does not state.

    Without an `Output`, a leading true, false, yes or no counts.
    """
    confidence = _CONFIDENCE.search(response)
    level = int(confidence[1]) if confidence else None
    if output := _OUTPUT.search(response):
        return output[1].lower() == "true", level
    words = [{"true": "yes", "false": "no"}.get(word, word) for word in normalise(response).split()]
    said = leading_yes_no(words)
    return (None if said is None else said == "yes"), level


class Clamber:
    """The benchmark; its folder holds `clamber_benchmark.jsonl`."""

    name = "clamber"
    notes = (
        "Positive is ambiguous. A response without a verdict is wrong, and counts as saying that the question is clear.",
        "ECE over the five stated levels, level k as probability k/5, where both verdict and level are stated; the mapping is ours. Its "
        "interval keeps the sign of each level's gap, as a linear approximation.",
    )

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """One item a record; no picture."""
        return [
            BenchmarkItem(
                key=f"clamber-{index:05d}",
                image=None,
                prompt=PROMPT.format(context=f"Context: {record.context}\n" if record.context.strip() else "", question=record.question),
                group=f"clamber-{index:05d}",
                gold={
                    "question": record.question,
                    "ambiguous": record.ambiguous,
                    "category": record.category,
                    "subclass": record.subclass,
                },
            )
            for index, record in enumerate(read_records(folder / FILE))
        ]

    def file_notes(self, folder: Path) -> list[str]:
        """Whether the file has the records of the released one."""
        found = counts(read_records(folder / FILE))
        total = sum(a + b for a, b in found.values())
        expected = sum(a + b for a, b in PUBLISHED.values())
        if found == PUBLISHED:
            return [f"{FILE}: the released {total:,} records."]
        return [f"{FILE}: {total:,} records, NOT the released file, which has {expected:,}; not comparable with it."]

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """`ambiguous` as the response says (None where it does not), `correct`, and `confidence`, 1 to 5 or None."""
        said, level = read_verdict(response)
        return Grade(key=item.key, values={"ambiguous": said, "correct": said == item.gold["ambiguous"], "confidence": level})

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """`accuracy`, also by category and subclass; `precision`, `recall` and `F1` of ambiguous; `unparsed`; `ECE`, `Brier` and
        `stated confidence` of the stated confidence."""
        values = [grades[item.key].values for item in items]
        due = np.array([item.gold["ambiguous"] for item in items], dtype=np.float64)
        said = np.array([bool(v["ambiguous"]) for v in values], dtype=np.float64)
        right = np.array([v["correct"] for v in values], dtype=np.float64)
        unparsed = np.array([v["ambiguous"] is None for v in values], dtype=np.float64)
        every = np.ones(len(items))
        out = {"accuracy": _ratio(right, every)}
        for name in ("category", "subclass"):
            of = np.array([item.gold[name] for item in items])
            for one in sorted(set(of.tolist())):
                out[f"accuracy/{name}={one}"] = _ratio(right, (of == one).astype(np.float64))
        f1 = Measure((Ratio(2 * said * due, said + due),), n=len(items))
        out |= {"precision": _ratio(due, said), "recall": _ratio(said, due), "F1": f1, "unparsed": _ratio(unparsed, every)}
        level = np.array([v["confidence"] or 0 for v in values], dtype=np.float64)
        stated = (level > 0) & (unparsed == 0)
        out["stated confidence"] = _ratio(level / LEVELS, stated.astype(np.float64))
        out["Brier"] = _ratio((level / LEVELS - right) ** 2, stated.astype(np.float64))
        out["ECE"] = _calibration_error(level, right, stated.astype(np.float64))
        return out

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """Double-encoded lines: the samples' own questions are clear, the same without what they name are ambiguous."""
        lines = []
        for sample in samples:
            for question in [q for q in sample.questions if q.answerable][:2]:
                ambiguous = bool(stream(seed, "clamber", question.key).integers(2))
                text = "what about it?" if ambiguous else question.text
                record = {
                    "question": text,
                    "context": "",
                    "clarifying_question": "What do you mean by it?" if ambiguous else "",
                    "require_clarification": int(ambiguous),
                    "category": "LA" if ambiguous else "MC",
                    "subclass": "co-reference" if ambiguous else "none",
                    "predict_ambiguous": 0,
                    "predict_is_ambiguous_response": '{"Output": "False", "Confidence": 4}',
                    "predict_clarifying_question": "",
                }
                lines.append(json.dumps(json.dumps(record) + "\n") + "\n")
        write_text(folder / FILE, "".join(lines))


def _ratio(top: Floats, weight: Floats) -> Measure:
    return Measure((Ratio(top * weight, weight),), n=int(weight.sum()))


def _calibration_error(level: Floats, right: Floats, stated: Floats) -> Measure:
    """sum over levels of |share right - k/5|, weighted by how often the level is stated; each gap enters with its sign over all items."""
    signed = np.zeros(len(level))
    for one in range(1, LEVELS + 1):
        gap = (right - one / LEVELS) * (level == one) * stated
        signed += gap * (1.0 if gap.sum() >= 0 else -1.0)
    return Measure((Ratio(signed, stated),), n=int(stated.sum()))
