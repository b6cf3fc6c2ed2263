"""MUB: what is asked, how responses are read, and the rates, by hand."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.benchmarks.mub import INSTRUCTION, SYSTEM_CHOICE, SYSTEM_YES_NO, Mub, compat_correct, strict_answer
from inbol.contracts import Question, VqaSample
from tests.benchmarks.mub_world import record, write, yes_no

MUB = Mub()
CHOICES = {"A": "a bell", "B": "a tower", "C": "Cannot be determined"}


def items(folder: Path, *records: dict[str, object]) -> list[BenchmarkItem]:
    write(folder, "all_combined_items.jsonl", list(records))
    return MUB.read(folder)


def test_every_way_of_asking_a_choice(tmp_path: Path) -> None:
    """System text, question, note, options by letter; `<image 1>` stays; notes behind the fifth are not asked."""
    six = " /// ".join(f"note {i}" for i in range(6))
    asked = items(tmp_path, record(0, closed_model_response_F=six))
    key = asked[0].group
    assert [item.key.removeprefix(key + "-") for item in asked] == ["clean", "explicit", "helpful1", "helpful2"] + [
        f"misleading{i}" for i in range(1, 6)
    ]
    options = "A: a bell\nB: a tower\nC: a tomb"
    question = "What is <image 1> number 0?"
    assert asked[0].prompt == f"{SYSTEM_CHOICE}\n{question}\n{options}"
    assert asked[1].prompt == f"{SYSTEM_CHOICE}\n{question}\nAnd the true answer is : C\n{options}"
    assert asked[4].prompt == f"{SYSTEM_CHOICE}\n{question}\nPlease pay attention to this instruction: note 0\n{options}"
    assert {item.group for item in asked} == {key} and not set(key) & set("./")
    assert {item.image for item in asked} == {tmp_path / "extract_img_all/0.jpg"}


def test_yes_no_and_options_in_the_question(tmp_path: Path) -> None:
    """Without choices the note follows the question directly."""
    inside = {k: v for k, v in record(1, dataset="ConBench_CH", question="Which? A: red, B: blue").items() if k != "choices"}
    asked = items(tmp_path, yes_no(0), inside)
    prompts = {item.key.partition("-")[2].partition("-")[2]: item.prompt for item in asked[:3]}
    assert prompts["clean"] == f"{SYSTEM_YES_NO}\nIs it old?"
    assert prompts["explicit"] == f"{SYSTEM_YES_NO}\nIs it old? And the true answer is : Yes"
    assert prompts["helpful1"] == f"{SYSTEM_YES_NO}\nIs it old?{INSTRUCTION}It rings."
    (plain,) = [item for item in asked if "Which" in item.prompt and item.gold["stage"] == "clean"]
    assert plain.prompt == f"{SYSTEM_CHOICE}\nWhich? A: red, B: blue"


def test_missing_pictures_are_named(tmp_path: Path) -> None:
    write(tmp_path, "all_combined_items.jsonl", [record(0), record(1)])
    (tmp_path / "extract_img_all" / "1.jpg").unlink()
    with pytest.raises(BenchmarkDataMissing, match=r"1 of the pictures of 2 questions .* extract_img_all/1\.jpg.*Google Drive"):
        MUB.read(tmp_path)


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        (" (B) a tower", "B"),
        ("B: a tower", "B"),
        ("The answer is B.", "B"),
        ("Answer: **C**", "C"),
        ("A tower", "B"),
        ("a tower.", "B"),
        ("A red bell rings", None),
        ("B or C", None),
        ("A, B", None),
        ("E", None),
        ("I see a tower", None),
        ("", None),
    ],
)
def test_strict_letters(response: str, letter: str | None) -> None:
    """One letter of the options, in a place where an answer stands, or the text of one option."""
    assert strict_answer(response, CHOICES, yes_no=False) == letter


@pytest.mark.parametrize(
    ("response", "said"), [("Yes", "yes"), ("No.", "no"), ("No, it is new", "no"), ("not sure", None), ("Nothing", None)]
)
def test_strict_yes_no(response: str, said: str | None) -> None:
    assert strict_answer(response, {}, yes_no=True) == said


def test_compat_judges_as_the_authors_do() -> None:
    """Their defects too: `no` is in `notsure`, E is no letter of the explicit scripts, a sentence's "A" is an answer."""

    def judge(response: str, answer: str, *, question: str = "?", last: str = "D") -> bool:
        return compat_correct(response, answer, question, last=last)

    assert judge("not sure", "no") and not judge("yes", "no")
    assert judge("E", "E", last="H") and not judge("E", "E")
    assert judge("A red bell", "A") and not judge("b", "B")
    inside = "Which? A: red, B: blue"
    assert judge("it is blue", "B", question=inside) and not judge("it is blue", "A", question=inside)


