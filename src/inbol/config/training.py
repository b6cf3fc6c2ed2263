"""Configuration of the training stages: base, optimiser, SFT, DPO, PEFT, DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass, field

from inbol.config.checks import at_least, one_of, positive, within
from inbol.config.identity import added, working


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """One training run's optimiser and budget. AdamW, cosine decay to zero after a linear warm-up."""

    lr: float
    """Peak learning rate."""
    epochs: float = 1.0
    """Passes over the data."""
    global_batch: int = 16
    """Trees (an image with its questions) per optimiser step over all ranks; ranks and accumulation never change the result."""
    micro_batch: int = 8
    """Trees per rank and forward pass; the largest divisor of a rank's share that is not above this is used."""
    group_by_image: bool = True
    """Lay all questions about an image below it as one tree, which is then the unit of the shuffle; False makes a tree of each question.
    Losses, weights and their sum over an epoch are the same either way."""
    row_tokens: int = 0
    """Trees of a micro-batch are packed into rows of at most this many tokens; 0 gives every tree a row of its own."""
    tree_tokens: int = 0
    """The most tokens that a tree may have, image tokens included; a longer one stops the run before it trains, and is named. 0: as many as
    there are."""
    shuffle_block: int = 256
    """Neighbours in the data that stay within a window of each other, where there are more trees than a window has."""
    shuffle_window: int = 2**20
    """Trees that are shuffled among each other; fewer keep reads of large data close together, and the node's shard cache small."""
    mix: dict[str, float] = field(default_factory=dict)
    """Weight of each part of the data (`source.parts`), by name: 2 trains on its trees twice an epoch, 0.5 on half of them in turn, 0 on
    none; a part that is not named has weight 1."""
    max_bad_share: float = 0.0
    """Share of the trees whose image may turn out to be unreadable while training, in [0, 1]; they weigh nothing and stand in
    `quarantine-<rank>.jsonl`. More stop the run on every rank."""
    warmup_share: float = 0.05
    """Share of the steps with a rising learning rate, in [0, 1]."""
    weight_decay: float = 0.01
    """AdamW weight decay."""
    max_grad_norm: float = 1.0
    """Gradient norm clip."""
    save_steps: int = 50
    """Optimiser steps between checkpoints; a killed run resumes from the last complete one."""
    keep_checkpoints: int = working(2)
    """So many checkpoints of an unfinished training are kept; should the newest be damaged, the one before is resumed from."""
    resume_changed: bool = working(False)
    """Resume although data, batch, seed or optimiser are not those of the checkpoint. Otherwise that is refused, and says what differs."""
    loader_workers: int = working(0)
    """Processes of each rank that decode and lay out trees ahead of training; no number depends on them. 0: the rank itself does."""
    log_steps: int = 10
    """Optimiser steps between logged lines."""
    probe_steps: int = working(0)
    """`sft`, `dpo`: optimiser steps between looks at log P(refusal) - log P(answer) on a few training questions (`honesty/*`); 0: none.
    Weights do not depend on it."""
    probe_items: int = working(8)
    """So many questions of each group (known, unknown, beyond the image), each about another image."""

    def __post_init__(self) -> None:
        for name in ("lr", "epochs", "global_batch", "micro_batch", "max_grad_norm", "save_steps", "log_steps", "keep_checkpoints"):
            positive(name, getattr(self, name))
        at_least("probe_steps", self.probe_steps, 0)
        positive("probe_items", self.probe_items)
        at_least("row_tokens", self.row_tokens, 0)
        at_least("loader_workers", self.loader_workers, 0)
        at_least("tree_tokens", self.tree_tokens, 0)
        positive("shuffle_block", self.shuffle_block)
        at_least("shuffle_window", self.shuffle_window, self.shuffle_block)
        within("max_bad_share", self.max_bad_share, 0, 1)
        for part, weight in self.mix.items():
            at_least(f"mix.{part}", weight, 0)
        within("warmup_share", self.warmup_share, 0, 1)
        at_least("weight_decay", self.weight_decay, 0)


