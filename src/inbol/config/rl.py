"""Configuration of on-policy training: rewards, groups of responses, GRPO."""

from __future__ import annotations

from dataclasses import dataclass

from inbol.config.checks import at_least, one_of, positive, within
from inbol.config.serving import JudgeConfig
from inbol.config.training import DeepSpeedConfig, OptimConfig, PeftConfig

QUESTIONS = ("all", "answerable", "beyond-image")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardValues:
    """What an outcome is worth; the first three are TruthRL's ternary reward (arXiv 2509.25760)."""

    correct: float = 1.0
    """A correct answer."""
    refused: float = 0.0
    """A refusal of a question that the image answers (r_ref)."""
    wrong: float = -1.0
    """A wrong answer (-lambda)."""
    beyond_refused: float = 1.0
    """A refusal of a question beyond the image."""
    beyond_wrong: float = -1.0
    """Everything else that is said to a question beyond the image."""

    def __post_init__(self) -> None:
        if not self.wrong < self.correct:
            raise ValueError(f"wrong: {self.wrong} must be less than correct={self.correct}")
        within("refused", self.refused, self.wrong, self.correct)
        if not self.beyond_wrong < self.beyond_refused:
            raise ValueError(f"beyond_wrong: {self.beyond_wrong} must be less than beyond_refused={self.beyond_refused}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoConfig:
    """On-policy training from the SFT checkpoint by TRL's `GRPOTrainer`."""

    lr: float = 1e-4
    """Peak learning rate; cosine decay to zero after a linear warm-up."""
    steps: int = 60
    """Optimiser steps."""
    questions: int = 8
    """Questions whose responses are sampled together, over all ranks."""
    group: int = 8
    """Responses to each of them (G), which are compared with each other."""
    micro_batch: int = 32
    """Responses per rank and forward pass; the largest divisor of a rank's share that is not above this is used."""
    updates: int = 1
    """Optimiser steps on the same responses (mu); the clip has something to do from 2 on."""
    clip: float = 0.2
    """The probability ratio counts within [1 - clip, 1 + clip] (epsilon)."""
    beta: float = 0.04
    """Factor of the KL penalty towards the SFT checkpoint; 0 leaves it and the reference model out."""
    temperature: float = 1.0
    """Softmax temperature of the sampling, and of the log-probabilities in the loss."""
    max_new_tokens: int = 24
    """Longest response in tokens, end-of-sequence included."""
    length: str = "response"
    """How token losses are averaged: `response` (over each response, then over responses: GRPO), `tokens` (over all tokens: DAPO)."""
    of: str = "all"
    """Questions that are asked: `all`, `answerable` or `beyond-image`."""
    reward: str = "outcome"
    """`outcome`: the worth of what a response turns out to be. `model`: the score of a reward model, trained by the stage `reward`."""
    values: RewardValues = RewardValues()
    """`outcome`: what outcomes are worth."""
    warmup_share: float = 0.05
    """Share of the steps with a rising learning rate, in [0, 1]."""
    weight_decay: float = 0.0
    """AdamW weight decay."""
    max_grad_norm: float = 1.0
    """Gradient norm clip."""
    log_steps: int = 5
    """Optimiser steps between logged lines."""

    def __post_init__(self) -> None:
        for name in ("lr", "steps", "questions", "micro_batch", "updates", "temperature", "max_new_tokens", "max_grad_norm", "log_steps"):
            positive(name, getattr(self, name))
        at_least("group", self.group, 2)
        positive("clip", self.clip)
        at_least("beta", self.beta, 0)
        at_least("weight_decay", self.weight_decay, 0)
        within("warmup_share", self.warmup_share, 0, 1)
        one_of("length", self.length, ("response", "tokens"))
        one_of("of", self.of, QUESTIONS)
        one_of("reward", self.reward, ("outcome", "model"))

    @property
    def responses(self) -> int:
        """Responses of one step over all ranks."""
        return self.questions * self.group


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """A reward model, begun from the SFT checkpoint."""

    optim: OptimConfig = OptimConfig(lr=3e-4)
    """Optimiser and budget."""
    loss: str = "bradley-terry"
    """`bradley-terry`: the chosen side is to score higher than the rejected one. `binary`: the chosen side is 1, the rejected one 0."""
    head_lr_factor: float = 10.0
    """The head's learning rate, as a factor of `optim.lr`; it begins from zeros."""

    def __post_init__(self) -> None:
        one_of("loss", self.loss, ("bradley-terry", "binary"))
        positive("head_lr_factor", self.head_lr_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardStage:
    """`reward`: a reward model from preference pairs."""

    reward: RewardConfig
    peft: PeftConfig
    deepspeed: DeepSpeedConfig
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoStage:
    """`grpo`: on-policy training from the SFT checkpoint."""

    grpo: GrpoConfig
    judge: JudgeConfig
    """Who finds what a response turned out to be; `kind=rules` unless the judge decides."""
    peft: PeftConfig
    deepspeed: DeepSpeedConfig
    seed: int
