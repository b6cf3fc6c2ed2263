"""What the tiny base is asked, lesson by lesson."""

from __future__ import annotations

from dataclasses import replace

from inbol.config.training import BaseConfig, OptimConfig
from inbol.contracts import Question, VqaSample
from inbol.sources.easy_vqa import asks_what_is_there
from inbol.stages.base import asks_about_absent_color, lessons

RAW = [
    ("q00", "what color is the shape?", "red", "color", "what-color"),
    ("q01", "is there a red shape?", "yes", "yes/no", "has-color"),
    ("q02", "is there a blue shape?", "no", "yes/no", "has-color"),
    ("q03", "is there not a gray shape?", "yes", "yes/no", "no-color"),
    ("p0", "do you see a red shape?", "yes", "yes/no", "has-color"),
    ("p1", "is there no red shape?", "no", "yes/no", "no-color"),
]
SAMPLE = VqaSample(
    key="i",
    image=b"",
    image_format="png",
    split="pretrain",
    source="easy-vqa",
    questions=tuple(
        Question(key=f"i-{key}", image_key="i", text=text, answers=(answer,), kind=kind, template=template)
        for key, text, answer, kind, template in RAW
    ),
    meta={"color": "red", "shape": ""},
)


def test_the_lessons_go_from_affirmative_to_balanced_to_the_data_as_they_are() -> None:
    """10 visits with shares .3 and .5: the second lesson begins at visit 3, the third at visit 5."""
    base = BaseConfig(affirmative_share=0.3, undegraded_share=0.5, absent_color_questions=1, optim=OptimConfig(lr=1e-3, epochs=10))
    asked = [
        (
            lesson.until,
            lesson.undegraded,
            [([q.key.removeprefix("i-") for q in pool], most) for pool, most in lesson.pools(SAMPLE)],
        )
        for lesson in lessons(base)
    ]
    assert asked == [
        (3.0, True, [(["q02"], 1), (["q00"], 1), (["q01", "p0"], 8)]),
        (5.0, True, [(["q02", "q03"], 1), (["q00", "q01", "p0", "p1"], 8)]),
        (10, False, [(["q00", "q01", "q02", "q03"], 8)]),
    ]


def test_absent_colours_and_added_questions_are_told_apart() -> None:
    assert [asks_about_absent_color(question) for question in SAMPLE.questions] == [False, False, True, True, False, False]
    assert [asks_what_is_there(question) for question in SAMPLE.questions] == [False] * 4 + [True] * 2


def test_other_sources_may_name_their_questions_as_they_like_and_ask_beyond_the_image() -> None:
    """A question whose name begins with p is kept; one without an answer is never asked in training the base."""
    questions = (
        Question(key="i-park", image_key="i", text="what is it?", answers=("a park",)),
        Question(key="i-why", image_key="i", text="why?", answerable=False),
    )
    base = BaseConfig(affirmative_share=0.3, undegraded_share=0.5, optim=OptimConfig(lr=1e-3, epochs=10))
    for lesson in lessons(base):
        assert [question.key for pool, _ in lesson.pools(replace(SAMPLE, questions=questions)) for question in pool] == ["i-park"]