def test_grades(tmp_path: Path) -> None:
    """A refusal is neither right nor wrong, but an option that says "cannot be determined" is an answer."""
    (choice, *_), others = items(tmp_path, record(0, choices=CHOICES, answer="C", guide="And the true answer is : A")), None
    assert others is None
    assert MUB.grade(choice, "C").values == {"refused": False, "correct": True, "answer": "C", "compat": True, "compat_implicit": True}
    assert MUB.grade(choice, "Cannot be determined.").values["correct"] is True
    refused = MUB.grade(choice, "I am not able to tell.").values
    assert (refused["refused"], refused["correct"], refused["answer"]) == (True, False, None)


def graded(asked: list[BenchmarkItem], says: dict[str, str]) -> dict[str, Grade]:
    """Grades of responses by `<image number>-<way of asking>`."""
    out = {}
    for item in asked:
        number, _, stage = item.key.removeprefix("i").split("-")
        out[item.key] = MUB.grade(item, says[f"{number}-{stage}"])
    return out


def answers(number: int, clean: str, explicit: str, helpful: str, misleading: str) -> dict[str, str]:
    """Responses to one record of `mub_world`: one letter a note, R for a refusal."""
    words = {"R": "I cannot tell from the image."}
    stages = {"clean": clean, "explicit": explicit}
    stages |= {f"helpful{i + 1}": mark for i, mark in enumerate(helpful)} | {
        f"misleading{i + 1}": mark for i, mark in enumerate(misleading)
    }
    return {f"{number}-{stage}": words.get(mark, mark) for stage, mark in stages.items()}


def test_rates_by_hand(tmp_path: Path) -> None:
    """Seven questions, the answer B; the hint of 0 to 3 and 6 is C (wrong), of 4 and 5 B (right); 6 is in the high tier, the others low.

    Stage 1: 0, 1, 2, 6 right, 3 and 4 wrong, 5 refuses: all = 4/7, RefR = 1/7; low 3/6.
    Explicit, wrong hint and right before: 0 turns wrong, 1 refuses, 2 stays, 6 turns wrong: T->F 2/4, T->R 1/4, T->T 1/4; low 1/3.
    Explicit, right hint and wrong before: 4 alone, turns right: F->T 1/1. 3 was wrong, but its hint is wrong; 5 refused.
    Implicit, worst of three: 0 right on all (T), 1 refuses one note (R), 2 refuses one, wrong on another (F), 6 stays.
    Implicit F->T: 3 right on its second helpful note, 4 on none: 1/2.
    By the authors' parser a refusal is wrong (or here "icannottellfromtheimage."): explicit T->F is 0, 1, 6 of 4 = 3/4; of 3, 5 and 4,
    wrong before, 4 and 5 have a right hint: 5 turns right too: F->T 2/2.
    """
    right = {"guide": "And the true answer is : B"}
    asked = items(tmp_path, record(0), record(1), record(2), record(3), record(4, **right), record(5, **right), record(6, num=12))
    says = (
        answers(0, "B", "C", "BB", "BBB")
        | answers(1, "B", "R", "BB", "BRB")
        | answers(2, "B", "B", "BB", "BRA")
        | answers(3, "A", "B", "AB", "CCC")
        | answers(4, "C", "B", "CA", "CCC")
        | answers(5, "R", "B", "RR", "RRR")
        | answers(6, "B", "C", "BB", "BBB")
    )
    measures = MUB.measures(asked, graded(asked, says))
    found = {name: (m.value, m.n) for name, m in measures.items()}
    expected = {
        "all": (4 / 7, 7),
        "all/low": (3 / 6, 6),
        "all/high": (1.0, 1),
        "all/medium": (None, 0),
        "RefR": (1 / 7, 7),
        "explicit T->F": (2 / 4, 4),
        "explicit T->R": (1 / 4, 4),
        "explicit T->T": (1 / 4, 4),
        "explicit T->F/low": (1 / 3, 3),
        "explicit T->F/high": (1.0, 1),
        "explicit F->T": (1.0, 1),
        "explicit F->T/medium": (None, 0),
        "implicit-3 T->F": (1 / 4, 4),
        "implicit-3 T->R": (1 / 4, 4),
        "implicit-3 T->T": (2 / 4, 4),
        "implicit-3 F->T": (1 / 2, 2),
        "compat explicit T->F": (3 / 4, 4),
        "compat explicit F->T": (1.0, 2),
    }
    assert {name: found[name] for name in expected} == expected
    assert all(len(r.top) == len(asked) for m in measures.values() for r in m.ratios)


