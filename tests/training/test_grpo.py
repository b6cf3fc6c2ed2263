"""On-policy training with TRL's trainer, in this process: what is rewarded becomes more likely, and TRL is shown what we would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from advantages import group_advantages

from inbol.contracts import Question
from inbol.models.conversation import ConversationEncoder
from inbol.training.arguments import Sharding
from inbol.training.grpo import GrpoBudget, train_grpo

BUDGET = GrpoBudget(
    lr=3e-3, steps=12, questions=2, group=8, micro_batch=16, updates=1, clip=0.2, beta=0.0, temperature=1.0, max_new_tokens=2,
    length="response", warmup_share=0.0, weight_decay=0.0, max_grad_norm=1.0, log_steps=1,
)  # fmt: skip
PLAIN = Sharding(zero_stage=0, precision="fp32", offload_optimizer=False, gradient_checkpointing=False)
QUESTIONS = [Question(key=f"{color}-q0", image_key=color, text=toy.WHAT, answers=(color,)) for color in ("red", "green", "blue", "white")]


@pytest.fixture
def without_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process without a process group: the sharded path is that of the end-to-end tests."""
    import trl

    made = trl.GRPOConfig
    monkeypatch.setattr(trl, "GRPOConfig", lambda **values: made(**{**values, "deepspeed": None, "gradient_accumulation_steps": 1}))


def trained(folder: Path, reward: Any, **changed: Any) -> tuple[Any, dict[str, Any], list[dict[str, float]]]:
    curve: list[dict[str, float]] = []
    model = toy.model()
    trainer, facts = train_grpo(
        model, toy.processor(), QUESTIONS, toy.image, reward, folder=folder, budget=replace(BUDGET, **changed), sharding=PLAIN, seed=0,
        world_size=1, report=lambda *_: None, track=lambda logs, step: curve.append(logs),
    )  # fmt: skip
    return trainer, facts, curve


@pytest.mark.usefixtures("without_deepspeed")
def test_what_is_rewarded_becomes_more_likely(tmp_path: Path) -> None:
    """Texts of odd length are worth +1, others -1: the mean reward of 16 responses a step rises, by more than its noise over four steps."""
    seen: list[tuple[list[str], list[str]]] = []

    def reward(questions: Sequence[Question], texts: Sequence[str]) -> tuple[list[float | None], dict[str, float]]:
        seen.append(([question.key for question in questions], list(texts)))
        return [1.0 if len(text) % 2 else -1.0 for text in texts], {"outcomes/odd": sum(len(text) % 2 for text in texts) / len(texts)}

    _, facts, curve = trained(tmp_path, reward)
    means = [entry["reward"] for entry in curve if "reward" in entry]
    assert len(means) == 12 and sum(means[-4:]) / 4 > sum(means[:4]) / 4 + 0.2
    assert facts["steps"] == 12 and facts["responses_by_this_rank"] == 12 * 16 and facts["reward"] == {"first": means[0], "last": means[-1]}
    assert curve[0]["outcomes/odd"] == pytest.approx((means[0] + 1) / 2)
    keys, _ = seen[0]
    assert len(keys) == 16 and all(len(set(keys[start : start + 8])) == 1 for start in (0, 8)), "a group is one question's"


@pytest.mark.usefixtures("without_deepspeed")
def test_advantages_prompts_and_images_are_ours(tmp_path: Path) -> None:
    """TRL's advantages are those of `group_advantages`; its prompt is the one that SFT was trained on, its pixels are the image."""
    given: list[float | None] = []

    def reward(questions: Sequence[Question], texts: Sequence[str]) -> tuple[list[float | None], dict[str, float]]:
        given[:] = [float(len(text) % 3 - 1) for text in texts]
        given[0] = None  # nobody could say
        return list(given), {}

    trainer, _, _ = trained(tmp_path, reward, steps=1)
    known = [value for value in given[1:8] if value is not None]
    expected = [0.0, *group_advantages(known), *group_advantages([value for value in given[8:] if value is not None])]
    assert list(trainer._logs["advantages"]) == pytest.approx(expected, abs=1e-4)
    batch = trainer._buffered_inputs[0]
    ids = batch["prompt_ids"][0][batch["prompt_mask"][0].bool()].tolist()
    encoder = ConversationEncoder(toy.processor())
    assert ids[-len(encoder.suffix_ids(toy.WHAT)) :] == encoder.suffix_ids(toy.WHAT)
    assert ids.count(encoder.image_token_id) == 4
    pictures = toy.processor().image_processor([toy.image(question.image_key) for question in QUESTIONS], return_tensors="pt")[
        "pixel_values"
    ]
    for shown in batch["pixel_values"]:
        assert any(torch.equal(shown, picture) for picture in pictures)


def test_nothing_to_ask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing to ask: .*grpo\.of"):
        train_grpo(
            toy.model(), toy.processor(), [], toy.image, lambda *_: ([], {}), folder=tmp_path, budget=BUDGET, sharding=PLAIN, seed=0,
            world_size=1, report=lambda *_: None,
        )  # fmt: skip
