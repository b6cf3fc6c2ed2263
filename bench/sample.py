"""Questions per second of drawing K samples each, against `model.generate(num_return_sequences=K)`: questions / time.

Plain `generate` is measured in batches and, as `-loop`, one question a call. Weights are random, so all samples of a question part at their
first token and run to the longest response: the worst case for ours, which shares tokens that samples have in common.

`-stop`: ours drops samples that cannot change their question's label any more (`sampling.stop=label`), which `generate` cannot. Random
weights all but never end a response, so that all samples end together, at the longest, and there is nothing to drop. So there the output
head of both sides has a bias for end-of-sequence, with which a token in seven ends its response. No sample is correct: as random as the
weights, and the label is known when more than K (1 - tau) samples have ended.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from bench.harness import Measure, Prepared
from bench.shapes import SHAPES, WORDS, World
from bench.steps import Floor, as_loaded, fastest
from inbol.contracts import Question
from inbol.models.generate import decode_trees, uniforms
from inbol.models.head import logits_at
from inbol.models.tree import Branch, Tree, TreeBatch, TreeCollator, forward_trees
from inbol.probing.stopping import fixed_label

K = 10
"""Samples per question."""
QUESTIONS = 5
"""Per timed call."""
ENDING = 0.15
"""Share of the first tokens that end a response, in `-stop`."""
TAU = 0.5
"""Share of correct samples from which on a question is known, in `-stop`."""
CASES = {f"sample-{shape}{kind}": (shape, kind) for kind in ("", "-loop", "-stop") for shape in ("5q-576", "1q-576", "5q-64", "1q-64")}


def prepare(name: str, clock: str) -> Prepared:
    """Build both sides, hold their greedy responses against each other, find the best batches.

    Raises:
        AssertionError: the sides do not decode the same tokens greedily, or stopping changes a label or a response that is kept.
    """
    shape_name, kind = CASES[name]
    shape = SHAPES[shape_name]
    longest = shape.response[1]
    world = World(shape, images=QUESTIONS // shape.questions)
    model = as_loaded(world.model(0))
    collator = TreeCollator(world.processor)
    eos = int(world.processor.tokenizer.eos_token_id)
    by_image = [world.pairs[n * shape.questions : (n + 1) * shape.questions] for n in range(world.images)]
    questions = [Question(key=p.key, image_key=p.image_key, text=p.prompt, answers=("no such word",)) for p in world.pairs]

    def trees(start: int, stop: int) -> TreeBatch:
        """Of the images, without responses."""
        return collator([Tree(world.load_image(g[0].image_key), tuple(Branch(p.prompt) for p in g)) for g in by_image[start:stop]])

    def label(question: Question, ids: list[list[int]]) -> object:
        texts = [collator.encoder.decode(response) for response in ids]
        return fixed_label(texts, question, k=K, tau=TAU, mistaken=None)

    def ours(micro: int, *, greedy: bool = False, stop: bool = False) -> list[list[list[int]]]:
        """[questions] of [samples] responses; `micro` images a call."""
        found = []
        for start in range(0, world.images, micro):
            random = [uniforms(0, p.key, K, longest) for g in by_image[start : start + micro] for p in g]

            def enough(branch: int, ids: list[list[int]], first: int = start * shape.questions) -> bool:
                return label(questions[first + branch], ids) is not None

            decoded = decode_trees(
                model, trees(start, start + micro), eos_token_id=eos, max_new_tokens=longest,
                random=None if greedy else random, enough=enough if stop else None,
            )  # fmt: skip
            found += [branch.ids for branches in decoded for branch in branches]
        return found

    def theirs(batch: int, *, greedy: bool = False) -> list[list[int]]:
        """The same; `batch` questions a call, without the prompt, cut after end-of-sequence."""
        settings: dict[str, Any] = {"do_sample": True, "top_k": 0, "top_p": 1.0, "num_return_sequences": K}
        found = []
        for start in range(0, QUESTIONS, batch):
            pairs = world.pairs[start : start + batch]
            inputs = world.processor(
                text=[collator.encoder.render(p.prompt) for p in pairs],
                images=[world.load_image(p.image_key) for p in pairs],
                add_special_tokens=False, padding=True, return_tensors="pt",
            )  # fmt: skip
            out = model.generate(**inputs, max_new_tokens=longest, **({"do_sample": False} if greedy else settings))
            responses = out[:, inputs["input_ids"].shape[1] :].tolist()
            found += [ids[: ids.index(eos) + 1] if eos in ids else ids for ids in responses]
        return found

    our_greedy, their_greedy = [ids for question in ours(1, greedy=True) for ids in question], theirs(QUESTIONS, greedy=True)
    assert our_greedy == their_greedy, f"greedy responses differ: ours {our_greedy}, generate's {their_greedy}"
    stop = kind == "-stop"
    if stop:
        end_responses(model, trees(0, world.images), eos)
    drawn = ours(1, stop=stop)
    if stop:
        whole = ours(1)
        for question, kept, every in zip(questions, drawn, whole, strict=True):
            assert all(ids in every for ids in kept), f"{question.key}: a response is another when the rest are dropped"
            assert label(question, kept) == label(question, every) is not None, f"{question.key}: another label when the rest are dropped"
        print(f"{name}: kept {sum(map(len, drawn))} of {K * QUESTIONS} responses, {tokens(drawn)} of {tokens(whole)} tokens")
    batch, their_step = (1, lambda: theirs(1)) if kind == "-loop" else fastest(lambda n: lambda: theirs(n), (QUESTIONS, 2, 1), clock)
    _, our_step = fastest(lambda micro: lambda: ours(micro, stop=stop), sorted({1, world.images}), clock)
    # one forward over every token that is kept, as if the samples were known; a word is a token, and end-of-sequence is one more
    texts = [tuple(" ".join([WORDS[0]] * (len(ids) - (ids[-1] == eos))) for ids in question) for question in drawn]
    branches = [Branch(question.text, responses) for question, responses in zip(questions, texts, strict=True)]
    flat = [(n, tuple(branches[n * shape.questions : (n + 1) * shape.questions])) for n in range(world.images)]
    return Prepared(
        sides={"ours": our_step, "peer": their_step, "floor": Floor(model, world, flat, optimizer=False)},
        measures=(
            Measure(
                name=name,
                unit="questions/s",
                ours=lambda times: QUESTIONS / times["ours"],
                peer=lambda times: QUESTIONS / times["peer"],
                floor=lambda times: times["ours"] / times["floor"],
            ),
        ),
        peer="`generate`, one question a call" if batch == 1 else f"`generate`, {batch} questions a call",
        peer_package="transformers",
    )


def tokens(drawn: list[list[list[int]]]) -> int:
    """Of all responses, end-of-sequence included."""
    return sum(len(ids) for question in drawn for ids in question)


@torch.inference_mode()
def end_responses(model: Any, batch: TreeBatch, eos: int) -> None:
    """Give the output head a bias with which `ENDING` of the first tokens of the batch's responses are end-of-sequence, on average."""
    rows = [
        row * batch.keep + end - batch.inputs["input_ids"].shape[1] + batch.keep
        for row, ends in zip(batch.tree_rows, batch.prompt_ends, strict=True)
        for end in ends
    ]
    with logits_at(model, torch.tensor(rows)):
        logits = forward_trees(model, batch, use_cache=False).logits[0]  # [Q, V]
    own = logits[:, eos].clone()
    logits[:, eos] = float("-inf")
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[eos] = (logits.logsumexp(-1) - own).mean() + math.log(ENDING / (1 - ENDING))
    head.bias = torch.nn.Parameter(bias, requires_grad=False)
