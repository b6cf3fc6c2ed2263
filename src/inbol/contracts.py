"""What one stage hands to the next: a frozen record type per hand-over. Standard library only.

Every record file is JSON-Lines named after the shard it came from (``align-train-000003.jsonl``), one record a line, keys sorted,
so that equal inputs give equal bytes. `to_json` and `from_json` are the only (de)serialisers.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

SCHEMA_VERSION = 1

LATER = {"later": True}
"""Marks a field that was added to a record type: it is written only where it is not the default, so that other records keep their bytes."""

SPLITS = ("pretrain", "align-train", "align-val", "test")
"""`pretrain` trains the base; `align-train` is probed and aligned on; `align-val` chooses thresholds and defaults; `test` is touched by the
final evaluation alone."""


class Boundary(StrEnum):
    """The decision about a question, for one model."""

    KNOWN = "KNOWN"
    UNKNOWN = "UNKNOWN"  # intrinsic boundary: the image shows it, the model does not know it
    MISTAKEN = "MISTAKEN"  # intrinsic too, but the samples agree on a wrong answer: an error to be corrected, not ignorance to be admitted
    BEYOND_IMAGE = "BEYOND_IMAGE"  # extrinsic boundary: no one can answer it from the image


class Outcome(StrEnum):
    """What became of a response; exactly one, refusal checked first."""

    CORRECT = "CORRECT"
    REFUSED = "REFUSED"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question about one image."""

    key: str
    """Unique in the source, no dots: `<image_key>-q03`."""
    image_key: str
    """Key of the image it asks about."""
    text: str
    """The question as shown to the model."""
    answers: tuple[str, ...] = ()
    """Accepted answers, most common first; empty exactly when the question is beyond the image."""
    answerable: bool = True
    """Extrinsic label: can anyone answer it from this image?"""
    kind: str = ""
    """Answerable: the source's question type (`yes/no`, `shape`, `color`). Otherwise one of `UNSOLVABLE_KINDS`."""
    wording: str = "seen"
    """`seen` wordings and templates occur in training splits, `unseen` ones in evaluation alone."""
    reason: str = ""
    """Why it cannot be answered; empty for answerable questions."""
    template: str = ""
    """Name of the template it was made from; the unit of generalisation for unsolvable questions."""


UNSHOWN = "unshown"
"""In a sample's `meta`: its picture only keeps its place in the shard, and the questions are asked about none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VqaSample:
    """One image and all that is asked about it: one WebDataset sample (`<key>.png` and `<key>.json`)."""

    key: str
    """Unique in the source, no dots, no slashes."""
    image: bytes
    """The encoded image as stored (PNG or JPEG); decoded late."""
    image_format: str
    """Extension of the image member: `png`, `jpg`, `jpeg` or `webp`."""
    split: str
    """One of `SPLITS`."""
    source: str
    """Name of the raw data set."""
    questions: tuple[Question, ...]
    """Answerable questions; unsolvable ones live in the `unsolvable` stage's records."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Facts for the report and for rules, never a model input: `level` (degradation), `shape`, `color`; and `UNSHOWN`."""