def test_the_worst_of_five_sees_the_fourth_note(tmp_path: Path) -> None:
    """Right on three notes, wrong on the fourth: worst of 3 stays, worst of 5 turns wrong; a question without notes belongs to neither."""
    four = "a /// b /// c /// d"
    asked = items(tmp_path, record(0, closed_model_response_F=four), record(1, closed_model_response_F=" /// "))
    says = answers(0, "B", "B", "BB", "BBBC") | answers(1, "B", "B", "BB", "")
    found = {name: (m.value, m.n) for name, m in MUB.measures(asked, graded(asked, says)).items()}
    assert found["implicit-3 T->F"] == (0.0, 1) and found["implicit-5 T->F"] == (1.0, 1)
    assert found["compat implicit-5 T->F"] == (1.0, 1)


def test_flips_add_up(tmp_path: Path) -> None:
    """T->F, T->R and T->T of a mode are shares of the same questions and add up to 1."""
    asked = items(tmp_path, *(record(i) for i in range(6)))
    marks = ["BBB", "BBR", "BAR", "RRR", "CCC", "BBB"]
    says = {k: v for i, mark in enumerate(marks) for k, v in answers(i, "B", mark[2], "BB", mark).items()}
    measures = MUB.measures(asked, graded(asked, says))
    for mode in ("explicit", "implicit-3", "implicit-5"):
        parts = [measures[f"{mode} {flip}"] for flip in ("T->F", "T->R", "T->T")]
        assert sum(p.value or 0 for p in parts) == pytest.approx(1) and {p.n for p in parts} == {6}


def sample(number: int) -> VqaSample:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(out, format="PNG")
    shape = ("circle", "square", "triangle")[number % 3]
    asked = (
        Question(key=f"s{number}-q0", image_key=f"s{number}", text="what shape is it?", answers=(shape,), kind="shape"),
        Question(
            key=f"s{number}-q1",
            image_key=f"s{number}",
            text="is it a circle?",
            answers=("yes" if number % 3 == 0 else "no",),
            kind="yes/no",
        ),
        Question(key=f"s{number}-q2", image_key=f"s{number}", text="who made it?", answerable=False, kind="context-dependent"),
    )
    return VqaSample(key=f"s{number}", image=out.getvalue(), image_format="png", split="test", source="t", questions=asked)


def test_tiny_is_written_as_published_and_read_back(tmp_path: Path) -> None:
    """Nine images, two questions each: 6 questions a tier, every record three times, the last file (gpt9 by name) cut."""
    samples = [sample(i) for i in range(9)]
    MUB.write_tiny(samples, tmp_path, seed=3)
    asked = MUB.read(tmp_path)
    clean = [item for item in asked if item.gold["stage"] == "clean"]
    assert len(clean) == 18 and sorted({item.gold["num"] for item in clean}) == [6, 9, 12]
    assert sum(item.gold["hint_right"] for item in clean) == 6
    assert any("TRUNCATED" in note for note in MUB.file_notes(tmp_path))
    assert all(item.gold["answer"] in (item.gold["choices"] or ("yes", "no")) for item in clean)
    grades = {item.key: MUB.grade(item, item.gold["answer"]) for item in asked}
    found = {name: m.value for name, m in MUB.measures(asked, grades).items()}
    assert found["all"] == 1 and found["explicit T->F"] == 0 and found["implicit-5 T->T/high"] == 1
    again = tmp_path / "again"
    MUB.write_tiny(samples, again, seed=3)
    assert [i.prompt for i in MUB.read(again)] == [i.prompt for i in asked]
    with pytest.raises(ValueError, match="give more samples"):
        MUB.write_tiny(samples[:1], tmp_path / "few", seed=3)
