"""Wordings: the meaning stays, seen and unseen sentences are disjoint, unseen words are known."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from inbol.sources.wordings import COLORS, SHAPES, Meaning, all_wordings, answer, parse, reword, with_premise
from inbol.sources.wordings_text import ORIGINAL

SENTENCES = [
    (name, template.format(color=color, shape=shape), color, shape)
    for name, templates in ORIGINAL.items()
    for template in templates
    for color, shape in itertools.product(COLORS, SHAPES)
]


def _words(templates: tuple[str, ...]) -> set[str]:
    return {word for template in templates for word in re.findall(r"[a-z{}]+", template)}


def test_there_are_the_24_templates_of_the_data_set() -> None:
    assert sum(map(len, ORIGINAL.values())) == 24


@pytest.mark.parametrize("name", list(ORIGINAL))
def test_there_are_many_wordings_of_each_meaning_with_varied_openings(name: str) -> None:
    seen, unseen = all_wordings("seen")[name], all_wordings("unseen")[name]
    assert len(set(seen)) == len(seen) >= 25
    assert len(set(unseen)) == len(unseen) >= 6
    assert len({wording.split()[0] for wording in seen}) >= 6
    assert len({wording.split()[0] for wording in unseen}) >= 2
    for wording in seen + unseen:
        assert len(wording.split()) <= 12, wording
        assert wording[-1] in "?.", wording
        assert wording == wording.lower() == " ".join(wording.split()), wording


def test_no_sentence_is_in_both_groups_or_in_two_classes() -> None:
    sentences = [wording for group in ("seen", "unseen") for templates in all_wordings(group).values() for wording in templates]
    assert len(sentences) > 250
    assert len(set(sentences)) == len(sentences)


def test_every_unseen_word_is_known_from_the_seen_wordings() -> None:
    known = _words(tuple(itertools.chain(*all_wordings("seen").values())))
    assert _words(tuple(itertools.chain(*all_wordings("unseen").values()))) <= known


def test_rewording_keeps_the_answer_for_every_template_colour_and_shape() -> None:
    rng = np.random.default_rng(0)
    assert len(SENTENCES) == 24 * 24
    for group, (name, text, _, _) in itertools.product(("seen", "unseen"), SENTENCES):
        meaning = parse(text)
        words = reword(text, group=group, rng=rng)
        assert words != text
        assert (meaning.name, parse(words)) == (name, meaning), (text, words)
        for color, shape in (("red", "circle"), ("teal", "triangle")):
            assert answer(parse(words), color=color, shape=shape) == answer(meaning, color=color, shape=shape)


@pytest.mark.parametrize(
    ("text", "meaning", "kind", "reply"),
    [
        ("what shape is present?", Meaning("what-shape"), "shape", "circle"),
        ("what is the red shape?", Meaning("what-shape-of-color", color="red"), "shape", "circle"),
        ("what is the color of the circle?", Meaning("what-color-of-shape", shape="circle"), "color", "red"),
        ("is a teal shape present?", Meaning("has-color", color="teal"), "yes/no", "no"),
        ("is no teal shape present?", Meaning("no-color", color="teal"), "yes/no", "yes"),
        ("is there not a circle?", Meaning("no-shape", shape="circle"), "yes/no", "no"),
        ("is a circle missing?", Meaning("no-shape", shape="circle"), "yes/no", "no"),
        ("does the image lack a blue object?", Meaning("no-color", color="blue"), "yes/no", "yes"),
    ],
)
def test_meanings_and_answers_for_a_red_circle(text: str, meaning: Meaning, kind: str, reply: str) -> None:
    assert parse(text) == meaning
    assert parse(text).kind == kind
    assert answer(meaning, color="red", shape="circle") == reply


def test_a_drawn_wording_belongs_to_its_group() -> None:
    rng = np.random.default_rng(1)
    for group in ("seen", "unseen"):
        wordings = {w for templates in all_wordings(group).values() for w in templates}
        for _, text, color, shape in SENTENCES[::7]:
            template = re.sub(rf"\b{color}\b", "{color}", reword(text, group=group, rng=rng)).replace(shape, "{shape}")
            assert template in wordings, template


def test_another_question_is_refused() -> None:
    with pytest.raises(ValueError, match="how many shapes"):
        reword("how many shapes are there?", group="seen", rng=np.random.default_rng(0))


def test_a_true_premise_changes_the_wording_class_and_not_the_answer() -> None:
    for name, named in (
        ("what-shape", Meaning("what-shape-of-color", color="red")),
        ("what-color", Meaning("what-color-of-shape", shape="circle")),
    ):
        premised = with_premise(Meaning(name), color="red", shape="circle")
        assert premised == named
        assert answer(premised, color="red", shape="circle") == answer(Meaning(name), color="red", shape="circle")
        assert with_premise(Meaning(name), color="", shape="") == Meaning(name)
    asked = Meaning("has-color", color="blue")
    assert with_premise(asked, color="red", shape="circle") == asked
