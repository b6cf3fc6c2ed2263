"""Scores of a reward model: of the padded conversation, from the last token, and those that were saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy
from safetensors.torch import save_file

from inbol.contracts import Question
from inbol.models.reward import HEAD, RewardScorer, add_reward_head, response_scores
from inbol.models.tree import Branch, Tree, TreeCollator

QUESTION = Question(key="red-q0", image_key="red", text=toy.WHAT, answers=("red",))


def with_head() -> torch.nn.Module:
    model = toy.model()
    add_reward_head(model)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.reward_head.weight)
    return model


@torch.inference_mode()
def padded_score(model: torch.nn.Module, color: str, question: str, response: str) -> float:
    """Head of the last hidden state at the response's last token, of one conversation by itself."""
    text = toy.conversation(question, response).removesuffix("</s>")
    batch = toy.processor()(text=[text], images=[toy.image(color)], add_special_tokens=False, return_tensors="pt")
    state = model.model(**batch).last_hidden_state[0, -1]
    return float(model.reward_head(state))


def test_scores_are_those_of_the_padded_conversation() -> None:
    model = with_head()
    branches = (Branch(toy.WHAT, ("red", toy.REFUSALS[0])), Branch(toy.WHO, (toy.REFUSALS[1],)))
    trees = [Tree(toy.image("red"), branches), Tree(toy.image("blue"), (Branch(toy.WHAT, ("blue",)),))]
    scores = response_scores(model, TreeCollator(toy.processor())(trees)).tolist()
    asked = [("red", toy.WHAT, "red"), ("red", toy.WHAT, toy.REFUSALS[0]), ("red", toy.WHO, toy.REFUSALS[1]), ("blue", toy.WHAT, "blue")]
    assert scores == pytest.approx([padded_score(model, *one) for one in asked], abs=1e-4)


def test_an_untrained_head_scores_nothing() -> None:
    model = toy.model()
    add_reward_head(model)
    assert response_scores(
        model, TreeCollator(toy.processor())([Tree(toy.image("red"), (Branch(toy.WHAT, ("red", "blue")),))])
    ).tolist() == [0, 0]


def test_what_was_saved_scores_the_same_each_response_once(tmp_path: Path) -> None:
    model = with_head()
    save_file({name: p.detach().clone() for name, p in model.reward_head.named_parameters()}, str(tmp_path / HEAD))
    expected = [padded_score(model, "red", toy.WHAT, text) for text in ("red", "blue", "red")]
    del model.reward_head
    model.save_pretrained(tmp_path / "checkpoint")
    toy.processor().save_pretrained(tmp_path / "checkpoint")
    scorer = RewardScorer(tmp_path, toy.image)
    found = scorer([QUESTION] * 3, ["red", "blue", "red"])
    assert found == pytest.approx(expected, abs=1e-4) and found[0] == found[2] != found[1]
