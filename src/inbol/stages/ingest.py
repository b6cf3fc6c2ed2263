"""Stage `ingest`: a raw VQA source becomes `vqa/` shards, every image written once."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Protocol

from inbol.config.data import SourceConfig
from inbol.contracts import SPLITS, VqaSample
from inbol.shards.cache import ShardCache
from inbol.shards.foreign import ForeignShards, survey
from inbol.shards.images import shrink
from inbol.shards.link import link_shards
from inbol.shards.quarantine import QUARANTINE, check_share, write_quarantine
from inbol.shards.reader import read_shard, shard_names
from inbol.shards.writer import write_shard
from inbol.sources.aokvqa import AOkvqa
from inbol.sources.degrade import Level
from inbol.sources.easy_vqa import EasyVqa
from inbol.sources.gqa import Gqa
from inbol.sources.local import LocalSource
from inbol.sources.published import Format, Options, Part, PublishedSource
from inbol.sources.vizwiz import VizWiz
from inbol.sources.vqav2 import VqaV2
from inbol.sources.vqav2_idk import VqaV2Idk
from inbol.stages.job import Job
from inbol.stages.progress import Progress

FORMATS: dict[str, Format] = {one.name: one for one in (VqaV2(), Gqa(), AOkvqa(), VizWiz(), VqaV2Idk())}
"""Published data sets by name."""


class Source(Protocol):
    """A raw data set."""

    def splits(self) -> dict[str, list[str]]:
        """Keys of the images by split, in the order they are written."""
        ...

    def build(self, split: str, key: str) -> VqaSample:
        """The sample of one image."""
        ...


def run(job: Job) -> dict[str, Any]:
    """Write `<split>-NNNNNN.tar` and `.idx.json` into `job.out`; shards that exist are kept. Returns counts of images and questions.

    Raises:
        ValueError: raw data that is wrong, or more of it than the stated share; `quarantine.jsonl` then names what.
    """
    config: SourceConfig = job.config.source
    progress = Progress(job)
    if config.link:
        facts = link_shards(job.out, config.parts or {"": config.path}, ShardCache.of_node(), progress)
    elif config.name == "shards":
        facts = copy_shards(job, progress)
    else:
        source = open_source(config)
        write_source(source, job.out, config, progress)
        facts = source.facts() if isinstance(source, PublishedSource) else {}
    return {"source": config.name, **facts, **count(job.out)}


def write_source(source: Source, out: Path, config: SourceConfig, progress: Progress) -> None:
    """Write the shards of a source; those that exist are kept."""

    def sample(split: str, key: str) -> VqaSample:
        built = source.build(split, key)
        if not config.max_pixels:
            return built
        image, image_format = shrink(built.image, config.max_pixels)
        return replace(built, image=image, image_format=image_format)

    splits = source.splits()
    done, total = 0, sum(map(len, splits.values()))
    for split, keys in splits.items():
        for number, start in enumerate(range(0, len(keys), config.images_per_shard)):
            chunk = keys[start : start + config.images_per_shard]
            path = out / f"{split}-{number:06d}.tar"
            progress(done, total, path.stem)
            if not path.exists():
                write_shard(path, (sample(split, key) for key in chunk))
            done += len(chunk)
    progress(done, total, "counting")


def copy_shards(job: Job, progress: Progress) -> dict[str, Any]:
    """Read other people's shards, set aside what cannot be used, write the rest. Raises ValueError when too much of them is bad."""
    config: SourceConfig = job.config.source
    cache = ShardCache.of_node()
    found = survey(config.parts or {"": config.path}, cache, progress)
    write_quarantine(job.out / QUARANTINE, found.problems)
    check_share(found.problems, total=found.total, share=config.max_bad_share, where=job.out / QUARANTINE)
    source = ForeignShards(found, cache, seed=config.seed, sizes=split_sizes(config))
    write_source(source, job.out, config, progress)
    return {"shards_read": len(found.addresses), "quarantined": len(found.problems), "members_never_read": found.ignored}


def open_source(config: SourceConfig) -> Source:
    """The source that `config` names. Raises ValueError for raw data that is wrong, before anything is written."""
    sizes = split_sizes(config)
    levels = tuple(Level(**asdict(level)) for level in config.levels)
    if config.name == "local":
        return LocalSource(folder=Path(config.path), seed=config.seed, sizes=sizes, levels=levels)
    if config.name in FORMATS:
        return published_source(config, sizes, levels)
    return EasyVqa(
        seed=config.seed,
        sizes=sizes,
        withheld_colors=config.withheld_colors,
        levels=levels,
        paraphrase_share=config.paraphrase_share,
        yes_no_per_image=config.yes_no_per_image,
    )


def published_source(config: SourceConfig, sizes: dict[str, int], levels: tuple[Level, ...]) -> PublishedSource:
    """A published data set in its original files below `config.path`."""
    root, files = Path(config.path), config.published
    questions, test_questions = (root / name if name else None for name in (files.questions, files.test_questions))
    parts = [Part(annotations=root / files.annotations, questions=questions, images=root / files.images)]
    if files.test_annotations:
        images = root / (files.test_images or files.images)
        parts.append(Part(annotations=root / files.test_annotations, questions=test_questions, images=images))
    return PublishedSource(
        format=FORMATS[config.name],
        parts=tuple(parts),
        seed=config.seed,
        sizes=sizes,
        options=Options(**{field.name: getattr(files, field.name) for field in fields(Options)}),
        questions_per_image=files.questions_per_image,
        levels=levels,
    )


def split_sizes(config: SourceConfig) -> dict[str, int]:
    """Images by split."""
    return dict(zip(SPLITS, (config.pretrain_images, config.align_train_images, config.align_val_images, config.test_images), strict=True))


def count(folder: Path) -> dict[str, Any]:
    """Images, questions and reworded questions by split, and images by split and level, read back from the shards."""
    images, questions, unseen, levels = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for name in shard_names(folder):
        for sample in read_shard(folder, name):
            images[sample.split] += 1
            questions[sample.split] += len(sample.questions)
            unseen[sample.split] += sum(question.wording == "unseen" for question in sample.questions)
            levels[f"{sample.split}/level-{sample.meta['level']}"] += 1
    return {
        "images": dict(images),
        "questions": dict(questions),
        "questions_in_unseen_wordings": dict(unseen),
        "images_per_level": dict(sorted(levels.items())),
    }
