"""Responses by vLLM in this process. Written against the documented API of vLLM 0.15 (`LLM.chat`, `SamplingParams`); needs a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inbol.endpoint.decoding import Ask, Drawn, MissingLogprobs, draw_seed, messages_of


class VllmDecoder:
    """A checkpoint in vLLM."""

    def __init__(self, checkpoint: Path) -> None:
        """Raises ValueError where vLLM is not installed."""
        try:
            from vllm import LLM, SamplingParams
        except ImportError:
            raise ValueError(
                "backend: 'vllm' needs the package vllm, which needs a GPU and its own torch: pip install 'inbol-recipes[vllm]' in an "
                "environment of its own, or take backend=tree"
            ) from None
        self._params = SamplingParams
        # log-probabilities of the model itself, and no sampling defaults out of the checkpoint's generation_config.json
        self._engine = LLM(model=str(checkpoint), limit_mm_per_prompt={"image": 1}, logprobs_mode="raw_logprobs", generation_config="vllm")

    def close(self) -> None:
        """Nothing is held beyond the process."""

    def draw(self, asks: Sequence[Ask], *, draws: int, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> list[Drawn]:
        """As `ServerDecoder.draw`; all samples of a question are one request, which shares its prefill."""
        params = [
            self._params(
                n=draws,
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_new_tokens,
                seed=draw_seed(seed, ask.key, 0) if temperature else None,
                logprobs=0,  # of the drawn token alone
            )
            for ask in asks
        ]
        outputs = self._engine.chat([messages_of(ask) for ask in asks], params, use_tqdm=False)
        drawn = []
        for output in outputs:
            if any(one.cumulative_logprob is None for one in output.outputs):
                raise MissingLogprobs("vLLM")
            drawn.append(
                Drawn(
                    texts=tuple(one.text.strip() for one in output.outputs),
                    logprobs=tuple(float(one.cumulative_logprob) for one in output.outputs),
                    num_tokens=tuple(len(one.token_ids) for one in output.outputs),
                )
            )
        return drawn
