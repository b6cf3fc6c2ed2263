"""Word noise: what it changes, what it leaves, and flips by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbol.benchmarks.base import BenchmarkItem, Grade
from inbol.benchmarks.mub import SYSTEM_CHOICE, Mub
from inbol.benchmarks.perturb import DEGREES, KINDS, SYNONYMS, WordNoise, flip_rates, noisy_questions, word_noise
from tests.benchmarks.mub_world import record, write

TEXT = "what colour is the large building near the station in this picture right now?"
TEXTS = st.text("abcé图 \t\n<>?'-1_", max_size=40)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def differing(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a.split(), b.split(), strict=True))


def test_misspelling_touches_its_share_of_the_words() -> None:
    """14 words: 4 at degree 3, 2 at degree 5, 1 at degree 10; every changed word differs by one slip."""
    assert len(TEXT.split()) == 14
    for degree, count in zip(DEGREES, (4, 2, 1)):
        noisy = word_noise(TEXT, "misspelling", degree, rng(degree))
        assert differing(TEXT, noisy) == count
        for a, b in zip(TEXT.split(), noisy.split()):
            assert abs(len(a) - len(b)) <= 1 and a[0] == b[0] and a[-1] == b[-1]


def test_swapping_moves_words_and_leaves_marks() -> None:
    """Words are the same as before, the question mark stays at the end, one pair at degree 10 moves two neighbours."""
    for degree, count in zip(DEGREES, (4, 2, 1)):
        noisy = word_noise(TEXT, "swapping", degree, rng(degree))
        assert sorted(re.findall(r"\w+", noisy)) == sorted(re.findall(r"\w+", TEXT)) and noisy.endswith("?")
        assert differing(TEXT, noisy) == 2 * count


def test_synonyms_come_from_the_list() -> None:
    """colour, large, building, near and picture are known: degree 3 takes four of them."""
    noisy = word_noise("Picture " + TEXT, "synonym", 3, rng())
    changed = [(a, b) for a, b in zip(("Picture " + TEXT).split(), noisy.replace("close to", "close-to").split()) if a != b]
    assert len(changed) == 5
    for a, b in changed:
        assert b.strip("?").replace("close-to", "close to").lower() in SYNONYMS[a.strip("?").lower()]


@pytest.mark.parametrize(
    ("text", "kind"), [("is it red?", "misspelling"), ("red", "swapping"), ("red red", "swapping"), ("is it?", "synonym")]
)
def test_what_cannot_be_perturbed_stays(text: str, kind: str) -> None:
    assert word_noise(text, kind, 3, rng()) == text


@settings(max_examples=60)
@given(TEXTS, st.sampled_from(KINDS), st.sampled_from(DEGREES), st.integers(0, 9))
def test_placeholders_and_blanks_stay_whatever_the_text(text: str, kind: str, degree: int, seed: int) -> None:
    text = f"{text} <image 1> {text}"
    noisy = word_noise(text, kind, degree, rng(seed))
    assert noisy.count("<image 1>") == text.count("<image 1>")
    if kind != "synonym":  # some synonyms are two words
        assert [len(b) for b in re.findall(r"\s+", noisy)] == [len(b) for b in re.findall(r"\s+", text)]


def test_noise_depends_on_seed_and_text_alone() -> None:
    questions = [TEXT, "does this picture contain a green triangle?"]
    first = noisy_questions(questions, "misspelling", 5, seed=1)
    assert first == noisy_questions(questions[::-1], "misspelling", 5, seed=1)[::-1]
    assert first != noisy_questions(questions, "misspelling", 5, seed=2)


def test_unknown_kind_and_degree() -> None:
    with pytest.raises(ValueError, match="kind: 'typo' is not one of misspelling, swapping, synonym"):
        WordNoise(Mub(), kind="typo")
    with pytest.raises(ValueError, match="degree: 0 is below 1"):
        word_noise("a", "swapping", 0, rng())


def test_flips_by_hand() -> None:
    """Pairs (clean, noisy) of (refused, correct): AA right to right, AR right to refused, RA refused to right, AA right to wrong; a fifth
    does not count. Flip refuse/answer 2/4, answer->refuse 1/3, refuse->answer 1/1; flip correct: 2nd, 3rd, 4th of 4; right->wrong 2/3;
    wrong->right 1/1."""
    right, wrong, refused = ({"refused": r, "correct": c} for r, c in ((False, True), (False, False), (True, False)))
    pairs = [(right, right), (right, refused), (refused, right), (right, wrong), (wrong, refused)]
    found = flip_rates(pairs, np.array([1.0, 1, 1, 1, 0]))
    assert {name: (m.value, m.n) for name, m in found.items()} == {
        "flip refuse/answer": (2 / 4, 4),
        "answer->refuse": (1 / 3, 3),
        "refuse->answer": (1.0, 1),
        "flip correct": (3 / 4, 4),
        "right->wrong": (2 / 3, 3),
        "wrong->right": (1.0, 1),
    }
    drop = flip_rates([({"accuracy": 1.0}, {"accuracy": 0.3}), ({"accuracy": 0.0}, {"accuracy": 0.3})], np.ones(2))
    assert drop["drop"].value == pytest.approx(0.2)
    with pytest.raises(ValueError, match="needs grades that say refused, correct or accuracy; these say letter"):
        flip_rates([({"letter": "A"}, {"letter": "B"})], np.ones(1))


def test_a_benchmark_with_noise(tmp_path: Path) -> None:
    """Noise is in the question alone: not in the instruction, the note or the options. The grade is that of the clean question."""
    probe = WordNoise(Mub(), kind="misspelling", degree=3, seed=4)
    assert probe.name == "mub+misspelling-3" and "misspelling, 1 word in 3, seed 4" in probe.notes[0]
    write(tmp_path, "all_combined_items.jsonl", [record(0), record(1, question="is it?", choices={"A": "red", "B": "two"})])
    asked = probe.read(tmp_path)
    clean = [item for item in asked if "noise_of" not in item.gold]
    noisy = {item.gold["noise_of"]: item for item in asked if "noise_of" in item.gold}
    assert [item.key for item in clean] == [item.key for item in Mub().read(tmp_path)]
    assert len(noisy) == len(clean) // 2  # "is it?" has no word to misspell
    for item in clean:
        if (other := noisy.get(item.key)) is not None:
            assert other.prompt != item.prompt and other.group == item.group and other.image == item.image
            differ = [(a, b) for a, b in zip(item.prompt.splitlines(), other.prompt.splitlines(), strict=True) if a != b]
            assert [a for a, _ in differ] == ["What is <image 1> number 0?"] and other.prompt.startswith(SYSTEM_CHOICE)
    grades = {item.key: probe.grade(item, "I cannot tell." if "noise_of" in item.gold else "B") for item in asked}
    found = {name: (m.value, m.n) for name, m in probe.measures(asked, grades).items()}
    assert found["perturbed"] == (0.5, len(clean))
    assert found["flip refuse/answer"] == found["answer->refuse"] == found["right->wrong"] == (1.0, len(noisy))
    assert found["refuse->answer"] == (None, 0)
    assert any("records" in note for note in probe.file_notes(tmp_path))
    with pytest.raises(ValueError, match="has a noisy copy and no clean item"):
        probe.measures([item for item in asked if "noise_of" in item.gold], grades)


def test_every_measure_is_over_all_items(tmp_path: Path) -> None:
    probe = WordNoise(Mub(), kind="swapping")
    write(tmp_path, "all_combined_items.jsonl", [record(i) for i in range(3)])
    asked: list[BenchmarkItem] = probe.read(tmp_path)
    grades = {item.key: Grade(key=item.key, values={"refused": False, "correct": True}) for item in asked}
    measures = probe.measures(asked, grades)
    assert measures["flip correct"].value == 0 and all(len(r.top) == len(asked) for m in measures.values() for r in m.ratios)
