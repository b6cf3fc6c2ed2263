"""Stage `base`: the model that is to learn its boundaries. A pretrained checkpoint is linked; the tiny one is trained from scratch.

The tiny base learns in two phases under DeepSpeed: its vision tower on shape and colour, then the whole model on questions and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inbol.config.stages import BaseStage
from inbol.config.training import BaseConfig, TinyModelConfig
from inbol.contracts import Question, VqaSample
from inbol.shards.reader import read_shard, shard_names
from inbol.sources.easy_vqa import asks_what_is_there
from inbol.sources.wordings import COLORS, SHAPES, Meaning
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.stages.training_parts import Start, budget, finish_training, finished, sharding, stage_tracker
from inbol.text.refusals import all_refusals, say_refusals

if TYPE_CHECKING:
    from inbol.training.pretrain import Lesson


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/`."""
    config: BaseStage = job.config
    if config.base.kind == "pretrained":
        return _link(job.out / "checkpoint", config.base) if job.rank == 0 else {}
    return _train_tiny(job, config)


def _link(target: Path, base: BaseConfig) -> dict[str, Any]:
    """Point `checkpoint` at a local folder, or at the hub's snapshot of a pinned revision."""
    from inbol.models.load import load_processor

    source = Path(base.path)
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        source = Path(snapshot_download(base.path, revision=base.revision))
    load_processor(source)  # a folder without a processor is refused here, not hours later
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())
    return {"path": base.path, "revision": base.revision}


