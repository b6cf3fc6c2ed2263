"""Which engine answers in `sample` and `predict`: trees of our own, vLLM, or a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from inbol.config.serving import CHECKPOINT, ServerConfig
from inbol.contracts import Question
from inbol.endpoint.decoding import Ask, Drawn, ServerDecoder
from inbol.endpoint.vllm_engine import VllmDecoder
from inbol.models.tree import Tree
from inbol.stages.job import Job
from inbol.stages.judge import server_of

CACHE = "answer_cache"


class OutsideDecoder:
    """A checkpoint that answers question by question, in an engine that is not ours."""

    def __init__(self, engine: ServerDecoder | VllmDecoder) -> None:
        self.engine = engine

    def prompt_tokens(self, prompts: Sequence[str]) -> int:
        """Length by which questions are grouped; in characters, the tokens are the engine's own."""
        return sum(map(len, prompts))

    def draw(
        self,
        trees: Sequence[Tree],
        asked: Sequence[Sequence[Question]],
        *,
        draws: int,
        max_new_tokens: int,
        seed: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> Iterator[tuple[Question, Drawn]]:
        """Every question with its responses; temperature 0 is greedy."""
        flat = [
            (question, Ask(key=question.key, prompt=branch.prompt, image=tree.image))
            for tree, questions in zip(trees, asked, strict=True)
            for branch, question in zip(tree.branches, questions, strict=True)
        ]
        drawn = self.engine.draw(
            [ask for _, ask in flat], draws=draws, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
        )
        yield from zip((question for question, _ in flat), drawn, strict=True)

    def close(self) -> None:
        """End the connection."""
        self.engine.close()


def open_outside(job: Job, backend: str, server: ServerConfig, checkpoint: Path) -> OutsideDecoder:
    """The engine `vllm` or `openai`. Raises ValueError where it is not there."""
    if backend == "vllm":
        return OutsideDecoder(VllmDecoder(checkpoint))
    where = server_of(server, model=server.model.replace(CHECKPOINT, str(checkpoint)))
    ledger = job.out / f"requests-{job.rank}.jsonl"
    return OutsideDecoder(
        ServerDecoder(where, cache=job.out.parent.parent / CACHE, ledger=ledger, identity=f"{job.stage}/{job.fingerprint}")
    )
