"""Configuration of the data stages: source, unsolvable questions, sampling, confidence, boundary, examples and pairs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from inbol.config.checks import at_least, one_of, positive, within
from inbol.config.identity import added
from inbol.config.published import PUBLISHED, PublishedConfig
from inbol.config.serving import ServerConfig
from inbol.contracts import UNSOLVABLE_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationLevel:
    """How much of an image is left at one level; all zero is the undegraded image."""

    occlusion: float
    """Share of the 8x8 grid's cells replaced by mid-grey, in [0, 1]."""
    noise: float
    """Standard deviation of the Gaussian pixel noise, in grey values of 255."""
    blur: float = 0.0
    """Radius of the Gaussian blur, in pixels."""
    contrast: float = 1.0
    """Factor of the contrast around mid-grey; 1 leaves it, 0 is uniform grey."""

    def __post_init__(self) -> None:
        within("occlusion", self.occlusion, 0, 1)
        within("noise", self.noise, 0, 255)
        within("blur", self.blur, 0, 64)
        within("contrast", self.contrast, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Which raw data set is ingested, and how it is split."""

    name: str
    """`easy-vqa` (embedded), `local` (a folder with `questions.jsonl` and images), `shards` (WebDataset tar files), or a published data
    set in its original files: `vqav2`, `gqa`, `a-okvqa`, `vizwiz`, `vqav2-idk`."""
    path: str = ""
    """`local` and published data sets: the folder. `shards`: a folder, a glob, or an address with ranges,
    `s3://bucket/train-{000..127}.tar`; http(s), s3, gs and hf are read through a cache on the node, `pipe:<command>` runs the command.
    Empty otherwise."""
    parts: dict[str, str] = field(default_factory=dict)
    """`shards`: several data sets, address by name; the name goes before every key and can be given a weight (`optim.mix`)."""
    link: bool = False
    """`shards`: do not copy shards of this project's own format, but read them where they lie, by index and checksum."""
    max_bad_share: float = 0.0
    """`shards`: share of the samples that may be unusable, in [0, 1]; they stand in `quarantine.jsonl`. More stop the run."""
    seed: int = 0
    """Seed of the split and of the degradations; the world stays the same over training seeds."""
    pretrain_images: int = 0
    """Images that train the base; 0 where the base comes from a hub."""
    align_train_images: int = 1000
    """Images of `align-train`."""
    align_val_images: int = 300
    """Images of `align-val`."""
    test_images: int = 500
    """Images of `test`, from the data set's own test split where it has one."""
    withheld_colors: tuple[str, ...] = ()
    """easy-VQA colours that never occur in `pretrain`: the confidently wrong cluster."""
    levels: tuple[DegradationLevel, ...] = (DegradationLevel(occlusion=0.0, noise=0.0),)
    """Degradation levels; each image is given one at random (seeded). Level 0 comes first."""
    paraphrase_share: float = 0.5
    """Share of the answerable questions that are reworded, in [0, 1]; test wordings are disjoint from training ones."""
    yes_no_per_image: int = 4
    """easy-VQA: at most this many yes/no questions per image outside `pretrain` (seven of ten questions are yes/no otherwise, and refusing
    never pays where a guess is right half the time)."""
    max_pixels: int = 0
    """Images with more pixels are made smaller in proportion when they are written; 0 leaves all as they are. For models whose image tokens
    grow with the image."""
    images_per_shard: int = 100
    """Images in a tar file."""
    published: PublishedConfig = added(PublishedConfig())
    """Published data sets: their files and which questions are taken."""

    def __post_init__(self) -> None:
        one_of("name", self.name, ("easy-vqa", "local", "shards", *PUBLISHED))
        if self.name in PUBLISHED:
            if not self.path:
                raise ValueError(f"path: the source {self.name} needs the folder that its files were unpacked in")
            if self.link:
                raise ValueError("link: only shards can be linked")
            self.published.check(self.name)
        if self.name == "local" and not self.path:
            raise ValueError("path: a local source needs the folder that holds questions.jsonl and the images")
        if self.name == "shards" and bool(self.path) == bool(self.parts):
            raise ValueError("path: the source `shards` needs either path (a folder, glob or address) or parts (addresses by name)")
        for part in self.parts:
            if not re.fullmatch(r"[A-Za-z0-9_]+", part):
                raise ValueError(f"parts: {part!r}: only letters, digits and '_' are allowed in a name, which goes before every key")
        within("max_bad_share", self.max_bad_share, 0, 1)
        for name in ("pretrain_images", "align_train_images", "align_val_images", "test_images"):
            at_least(name, getattr(self, name), 0)
        within("paraphrase_share", self.paraphrase_share, 0, 1)
        at_least("yes_no_per_image", self.yes_no_per_image, 0)
        positive("images_per_shard", self.images_per_shard)
        at_least("max_pixels", self.max_pixels, 0)
        if self.max_pixels and self.link:
            raise ValueError("max_pixels: linked shards are not written anew; set link=false, or max_pixels=0")
        if not self.levels:
            raise ValueError("levels: at least one degradation level is needed; level 0 is the undegraded image")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsolvableConfig:
    """How many questions beyond the image are made, and of which kinds."""

    false_premises_per_image: int = 2
    """False-premise questions per image."""
    others_per_image: int = 2
    """Questions of the other kinds per image, drawn evenly over the kinds."""
    held_out: tuple[str, ...] = ("other-modality",)
    """Kinds that occur in evaluation splits alone."""
    seed: int = 0
    """Seed of the draw."""

    def __post_init__(self) -> None:
        at_least("false_premises_per_image", self.false_premises_per_image, 0)
        at_least("others_per_image", self.others_per_image, 0)
        for kind in self.held_out:
            one_of("held_out", kind, UNSOLVABLE_KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How a model's own answers are drawn."""

    k: int = 10
    """Samples per question that make the confidence (K)."""
    fresh: int = 0
    """Further samples that only grade the confidence."""
    temperature: float = 1.0
    """Softmax temperature; 1 samples from the model itself."""
    top_p: float = 1.0
    """Nucleus mass; 1 keeps every token."""
    max_new_tokens: int = 24
    """Longest response, end-of-sequence included."""
    trees_per_batch: int = 16
    """Images (each with all its questions and samples) decoded together."""
    seed: int = 0
    """Seed of the draw; every question has its own stream, so batches and ranks do not matter."""
    stop: str = "never"
    """`never`: all K samples of every question. `label`: none that cannot change the question's boundary label any more; the label is that
    of all K, the confidence is known between bounds alone."""
    backend: str = added("tree")
    """`tree`: Hugging Face, one prefill per image and question. `vllm`: vLLM in this process. `openai`: a server (docs/judges.md)."""
    server: ServerConfig = added(ServerConfig())
    """`openai`: where the checkpoint is served; `model` may hold `{checkpoint}`, the folder of the checkpoint that answers."""

    def __post_init__(self) -> None:
        positive("k", self.k)
        self.server.check_sampling(self.backend, temperature=self.temperature, top_p=self.top_p, stop=self.stop)
        at_least("fresh", self.fresh, 0)
        one_of("stop", self.stop, ("never", "label"))
        if self.stop == "label" and self.fresh:
            raise ValueError(
                f"stop: 'label' with fresh={self.fresh}: fresh samples grade a confidence of all K; take stop=never or fresh=0"
            )
        positive("temperature", self.temperature)
        within("top_p", self.top_p, 1e-6, 1)
        positive("max_new_tokens", self.max_new_tokens)
        positive("trees_per_batch", self.trees_per_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryConfig:
    """When a question counts as known."""

    tau: float = 0.5
    """Confidence from which on a question is KNOWN; 0.5 is the indifference point of the +1/0/-1 score."""

    mistaken: float | None = None
    """Consistency (share of the most frequent answer) from which on a question that is not KNOWN is MISTAKEN: the model is sure and wrong,
    so it is taught the answer instead of the refusal. In (0.5, 1]; None makes all of them UNKNOWN."""

    def __post_init__(self) -> None:
        within("tau", self.tau, 0, 1)
        if self.mistaken is not None and not 0.5 < self.mistaken <= 1:
            raise ValueError(f"mistaken: {self.mistaken!r} is not in (0.5, 1]; at most half of the samples agreeing is no conviction")


SFT_METHODS = ("soft", "threshold", "plain", "extrinsic", "verb", "suffix", "levels")
QUESTIONS = ("all", "answerable", "beyond-image")
ALTERATIONS = ("blank", "occluded")


@dataclass(frozen=True, slots=True, kw_only=True)
class SftDataConfig:
    """What the SFT stage is shown."""

    method: str = "soft"
    """`soft`: answer with weight c and refusal with weight 1-c (CA-SFT). `threshold`: answer if KNOWN else refusal (IDK-IT).
    `plain`: gold answers alone, no refusals (the control). `extrinsic`: answer if answerable else refusal, whatever the model knows.
    `verb`: the answer in one of five degrees of confidence, a refusal at c = 0. `suffix`: the gold answer, and that the model is sure of it
    if KNOWN, unsure otherwise. `levels`: the question at several levels of boldness l, answered from c = 1.1 - l on."""
    answer: str = added("gold")
    """What is taught as the answer: `gold`; `sample`, one of the model's correct samples; `samples`, all of them, each by its share."""
    of: str = added("all")
    """Questions that get examples: `all`, `answerable` or `beyond-image`."""
    levels: int = added(3)
    """`levels`: so many of the eleven levels, 0 to 1 in tenths, are drawn for each question."""
    mislead: bool = added(False)
    """Show every answerable question three times: as it is, with an explicit and with an implicit hint at a wrong answer; one target."""
    dead_band: float = 0.0
    """`soft` and `threshold`: answerable questions with |c - tau| below this get no example, in [0, 0.5]."""
    reason_share: float = 0.3
    """Share of the refusals that also state the reason, in [0, 1]."""
    seed: int = 0
    """Seed of the refusal wordings."""

    def __post_init__(self) -> None:
        one_of("method", self.method, SFT_METHODS)
        one_of("answer", self.answer, ("gold", "sample", "samples"))
        one_of("of", self.of, QUESTIONS)
        within("levels", self.levels, 1, 11)
        within("dead_band", self.dead_band, 0, 0.5)
        within("reason_share", self.reason_share, 0, 1)
        if self.dead_band and self.method not in ("soft", "threshold", "plain"):
            raise ValueError(f"dead_band: {self.dead_band} with method={self.method!r}, which has none; take dead_band=0")
        if self.answer == "samples" and self.method != "soft":
            raise ValueError(f"answer: 'samples' with method={self.method!r}; only method='soft' weighs answers; take answer=sample")
        if self.answer != "gold" and self.method in ("plain", "extrinsic", "suffix"):
            raise ValueError(f"answer: {self.answer!r} with method={self.method!r}, which teaches the gold answer; take answer=gold")
        if self.of == "beyond-image" and self.method == "plain":
            raise ValueError("of: 'beyond-image' with method='plain' leaves no example; take of=all, or method=extrinsic")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsConfig:
    """Which preference pairs are built."""

    form: str = "single"
    """`single`: one pair a question, gold answer against refusal if KNOWN, refusal against the model's most frequent wrong answer
    otherwise. `duplicated`: one pair per distinct sampled answer, weight n/K, a correct answer over the refusal and the refusal over
    a wrong one (A'; see `losses/dpo.py`). `knowledge`: as `single`, and if KNOWN also the gold answer against the most
    frequent wrong one (RLKF)."""
    dead_band: float = 0.0
    """Answerable questions with |c - tau| below this get no pair, in [0, 0.5]."""
    of: str = added("all")
    """Questions that get pairs: `all`, `answerable` or `beyond-image`."""
    altered: str = added("")
    """Alteration of the image under which both sides are looked at as well, for the losses `mdpo` and `v-dpo`: `blank` (grey) or
    `occluded` (four cells of five of an 8x8 grid are grey). Empty otherwise."""
    reason_share: float = 0.3
    """Share of the refusals that also state the reason, in [0, 1]."""
    seed: int = 0
    """Seed of the refusal wordings."""

    def __post_init__(self) -> None:
        one_of("form", self.form, ("single", "duplicated", "knowledge"))
        one_of("of", self.of, QUESTIONS)
        one_of("altered", self.altered, ("", *ALTERATIONS))
        within("dead_band", self.dead_band, 0, 0.5)
        within("reason_share", self.reason_share, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictConfig:
    """How responses are produced for evaluation; decoding is greedy."""

    max_new_tokens: int = 24
    """Longest response, end-of-sequence included."""
    trees_per_batch: int = 32
    """Images (each with all its questions) decoded together."""
    backend: str = added("tree")
    """As `sampling.backend`."""
    server: ServerConfig = added(ServerConfig())
    """As `sampling.server`."""

    def __post_init__(self) -> None:
        self.server.check_sampling(self.backend)
        positive("max_new_tokens", self.max_new_tokens)
        positive("trees_per_batch", self.trees_per_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """How predictions become numbers."""

    bootstrap: int = 2000
    """Bootstrap resamples (over images, and over seeds where there are several) for every interval."""
    seed: int = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        at_least("bootstrap", self.bootstrap, 10)