def _train_tiny(job: Job, config: BaseStage) -> dict[str, Any]:
    import torch.distributed as dist
    from safetensors.torch import load_file, save_file
    from trl import SFTConfig

    from inbol.models.load import freeze_vision_tower
    from inbol.models.tree import TreeCollator
    from inbol.training.engine import start_ranks
    from inbol.training.pretrain import PretrainObjective
    from inbol.training.tower import UNKNOWN, TowerObjective, TowerProbe
    from inbol.training.trainer import train

    if (facts := finished(job)) is not None:
        return facts
    rank, world_size = start_ranks()
    base, shape = config.base, config.base.tiny
    samples = [s for name in shard_names(job.inputs["vqa"], ["pretrain"]) for s in read_shard(job.inputs["vqa"], name)]
    if not samples:
        raise ValueError(
            f"{job.inputs['vqa']}: no pretrain images; set source.pretrain_images, or take a pretrained base (base.kind=pretrained)"
        )
    model, processor = _build(shape, _corpus(samples), config.seed)
    collator = TreeCollator(processor)
    objective = PretrainObjective(
        samples,
        collator,
        lessons=lessons(base),
        questions_per_image=base.questions_per_image,
        say_items=base.say_items,
        refusals=say_refusals(),
        seed=config.seed,
    )
    common: dict[str, Any] = {
        "config_class": SFTConfig,
        "sharding": sharding(config.deepspeed),
        "seed": config.seed,
        "rank": rank,
        "world_size": world_size,
        "report": Progress(job),
    }
    if base.tower_epochs:
        # A copy is warmed up and its weights are loaded back: DeepSpeed's gradient hooks of this run stay on its parameters, and would
        # reduce (and keep) the gradients of the next run a second time.
        tower_file = job.out / "tower.safetensors"
        if not tower_file.exists():
            probe = TowerProbe(deepcopy(model.model.vision_tower), shape.hidden_size, (len(SHAPES), len(COLORS)))
            labels = [(_class(s.meta.get("shape"), SHAPES, UNKNOWN), _class(s.meta.get("color"), COLORS, UNKNOWN)) for s in samples]
            warm_up = replace(
                base.optim, lr=base.tower_lr, epochs=base.tower_epochs, global_batch=base.tower_batch, micro_batch=base.tower_batch
            )
            train(
                TowerObjective(
                    labels,
                    partial(objective.clear_image, undegraded_epochs=base.tower_epochs // 2),
                    processor.image_processor,
                    [sample.key for sample in samples],
                ),
                probe,
                None,
                folder=job.out / "trainer" / "tower",
                budget=budget(warm_up),
                note="vision tower, ",
                **common,
            )
            if rank == 0:
                part = tower_file.with_suffix(".part")
                save_file({name: t.detach().cpu().contiguous() for name, t in probe.tower.state_dict().items()}, str(part))
                part.rename(tower_file)
            if world_size > 1:
                dist.barrier()
        model.model.vision_tower.load_state_dict(load_file(str(tower_file)))
    if base.tower_lr_factor == 0:
        freeze_vision_tower(model)  # AdamW would keep states for it, and the backward pass would go through it, for nothing
    start = Start(
        model=model,
        processor=processor,
        collator=collator,
        rank=rank,
        world_size=world_size,
        tracker=stage_tracker(job, rank),
        facts={"parameters": sum(p.numel() for p in model.parameters()), "vocabulary": len(processor.tokenizer)},
    )
    trainer, facts = train(
        objective,
        model,
        processor,
        folder=job.out / "trainer" / "llava",
        budget=budget(base.optim),
        lr_factors={"vision_tower": base.tower_lr_factor},
        track=start.tracker.log,
        replay=start.tracker.cut_off,
        **common,
    )
    return finish_training(job, trainer, start, facts)


def _build(shape: TinyModelConfig, texts: list[str], seed: int) -> tuple[Any, Any]:
    """The untrained model and its processor."""
    from inbol.models.tiny import build_model, build_processor, build_tokenizer
    from inbol.models.tiny_families import build_tiny

    if shape.family != "llava":
        sizes = {"vocab_size": shape.vocab_size, "hidden_size": shape.hidden_size, "layers": shape.text_layers}
        return build_tiny(shape.family, texts, seed=seed, **sizes)
    tokenizer = build_tokenizer(texts, shape.vocab_size)
    model = build_model(
        tokenizer,
        image_size=shape.image_size,
        patch_size=shape.patch_size,
        hidden_size=shape.hidden_size,
        vision_layers=shape.vision_layers,
        text_layers=shape.text_layers,
        heads=shape.heads,
        seed=seed,
        initializer_range=shape.hidden_size**-0.5,  # the library's 0.02 is for widths of thousands; here it costs hundreds of steps
    )
    return model, build_processor(tokenizer, image_size=shape.image_size, patch_size=shape.patch_size)


def lessons(base: BaseConfig) -> list[Lesson]:
    """Comparing undegraded images with affirmative questions; all questions about them, in balance; then the data set as it is."""
    from inbol.training.pretrain import Lesson

    def affirmative(sample: VqaSample) -> list[tuple[Sequence[Question], int]]:
        absent, rest = by_presence([question for question in answerable(sample) if not Meaning(question.template).negated])
        yes_no = [question for question in rest if question.kind == "yes/no"]
        what = [question for question in rest if question.kind != "yes/no"]
        return [(absent, base.absent_color_questions), (what, base.affirmative_what_questions), (yes_no, base.questions_per_image)]

    def balanced(sample: VqaSample) -> list[tuple[Sequence[Question], int]]:
        absent, rest = by_presence(answerable(sample))
        return [(absent, base.absent_color_questions), (rest, base.questions_per_image)]

    def natural(sample: VqaSample) -> list[tuple[Sequence[Question], int]]:
        return [([question for question in answerable(sample) if not asks_what_is_there(question)], base.questions_per_image)]

    def answerable(sample: VqaSample) -> list[Question]:
        return [question for question in sample.questions if question.answerable]

    def by_presence(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
        absent = [question for question in questions if asks_about_absent_color(question)]
        return absent, [question for question in questions if question not in absent]

    epochs = base.optim.epochs
    return [
        Lesson(until=base.affirmative_share * epochs, undegraded=True, pools=affirmative),
        Lesson(until=base.undegraded_share * epochs, undegraded=True, pools=balanced),
        Lesson(until=epochs, undegraded=False, pools=natural),
    ]


def asks_about_absent_color(question: Question) -> bool:
    """A yes/no question about a colour whose answer says that it is not there."""
    meaning = Meaning(question.template)
    return meaning.name in ("has-color", "no-color") and (question.answers[0] == "yes") == meaning.negated


def _class(value: Any, classes: tuple[str, ...], unknown: int) -> int:
    return classes.index(value) if value in classes else unknown


def _corpus(samples: list[VqaSample]) -> list[str]:
    """Texts the tokenizer is trained on: questions and answers of the pre-training split, and the refusals."""
    texts = [
        f"USER: \n{question.text} ASSISTANT: {question.answers[0]}"
        for sample in samples
        for question in sample.questions
        if question.answerable
    ]
    return texts + [f"USER: \nsay: {refusal} ASSISTANT: {refusal}" for refusal in all_refusals()]