UNSOLVABLE_KINDS = ("false-premise", "context-dependent", "subjective", "vague", "other-modality")
"""MoHoBench's four kinds (arXiv 2507.21503), and MM-SAP's other-modality information (arXiv 2401.07529) as the kind held out of
training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseSet:
    """K independent samples of one model's answer to one question."""

    key: str
    """Question key."""
    image_key: str
    texts: tuple[str, ...]
    """[K] decoded responses, special tokens removed, stripped; fewer where sampling stopped early."""
    logprobs: tuple[float, ...]
    """[K] nats, summed over the response tokens, at temperature 1."""
    num_tokens: tuple[int, ...]
    """[K] response tokens, end-of-sequence included."""
    fresh_texts: tuple[str, ...] = ()
    """Further samples that never enter the confidence; they grade it (AUROC and ECE on a disjoint set)."""
    intended: int = 0
    """K, where sampling stopped early: the label could no longer change (`probing/stopping.py`), and the texts are the samples that had
    ended by then, no fair sample of the model. 0 where all K were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """How sure the model is, one number per estimator; `nan`-free, `None` where an estimator does not apply, and everywhere where sampling
    stopped early, which leaves nothing to estimate from but the bounds."""

    key: str
    image_key: str
    accuracy: float | None
    """Share of the K samples that are correct, in [0, 1]; None for questions beyond the image (nothing is correct)."""
    consistency: float | None
    """Share of the most frequent normalised answer, in [0, 1]."""
    entropy: float | None
    """Nats, of the empirical distribution over normalised answers (discrete semantic entropy with string clusters)."""
    logprob: float | None
    """Nats, mean over the K samples of the summed log-probability."""
    refused: float | None
    """Share of the K samples that already refuse, in [0, 1]."""
    fresh_accuracy: float | None = None
    """Share of the fresh samples that are correct; None when none were drawn."""
    accuracy_bounds: tuple[float, ...] = ()
    """(low, high), between which the accuracy of all K lies, where sampling stopped early on an answerable question; else empty."""
    agreement_bounds: tuple[float, ...] = ()
    """Likewise, of the share of the most frequent wrong answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model said to one further prompt about a question, or how probable it finds what it was given to say."""

    ask: str
    """Name of the ask (`probing/asks.py`)."""
    texts: tuple[str, ...]
    """Decoded responses, special tokens removed, stripped; or the continuations that were scored."""
    logprobs: tuple[float, ...]
    """Nats, summed over the tokens of each text, at temperature 1."""
    num_tokens: tuple[int, ...]
    """Tokens of each text, end-of-sequence included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the stage `probe` collected about one question; nothing beyond the image, where no confidence is asked for."""

    key: str
    """Question key."""
    image_key: str
    replies: tuple[Reply, ...] = ()
    """In the order of the asks; an ask with several prompts has a reply for each."""
    groups: tuple[int, ...] = ()
    """[K] which of the samples mean the same by entailment; empty where no entailment model was given."""
    state: str = ""
    """Hidden state that reaches the output head at the prompt's last token: float16, little endian, base64; empty where not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Scores of one question by estimator; larger is surer."""

    key: str
    """Question key."""
    image_key: str
    scores: dict[str, float]
    """By name (`probing/estimators/registry.py`), in the estimator's own unit; empty beyond the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a prompt says about how sure the model is: measured by sampling, or predicted from the question."""

    key: str
    """Question key."""
    image_key: str
    confidence: float
    """In [0, 1]; 0 beyond the image where it is measured."""
    entropy: float
    """Nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryLabel:
    """The decision with its reason."""

    key: str
    image_key: str
    label: Boundary
    confidence: float | None
    """The estimate the decision used; 0 for `BEYOND_IMAGE`; None where sampling stopped early and only its bounds are known."""
    evidence: str
    """One sentence: which rule, which number or bounds, which threshold."""

    def exact_confidence(self, use: str) -> float:
        """The confidence, for `use`. Raises ValueError where sampling stopped early."""
        if self.confidence is None:
            raise stopped_early(self.key, use)
        return self.confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class SftExample:
    """One supervised target."""

    key: str
    """Unique in the stage: `<question key>-a` (answer) or `-r` (refusal)."""
    image_key: str
    prompt: str
    """The question text; the chat template is applied at collation."""
    target: str
    """The response to learn, without special tokens."""
    weight: float
    """>= 0; multiplies this example's loss in the numerator and the denominator alike."""
    role: str
    """`answer` or `refusal`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """One refusal/answer preference."""

    key: str
    """Unique in the stage: `<question key>-p0`."""
    image_key: str
    prompt: str
    chosen: str
    rejected: str
    confidence: float
    """c in [0, 1], taken as the probability that the model is right if it answers: by default the share of the K samples that are correct
    (a base that already refuses is under-rated by it); 0 beyond the image."""
    answer_is_chosen: bool
    """True when `chosen` answers and `rejected` refuses; orients c for the soft losses."""
    weight: float = 1.0
    """>= 0; the share n/K of on-policy samples this pair stands for in the duplicated-pairs form, else 1."""
    role: str = "answerable"
    """`answerable` or `beyond-image`."""
    altered: str = field(default="", metadata=LATER)
    """Alteration of the image under which both sides are looked at as well (`sources/alter.py`); empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLogps:
    """Log-probabilities of a pair under the frozen reference, computed once."""

    key: str
    """Pair key."""
    chosen: float
    """Nats, summed over the response tokens."""
    rejected: float
    """Nats, summed over the response tokens."""
    altered_chosen: float | None = field(default=None, metadata=LATER)
    """Nats of the chosen side below the altered image; None for a pair without one."""
    altered_rejected: float | None = field(default=None, metadata=LATER)
    """Likewise, of the rejected side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A greedy response, kept raw."""

    key: str
    """Question key."""
    image_key: str
    text: str
    logprob: float
    """Nats, summed over the response tokens."""
    num_tokens: int
    """Response tokens, end-of-sequence included."""
    withheld: bool = False
    """The checkpoint's own `calibration.json` refuses this response, which then counts as a refusal; `text` is what was withheld."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalLogp:
    """How likely a refusal is, without generating one."""

    key: str
    """Question key."""
    image_key: str
    logprob: float
    """Nats: log of the summed probability of a fixed set of refusal texts, end-of-sequence included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """A prediction with its outcome and everything the tables group by: one line of `outcomes.jsonl`."""

    key: str
    image_key: str
    question: str
    """The question as shown to the model."""
    answers: tuple[str, ...]
    """Accepted answers; empty beyond the image."""
    answerable: bool
    kind: str
    wording: str
    template: str
    level: int
    """Degradation level of the image; 0 is undegraded."""
    outcome: Outcome
    base_outcome: Outcome
    """The base model's outcome on the same question."""
    confidence: float
    """The base model's confidence (accuracy of its K samples); 0 beyond the image."""
    fresh_accuracy: float | None
    logprob: float
    text: str
    base_text: str