TINY_FAMILIES = ("llava", "llava_onevision", "qwen2_5_vl", "qwen3_vl", "idefics3", "internvl")
"""Architectures by `transformers`' name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModelConfig:
    """Shape of the from-scratch model."""

    family: str = "llava"
    """Architecture: `llava` (a CLIP tower and a Llama), or another of `TINY_FAMILIES`, to try the path on it. The others have the patches,
    tiles and heads of `models/tiny_families.py`, one number of layers (`text_layers`), and no tower warm-up."""
    image_size: int = 64
    """Pixels a side."""
    patch_size: int = 8
    """Pixels a side of a patch; (image_size / patch_size)^2 image tokens."""
    hidden_size: int = 96
    """Width of both towers."""
    vision_layers: int = 2
    """Layers of the vision tower."""
    text_layers: int = 2
    """Layers of the language model."""
    heads: int = 4
    """Attention heads of both."""
    vocab_size: int = 768
    """Largest vocabulary of the byte-level BPE trained on the pre-training texts."""

    def __post_init__(self) -> None:
        one_of("family", self.family, TINY_FAMILIES)
        if self.family != "llava" and self.hidden_size % 32:
            raise ValueError(f"hidden_size: {self.hidden_size} is not a multiple of 32, which the family {self.family} needs")
        for name in ("image_size", "patch_size", "hidden_size", "vision_layers", "text_layers", "heads", "vocab_size"):
            positive(name, getattr(self, name))
        if self.image_size % self.patch_size:
            raise ValueError(f"patch_size: {self.patch_size} does not divide image_size {self.image_size}")
        if self.hidden_size % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide hidden_size {self.hidden_size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseConfig:
    """The model that is to learn its boundaries."""

    kind: str = "tiny"
    """`tiny`: trained from scratch on the `pretrain` split. `pretrained`: a Hugging Face checkpoint."""
    path: str = ""
    """`pretrained`: hub id or local folder."""
    revision: str = "main"
    """`pretrained`: hub revision; pin a commit hash for a table."""
    tiny: TinyModelConfig = TinyModelConfig()
    """Shape of the `tiny` model."""
    tower_epochs: int = 7
    """`tiny`: epochs of the tower's warm-up on shape and colour, standing in for CLIP pre-training."""
    tower_batch: int = 32
    """`tiny`: images per optimiser step of the warm-up."""
    tower_lr: float = 2e-3
    """`tiny`: peak learning rate of the warm-up."""
    tower_lr_factor: float = 0.1
    """`tiny`: the tower's learning rate in LLaVA training, as a factor of `optim.lr`; 0 freezes it."""
    affirmative_share: float = 0.0
    """`tiny`: share of the LLaVA training, its first visits, with undegraded images and affirmative yes/no questions. Comparing a question
    with an image is learnt in one sudden step, which "is there no ...?" puts off for as long as a laptop cares to wait."""
    affirmative_what_questions: int = 1
    """`tiny`: at most this many other questions per image and visit while `affirmative_share` lasts; they are the easier lesson."""
    undegraded_share: float = 0.0
    """`tiny`: share of the LLaVA training, its first visits, with undegraded images and as many questions about what is there as about what
    is not; after it, every level and the data set's own questions."""
    questions_per_image: int = 8
    """`tiny`: questions asked per image and visit, drawn anew at every visit."""
    absent_color_questions: int = 2
    """`tiny`: at most this many questions about an absent colour per image and visit while `undegraded_share` lasts (they are 5 of 6 in
    the data set, and saying "absent" without looking is nearly right)."""
    say_items: int = 1
    """`tiny`: "say: <refusal>" items per image and visit, so that the wordings are known before alignment."""
    optim: OptimConfig = OptimConfig(lr=1.5e-3)
    """`tiny`: the LLaVA training; `epochs` counts visits of every image."""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("tiny", "pretrained"))
        if self.kind == "pretrained" and not self.path:
            raise ValueError("path: a pretrained base needs a hub id or a local checkpoint folder")
        at_least("tower_epochs", self.tower_epochs, 0)
        for name in ("tower_lr_factor", "affirmative_what_questions", "absent_color_questions", "say_items"):
            at_least(name, getattr(self, name), 0)
        within("affirmative_share", self.affirmative_share, 0, 1)
        within("undegraded_share", self.undegraded_share, 0, 1)
        if self.affirmative_share > self.undegraded_share:
            raise ValueError(
                f"affirmative_share: {self.affirmative_share} is more than undegraded_share={self.undegraded_share}, its whole"
            )
        if self.tiny.family != "llava" and self.tower_epochs:
            raise ValueError(f"tower_epochs: {self.tiny.family} has no warm-up; set tower_epochs=0 and a tower_lr_factor above 0")
        if self.kind == "tiny" and not self.tower_lr_factor and not self.tower_epochs:
            raise ValueError("tower_lr_factor: 0 freezes a tower that no warm-up has trained; set tower_epochs or a factor above 0")
        positive("questions_per_image", self.questions_per_image)


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """Supervised fine-tuning."""

    optim: OptimConfig
    """Optimiser and budget."""
    normalise: str = "examples"
    """Denominator of the loss: `examples` (sum of weights, token-summed losses) or `tokens` (sum of weight x tokens, as TRL)."""

    def __post_init__(self) -> None:
        one_of("normalise", self.normalise, ("examples", "tokens"))


