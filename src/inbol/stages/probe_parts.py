"""What `sample` and `predict` share: all questions about an image below one tree, shard by shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inbol import interrupt
from inbol.config.serving import ServerConfig
from inbol.contracts import UNSHOWN, Question, VqaSample
from inbol.models.generate import Decoded, decode_trees
from inbol.models.load import load_model, load_processor, pick_device
from inbol.models.tree import Branch, Tree, TreeCollator, prompt_states, response_logps
from inbol.shards.files import read_records, write_records
from inbol.shards.images import decode_image
from inbol.shards.reader import read_shard, shard_names
from inbol.stages.backends import OutsideDecoder, open_outside
from inbol.stages.job import Job
from inbol.stages.progress import Progress


class Decoder:
    """A checkpoint that answers trees of questions."""

    def __init__(self, checkpoint: Path) -> None:
        self.device = pick_device()
        self.model = load_model(checkpoint).eval().to(self.device)
        self.collator = TreeCollator(load_processor(checkpoint))

    def __call__(self, trees: Sequence[Tree], **decoding: Any) -> list[list[Decoded]]:
        """See `decode_trees`."""
        batch = self.collator(trees).to(self.device, self.model.dtype)
        return decode_trees(self.model, batch, eos_token_id=self.collator.encoder.eos_token_id, **decoding)

    @torch.inference_mode()
    def score(self, trees: Sequence[Tree]) -> tuple[list[float], list[int]]:
        """Log-probability in nats, and tokens, of every response of the trees; see `response_logps`."""
        logps, lengths = response_logps(self.model, self.collator(trees).to(self.device, self.model.dtype))
        return logps.tolist(), lengths.tolist()

    @torch.inference_mode()
    def states(self, trees: Sequence[Tree]) -> NDArray[np.float32]:
        """[Q, D] hidden state at the end of every prompt; see `prompt_states`."""
        return prompt_states(self.model, self.collator(trees).to(self.device, self.model.dtype)).float().cpu().numpy()

    @torch.inference_mode()
    def logps(self, trees: Sequence[Tree], responses: Sequence[str]) -> list[list[float]]:
        """log of the summed probability of `responses` below every branch (nats, teacher-forced), by tree and branch."""
        below = [Tree(tree.image, tuple(replace(branch, responses=tuple(responses)) for branch in tree.branches)) for tree in trees]
        logps, _ = response_logps(self.model, self.collator(below).to(self.device, self.model.dtype))
        sums = iter(logps.double().reshape(-1, len(responses)).logsumexp(dim=1).tolist())
        return [[next(sums) for _ in tree.branches] for tree in trees]

    def prompt_tokens(self, prompts: Sequence[str]) -> int:
        """Tokens of a tree with these prompts, the image's aside."""
        return sum(len(self.collator.encoder.suffix_ids(prompt)) for prompt in prompts)

    def close(self) -> None:
        """Nothing is held."""

    def text(self, ids: list[int]) -> str:
        """Decoded text."""
        return self.collator.encoder.decode(ids)


def answer_shards(
    job: Job,
    splits: Sequence[str],
    trees_per_batch: int,
    render: Callable[[Question], str],
    answer: Callable[[Any, list[Tree], list[list[Question]]], Iterator[Any]],
    unasked: Callable[[Question], Any] = lambda question: None,
    *,
    backend: str = "tree",
    server: ServerConfig | None = None,
) -> dict[str, Any]:
    """Answer every answerable and unsolvable question of `splits`, writing one record file per shard; existing files are kept.

    `answer(decoder, trees, questions)` yields one record per question. Trees of like length are answered together, so that little is
    padded, the longest first, so that memory that is too small shows at once; records stand in the order of the questions.

    Args:
        answer: is given a `Decoder`, or for another backend an `OutsideDecoder`.
        backend: as `sampling.backend`, with its `server`.
        unasked: the record of a question that needs no response; None asks the model.

    Returns:
        The number of shards and records of this process.
    """
    vqa, unsolvable = job.inputs["vqa"], job.inputs["unsolvable"]
    names = job.share(shard_names(vqa, list(splits)))
    decoder: Decoder | OutsideDecoder | None = None
    progress, written = Progress(job), 0
    for done, name in enumerate(names):
        progress(done, len(names), name)
        out = job.out / f"{name}.jsonl"
        if out.exists():
            written += sum(1 for _ in out.open())
            continue
        decoder = decoder or open_decoder(job, backend, server)
        beyond: dict[str, list[Question]] = defaultdict(list)
        for question in read_records(unsolvable / f"{name}.jsonl", Question):
            beyond[question.image_key].append(question)
        asked = [(sample, [*sample.questions, *beyond[sample.key]]) for sample in read_shard(vqa, name)]
        records = {q.key: record for _, questions in asked for q in questions if (record := unasked(q)) is not None}
        open_ = [(sample, [q for q in questions if q.key not in records]) for sample, questions in asked]
        rows = [(sample, questions, [render(q) for q in questions]) for sample, questions in open_ if questions]
        rows.sort(key=lambda row: decoder.prompt_tokens(row[2]), reverse=True)
        for start in range(0, len(rows), trees_per_batch):
            interrupt.stop_here(f"{done} of {len(names)} shards")
            part = rows[start : start + trees_per_batch]
            trees = [Tree(shown(sample), tuple(map(Branch, prompts))) for sample, _, prompts in part]
            records.update((record.key, record) for record in answer(decoder, trees, [questions for _, questions, _ in part]))
        written += write_records(out, (records[q.key] for _, questions in asked for q in questions))
    progress(len(names), len(names), "")
    if decoder:
        decoder.close()
    return {"shards": len(names), "records": written}


def open_decoder(job: Job, backend: str, server: ServerConfig | None) -> Decoder | OutsideDecoder:
    """What answers with the checkpoint of the input `model`."""
    checkpoint = job.inputs["model"] / "checkpoint"
    return Decoder(checkpoint) if backend == "tree" else open_outside(job, backend, server or ServerConfig(), checkpoint)


def shown(sample: VqaSample) -> Image.Image | None:
    """The picture that the questions are asked about; None for none."""
    return None if sample.meta.get(UNSHOWN) else decode_image(sample.image)
