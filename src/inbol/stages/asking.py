"""Puts asks (`probing/asks.py`) to a model: all questions about an image below one tree, ask by ask, each with its view of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from inbol import interrupt
from inbol.contracts import Probed, Reply
from inbol.models.generate import uniforms
from inbol.models.tree import Branch, Tree
from inbol.probing.asks import Ask, Budget, Evidence
from inbol.probing.estimators.p_ik import encode_state
from inbol.stages.probe_parts import Decoder

GREY = (128, 128, 128)


def reveal(image: Image.Image, share: float) -> Image.Image:
    """The image where a centred window with this share of its area is left and the rest is mid-grey; size and place of all stay."""
    if share >= 1:
        return image
    shown = Image.new("RGB", image.size, GREY)
    width, height = (round(side * share**0.5) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if width and height:
        shown.paste(image.convert("RGB").crop((left, top, left + width, top + height)), (left, top))
    return shown


@dataclass(slots=True)
class Row:
    """An image and what is known so far about each of its questions."""

    image: Image.Image
    asked: list[Evidence]


class Asker:
    """A model, and how much may be drawn from it."""

    def __init__(self, decoder: Decoder, budget: Budget, *, seed: int) -> None:
        self.decoder, self.budget, self.seed = decoder, budget, seed

    def __call__(self, ask: Ask, rows: Sequence[Row], *, trees_per_batch: int) -> None:
        """Ask it of every question of the rows and add the replies to their evidence; batches do not change what is drawn."""
        prompted = [(row, [ask.prompts(evidence) for evidence in row.asked]) for row in rows]
        some = [(row, prompts) for row, prompts in prompted if any(prompts)]
        some.sort(key=lambda item: -self.decoder.prompt_tokens([prompt for prompts in item[1] for prompt in prompts]))
        for start in range(0, len(some), trees_per_batch):
            interrupt.stop_here(f"ask {ask.name}")
            part = some[start : start + trees_per_batch]
            trees = [
                Tree(
                    reveal(row.image, ask.revealed),
                    tuple(Branch(prompt, ask.options(e)) for e, mine in zip(row.asked, prompts, strict=True) for prompt in mine),
                )
                for row, prompts in part
            ]
            places = [(row, n, k) for row, prompts in part for n, mine in enumerate(prompts) for k in range(len(mine))]
            if ask.kind == "state":
                for (row, n, _), state in zip(places, self.decoder.states(trees), strict=True):
                    self._extend(row, n, state=encode_state(state))
            else:
                replies = self._scored(ask, trees) if ask.kind == "score" else self._said(ask, trees, places)
                for (row, n, _), reply in zip(places, replies, strict=True):
                    self._extend(row, n, reply=reply)

    def _scored(self, ask: Ask, trees: Sequence[Tree]) -> list[Reply]:
        logps, lengths = self.decoder.score(trees)
        replies, at = [], 0
        for branch in (branch for tree in trees for branch in tree.branches):
            end = at + len(branch.responses)
            replies.append(Reply(ask=ask.name, texts=branch.responses, logprobs=tuple(logps[at:end]), num_tokens=tuple(lengths[at:end])))
            at = end
        return replies

    def _said(self, ask: Ask, trees: Sequence[Tree], places: Sequence[tuple[Row, int, int]]) -> list[Reply]:
        draws, tokens = ask.draws(self.budget), ask.tokens(self.budget)
        keys = [f"{ask.name}/{k}/{row.asked[n].question.key}" for row, n, k in places]
        random = [uniforms(self.seed, key, draws, tokens) for key in keys] if draws else None
        decoded = self.decoder(trees, max_new_tokens=tokens, random=random)
        return [
            Reply(
                ask=ask.name,
                texts=tuple(self.decoder.text(ids) for ids in drawn.ids),
                logprobs=tuple(drawn.logprobs),
                num_tokens=tuple(len(ids) for ids in drawn.ids),
            )
            for branches in decoded
            for drawn in branches
        ]

    @staticmethod
    def _extend(row: Row, n: int, *, reply: Reply | None = None, state: str = "") -> None:
        evidence = row.asked[n]
        probed = evidence.probed or Probed(key=evidence.question.key, image_key=evidence.question.image_key)
        more = (reply,) if reply else ()
        row.asked[n] = replace(evidence, probed=replace(probed, replies=(*probed.replies, *more), state=state or probed.state))