CONFIDENCE_LOSSES = ("soft", "weight", "margin", "regression")
"""These read the confidence of a pair."""
REFERENCE_FREE = ("simpo", "orpo")
"""These have no reference model, so the stage `reference` is left out."""
IMAGE_LOSSES = ("mdpo", "v-dpo")
"""These look at each pair below an altered image as well (`pairs.altered`)."""
DPO_LOSSES = ("hard", *CONFIDENCE_LOSSES, *REFERENCE_FREE, *IMAGE_LOSSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoConfig:
    """Preference training from the SFT checkpoint."""

    optim: OptimConfig
    """Optimiser and budget."""
    loss: str = "hard"
    """`hard` (DPO), `soft` (A: per-pair label p = c), `weight` (B: |2c-1|^gamma), `margin` (C: alpha |2c-1|), `regression` (D).
    Without a reference model: `simpo` (arXiv 2405.14734), `orpo` (arXiv 2403.07691). With an altered image: `mdpo` (arXiv
    2406.11839), `v-dpo` (arXiv 2411.02712)."""
    beta: float = 0.5
    """Strength of the implicit KL penalty; `simpo`: factor of the log-probabilities per token; `orpo`: weight of the odds ratio."""
    soft_eps: float = 0.05
    """`soft`: the label is clipped to [eps, 1-eps]."""
    weight_gamma: float = 1.0
    """`weight`: exponent of |2c-1|."""
    margin_alpha: float = 1.0
    """`margin`: factor of |2c-1|."""
    regression_kappa: float = 2.0
    """`regression`: the target is kappa (2c-1)."""
    simpo_gamma: float = added(0.5)
    """`simpo`: the margin that the reward of the chosen side must have over that of the rejected one."""
    image_gamma: float = added(2.0)
    """`v-dpo`: log-probabilities are gamma times those with the image less gamma - 1 times those with the altered one; at least 1."""
    anchor_margin: float = added(0.0)
    """`mdpo`: reward over the reference that the chosen side is to have for itself (delta)."""
    anchor: float = 1.0
    """Factor of the NLL anchor on the preferred response (E); 0 switches it off, as `orpo` needs it, which has that term itself."""
    anchor_normalise: str = "tokens"
    """`tokens`: the anchor's NLL is a mean over response tokens; `sum`: a sum."""

    def __post_init__(self) -> None:
        one_of("loss", self.loss, DPO_LOSSES)
        positive("beta", self.beta)
        within("soft_eps", self.soft_eps, 0, 0.5)
        at_least("weight_gamma", self.weight_gamma, 0)
        at_least("margin_alpha", self.margin_alpha, 0)
        positive("regression_kappa", self.regression_kappa)
        at_least("simpo_gamma", self.simpo_gamma, 0)
        at_least("image_gamma", self.image_gamma, 1)
        at_least("anchor", self.anchor, 0)
        if self.loss == "orpo" and self.anchor:
            raise ValueError(f"loss: 'orpo' with anchor={self.anchor} has the NLL of the chosen side twice; take anchor=0")
        one_of("anchor_normalise", self.anchor_normalise, ("tokens", "sum"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftConfig:
    """Which parameters alignment trains."""

    kind: str = "full"
    """`full` or `lora`."""
    r: int = 16
    """LoRA rank."""
    alpha: int = 32
    """LoRA scale."""
    dropout: float = 0.0
    """LoRA dropout."""
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Module names of the language model that get an adapter."""
    freeze_vision_tower: bool = True
    """Keep the vision tower as it is."""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("full", "lora"))
        positive("r", self.r)
        within("dropout", self.dropout, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepSpeedConfig:
    """How DeepSpeed shards the training state."""

    zero_stage: int = 2
    """0 (replicated), 1 (optimiser), 2 (+ gradients), 3 (+ parameters)."""
    precision: str = "fp32"
    """`fp32` or `bf16`; fp32 on CPUs without bf16 arithmetic."""
    offload_optimizer: bool = False
    """Keep the optimiser state in host memory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass."""

    def __post_init__(self) -> None:
        one_of("zero_stage", self.zero_stage, (0, 1, 2, 3))
        one_of("precision", self.precision, ("fp32", "bf16"))
