"""Which samples mean the same: groups from a relation "a entails b", taken in both directions (arXiv 2302.09664).

The default relation, equality after normalisation, needs no groups of its own (`text.match.cluster`). With an entailment model the samples
are put to it in both directions; one that matches the first member of a group joins it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inbol.text.match import REFUSAL_CLUSTER, cluster

Entails = Callable[[Sequence[tuple[str, str]]], list[bool]]
"""From (premise, hypothesis) pairs to whether the first entails the second."""


def entailment_groups(texts: Sequence[str], question: str, entails: Entails) -> tuple[int, ...]:
    """[K] group numbers. Samples that normalise to the same words are one group without asking, and so are all refusals. Texts are put to
    the model behind their question, and in alphabetical order, so that the order of the samples plays no part."""
    names = [cluster(text, question) for text in texts]
    said = {name: f"{question} {text}" for name, text in sorted(zip(names, texts, strict=True), reverse=True)}
    distinct = sorted(name for name in said if name != REFUSAL_CLUSTER)
    pairs = [(a, b) for a in distinct for b in distinct if a != b]
    follows = dict(zip(pairs, entails([(said[a], said[b]) for a, b in pairs]), strict=True)) if pairs else {}
    heads: list[str] = []
    group: dict[str, int] = {}
    for name in distinct:
        group[name] = next((n for n, head in enumerate(heads) if follows[head, name] and follows[name, head]), len(heads))
        if group[name] == len(heads):
            heads.append(name)
    return tuple(group.get(name, len(heads)) for name in names)
