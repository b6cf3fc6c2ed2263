"""What is asked: the question in one of the prompt styles, and the base's exercises in saying a refusal."""

from __future__ import annotations

PROMPT_STYLES = ("plain", "allow-refusal", *(f"level-{n / 10:.1f}" for n in range(11)))

ALLOW_REFUSAL = "If the image does not show the answer, say that you cannot tell."


def render_question(text: str, prompt_style: str = "plain") -> str:
    """The question as the model sees it, before the chat template.

    Args:
        text: the question.
        prompt_style: `plain`, `allow-refusal` to state behind the question that refusing is allowed, or `level-0.6` to state before it how
            bold an answer may be (`level_style`).

    Raises:
        ValueError: unknown style.
    """
    if prompt_style == "plain":
        return text
    if prompt_style == "allow-refusal":
        return f"{text} {ALLOW_REFUSAL}"
    if prompt_style in PROMPT_STYLES:
        return f"Level of boldness: {prompt_style.removeprefix('level-')}. {text}"
    raise ValueError(f"prompt_style: {prompt_style!r} is not one of {', '.join(map(repr, PROMPT_STYLES))}")


def level_style(level: float) -> str:
    """The prompt style that asks at a level of boldness in [0, 1], rounded to tenths."""
    return f"level-{level:.1f}"


def say_item(refusal: str) -> tuple[str, str]:
    """Question and target of an exercise that teaches the wording of a refusal without teaching when to refuse."""
    return f"say: {refusal}", refusal