def stopped_early(key: str, use: str) -> ValueError:
    """The refusal of a question that was not sampled to the end, by `use`, which needs it."""
    return ValueError(f"{key}: its sampling stopped early (sampling.stop=label), but {use} needs all K samples; set sampling.stop=never")


T = TypeVar("T")


def to_json(value: Any) -> str:
    """A record, or a plain value that holds records, as one line of JSON, keys sorted. Bytes are refused: images live in shards alone."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(value):
        raise TypeError(f"a record cannot hold a {type(value).__name__}")
    return {f.name: item for f in dataclasses.fields(value) for item in (getattr(value, f.name),) if not (f.metadata and item == f.default)}


def from_json(cls: type[T], line: str) -> T:
    """The record of type `cls` in `line`.

    Raises:
        ValueError: not JSON, not an object, a missing or an unknown field; the message names them.
    """
    try:
        raw = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON for {cls.__name__}: {error}: {line[:120]!r}") from None
    return from_dict(cls, raw)


def from_dict(cls: type[T], raw: Any) -> T:
    """The record of type `cls` with the values of `raw`; lists become tuples, strings become enums. Raises ValueError as `from_json`."""
    if not isinstance(raw, dict):
        raise ValueError(f"{cls.__name__} must be a JSON object, got {type(raw).__name__}")
    shape = _shape(cls)  # type: ignore[arg-type]
    if unknown := sorted(raw.keys() - shape.readers.keys()):
        raise ValueError(f"{cls.__name__} has no field {', '.join(unknown)}; fields are {', '.join(shape.readers)}")
    if missing := sorted(shape.required - raw.keys()):
        raise ValueError(f"{cls.__name__} lacks {', '.join(missing)}")
    return cls(**{name: read(value) if (read := shape.readers[name]) else value for name, value in raw.items()})


class _Shape(typing.NamedTuple):
    """What reading a record type needs to know, looked up once: there are millions of records."""

    readers: dict[str, Callable[[Any], Any] | None]
    """By field, what turns its JSON value into its own; None where they are the same."""
    required: frozenset[str]


@cache
def _shape(cls: type) -> _Shape:
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    required = frozenset(f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
    return _Shape({f.name: _reader(hints[f.name]) for f in fields}, required)


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    if typing.get_origin(hint) is tuple:
        item = _reader(typing.get_args(hint)[0])
        return lambda value: tuple(map(item, value) if item else value) if isinstance(value, list) else value
    if dataclasses.is_dataclass(hint):
        record = typing.cast(type, hint)
        return lambda value: from_dict(record, value) if isinstance(value, dict) else value
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return None
