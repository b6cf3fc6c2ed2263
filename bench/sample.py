"""Questions per second of drawing K samples each, against `model.generate(num_return_sequences=K)`: questions / time.

Plain `generate` is measured in batches and, as `-loop`, one question a call. Weights are random, so all samples of a question part at their
first token and run to the longest response: the worst case for ours, which shares tokens that samples have in common.
"""

from __future__ import annotations

from typing import Any

from bench.harness import Measure, Prepared
from bench.shapes import SHAPES, World
from bench.steps import Floor, as_loaded, fastest
from inbol.models.generate import decode_trees, uniforms
from inbol.models.tree import Branch, Tree, TreeCollator

K = 10
"""Samples per question."""
QUESTIONS = 5
"""Per timed call."""
CASES = {f"sample-{shape}{loop}": (shape, bool(loop)) for loop in ("", "-loop") for shape in ("5q-576", "1q-576", "5q-64", "1q-64")}


def prepare(name: str) -> Prepared:
    """Build both sides, hold their greedy responses against each other, find the best batches.

    Raises:
        AssertionError: the sides do not decode the same tokens greedily.
    """
    shape_name, loop = CASES[name]
    shape = SHAPES[shape_name]
    longest = shape.response[1]
    world = World(shape, images=QUESTIONS // shape.questions)
    model = as_loaded(world.model(0))
    collator = TreeCollator(world.processor)
    eos = int(world.processor.tokenizer.eos_token_id)
    by_image = [world.pairs[n * shape.questions : (n + 1) * shape.questions] for n in range(world.images)]

    def ours(micro: int, *, greedy: bool = False) -> list[list[int]]:
        """[questions * samples] responses, question by question; `micro` images a call."""
        found = []
        for start in range(0, world.images, micro):
            groups = by_image[start : start + micro]
            trees = [Tree(world.load_image(g[0].image_key), tuple(Branch(p.prompt) for p in g)) for g in groups]
            random = [uniforms(0, p.key, K, longest) for g in groups for p in g]
            decoded = decode_trees(model, collator(trees), eos_token_id=eos, max_new_tokens=longest, random=None if greedy else random)
            found += [ids for branches in decoded for branch in branches for ids in branch.ids]
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

    our_greedy, their_greedy = ours(1, greedy=True), theirs(QUESTIONS, greedy=True)
    assert our_greedy == their_greedy, f"greedy responses differ: ours {our_greedy}, generate's {their_greedy}"
    batch, their_step = (1, lambda: theirs(1)) if loop else fastest(lambda size: lambda: theirs(size), (QUESTIONS, 2))
    _, our_step = fastest(lambda size: lambda: ours(size), sorted({1, world.images}))
    # one forward over every token that is ever fed, as if the samples were known
    flat = [(n, tuple(Branch(p.prompt, (p.chosen,) * K) for p in group)) for n, group in enumerate(by_image)]
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
        peer="`generate`, one question a call" if loop else f"`generate`, {batch} questions a call",
        peer_package="transformers",
    )
