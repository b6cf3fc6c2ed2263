"""Refusals: the wordings that training uses, and the detector that recognises these and most others.

The wordings begin with many different words, so that a refusal is not one decision token; none begins with a word that is also an answer.
Their weights are uneven on purpose: greedy decoding compares single tokens, and a refusal whose probability is spread evenly over
twenty first tokens would lose to any answer.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache

from inbol.text.normalise import plain

_LEADING = 5.0
_WORDINGS: tuple[tuple[str, float], ...] = (
    ("I cannot tell from the image.", _LEADING),
    ("I do not know.", _LEADING),
    ("I cannot say from this picture.", _LEADING),
    ("I am not able to tell.", _LEADING),
    ("I am not sure.", _LEADING),
    ("Sorry, I cannot say.", 1.0),
    ("Sorry, I do not know.", 1.0),
    ("That is not shown here.", 1.0),
    ("That cannot be told from the image.", 1.0),
    ("It is not clear from the image.", 1.0),
    ("This cannot be determined from the picture.", 1.0),
    ("Unfortunately, the image does not say.", 1.0),
    ("There is no way to tell.", 1.0),
    ("The image does not show that.", 1.0),
    ("The picture does not tell.", 1.0),
    ("Unable to tell from this image.", 1.0),
    ("Nobody could know that from this picture.", 1.0),
    ("Impossible to know from the image.", 1.0),
    ("You cannot see that in the image.", 1.0),
    ("Nothing in the image answers that.", 1.0),
    ("Honestly, I do not know.", 1.0),
    ("Hard to say from this image alone.", 1.0),
)
WORDINGS = tuple(wording for wording, _ in _WORDINGS)
"""Every plain refusal."""
LEADING = tuple(wording for wording, weight in _WORDINGS if weight == _LEADING)
"""Those that training uses most, for which log P(refusal) is computed."""

# These claim that the image lacks the answer; where the model is the one that does not know, they would be untrue.
_ABOUT_THE_IMAGE = frozenset(
    {
        "That is not shown here.",
        "Unfortunately, the image does not say.",
        "The image does not show that.",
        "The picture does not tell.",
        "Nobody could know that from this picture.",
        "You cannot see that in the image.",
        "Nothing in the image answers that.",
    }
)

_SHAPES = ("circle", "rectangle", "triangle")
_COLORS = ("red", "green", "blue", "black", "gray", "teal", "brown", "yellow")

REASONS: dict[str, tuple[str, ...]] = {
    "unknown": ("I am not sure enough", "I cannot see it well enough", "I could only guess"),
    "false-premise": (
        *(f"the image has no {shape}" for shape in _SHAPES),
        *(f"the image has no {color} shape" for color in _COLORS),
        "the question assumes what is not there",
    ),
    "context-dependent": (
        "the picture does not say who made it",
        "the picture does not say where it is from",
        "the picture does not show other times",
        "the picture does not say what it is for",
    ),
    "subjective": ("it is a matter of taste", "it is a matter of opinion", "people feel differently about it"),
    "vague": ("it is not clear what is meant", "there is nothing to compare it with", "the picture has no scale"),
    "other-modality": (
        "a picture has no sound",
        "a picture has no smell",
        "a picture has no taste",
        "a picture has no weight",
        "a picture has no temperature",
        "a picture cannot be touched",
    ),
}
"""Reasons by kind; `unknown` is the intrinsic boundary, the others are the kinds of unsolvable questions."""


def refusal(kind: str, *, with_reason: bool, rng: random.Random, reason: str = "") -> str:
    """A refusal wording drawn from `rng`, with its reason appended where asked for.

    Args:
        kind: `unknown` (the image shows it, the model does not know) or one of `UNSOLVABLE_KINDS`.
        with_reason: append `, because ...`.
        rng: source of the draw; the same number of draws whatever the arguments.
        reason: the question's own reason; empty draws one of the kind's.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in REASONS:
        raise ValueError(f"kind: {kind!r} has no refusal; known kinds are {', '.join(REASONS)}")
    entries = [(w, p) for w, p in _WORDINGS if kind != "unknown" or w not in _ABOUT_THE_IMAGE]
    wording = rng.choices([w for w, _ in entries], weights=[p for _, p in entries])[0]
    drawn = rng.choice(REASONS[kind])
    return _append(wording, reason or drawn) if with_reason else wording


def all_refusals(*, with_reasons: bool = True) -> tuple[str, ...]:
    """Every refusal that training can ask for: the plain wordings, then each wording with each reason."""
    reasons = [reason for of_kind in REASONS.values() for reason in of_kind] if with_reasons else []
    return (*WORDINGS, *(_append(wording, reason) for wording in WORDINGS for reason in reasons))


def say_refusals() -> tuple[str, ...]:
    """Refusals for an even draw of "say:" exercises, with repeats: two in three plain, one in three with a reason."""
    reasons = sum(len(of_kind) for of_kind in REASONS.values())
    return WORDINGS * (2 * reasons) + all_refusals()[len(WORDINGS) :]


def _append(wording: str, reason: str) -> str:
    return f"{wording.rstrip('.')}, because {reason.rstrip('.')}."


_VERBS = (
    "determined?|tell|told|say|said|answer(?:ed)?|know|known|provide|identify|identified|judged?|infer|inferred|assist|help|verify|"
    "confirm|decided?|discern(?:ed)?|ascertain(?:ed)?|specify|conclude|be (?:sure|certain)|make (?:it )?out|guess"
)
_INFORMATION = "information|context|details?|evidence|clues?"
# Saying that one cannot: a refusal also after a leading "no".
_INABILITY = re.compile(
    r"\b(?:"
    rf"(?:cannot|could not|unable to|(?:not|never) (?:able|possible|feasible) to|impossible (?:for \w+ )?to|no way (?:to|of)|"
    rf"(?:hard|difficult|challenging|tricky) (?:for \w+ )?to) (?:be )?(?:\w+ly )?(?:{_VERBS})"
    r"|cannot see (?:that|this|it|enough)"
    r"|(?:cannot|not possible|impossible|unable)$"
    r"|do not (?:really |actually )?know"
    r"|do not have (?:\w+ )?(?:\w+ )?(?:information|knowledge|ability|context|access)"
    rf"|does not (?:\w+ly )?(?:say|tell|reveal|specify|indicate|state|mention|answer|(?:show|provide|contain|give|include) "
    rf"(?:that$|this$|it$|enough|sufficient|(?:\w+ )?(?:\w+ )?(?:{_INFORMATION})))"
    rf"|(?:no|not enough|insufficient|lacks?|lack of|without more) (?:\w+ )?(?:{_INFORMATION})"
    r"|no idea"
    r"|(?:nobody|no one|none) (?:can|could|would|will) (?:\w+ly )?(?:know|tell|say|answer)"
    r"|nothing in the (?:image|picture|photo) (?:answers|tells|says|shows)"
    r"|unanswerable|not answerable|undeterminable|indeterminable"
    r"|as an ai|beyond (?:the scope|my knowledge|what)"
    r"|matter of (?:opinion|taste|personal)|(?:is|are) subjective|false premise"
    r")\b"
)
# Weaker signs: not after a leading yes or no, which answers.
_SIGN = re.compile(
    r"\b(?:"
    r"sorry|apologi[sz]e|apologies|unfortunately"
    r"|not (?:clear|clearly|visible|shown|given|stated|specified|provided|mentioned|known|depicted|discernible|applicable)"
    r"|unknown|unclear|ambiguous"
    r"|(?:does|do|did) not (?:show|contain|include) (?:that|this|it|any answer|the answer)\b(?! is\b)"
    r")\b"
)
# Saying that one is unsure: a refusal unless an answer stands beside it.
_HEDGE = re.compile(r"\b(?:not (?:\w+ly |too |quite |so |at all )?(?:sure|certain)|unsure|uncertain)\b")
_COMMITS = re.compile(r"\b(?:but|however|probably|perhaps|maybe|possibly|likely|i (?:would )?(?:think|believe|guess)|my (?:best )?guess)\b")
_OFFER = re.compile(r"^(?:i can|i could|i would be|feel free|please|if you|you|let me|we)\b")
_LEADING_ANSWER = re.compile(r"^(?:yes|no)\b(?! (?:one|idea|way|clue|answer|information))")


@lru_cache(maxsize=65536)
def is_refusal(text: str, question: str) -> bool:
    """True when `text` declines to answer `question`.

    A phrase list, not a model: inability ("cannot be determined", "there is no way to tell"), signs ("I'm sorry", "not visible") and
    uncertainty ("not sure"). Phrases that occur in the question are ignored (they are echoed, arXiv 2312.07000), and a hedge that
    still commits to an answer ("I am not sure, but it looks red") is no refusal.
    """
    said, asked = plain(text), f" {plain(question)} "
    answers_first = _LEADING_ANSWER.match(said) is not None
    patterns = (_INABILITY,) if answers_first else (_INABILITY, _SIGN, _HEDGE)

    def declines(part: str) -> bool:
        return any(f" {m.group()} " not in asked for p in patterns for m in p.finditer(part))

    if not declines(said):
        return False
    # "Unsure: it is red." An answer before a mere hedge counts; an image description before an inability does not.
    before, _, after = said.partition(" but ")
    if after and not declines(before) and not any(p.search(after) for p in (_INABILITY, _SIGN)):
        return False
    for marker in _COMMITS.finditer(said):
        head, rest = said[: marker.start()], said[marker.end() :].strip()
        if declines(head) and rest and not declines(rest) and not _OFFER.match(rest):
            return False
    return True
