"""Configuration of servers that answer over the OpenAI protocol: the judge, and the ones that a model can be sampled from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inbol.config.checks import at_least, one_of, positive, variables
from inbol.config.identity import working

BACKENDS = ("tree", "vllm", "openai")
CHECKPOINT = "{checkpoint}"
"""In `model`: stands for the folder of the checkpoint that a stage answers with."""
DIMENSIONS = ("refusal", "correctness", "rationality", "helpfulness")
_ADDRESS = re.compile(r"https?://[^/?#\s]+[^?#\s]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """An OpenAI-compatible server, and how it may be asked."""

    base_url: str = ""
    """Address up to and with the version, such as `http://127.0.0.1:8000/v1`; `/chat/completions` is appended."""
    model: str = ""
    """Name of the model as the server knows it."""
    key_env: str = working("")
    """Name of the environment variable that holds the key, such as `JUDGE_API_KEY`; empty for a server without one. Never the key."""
    requests_per_minute: int = working(0)
    """Requests that may begin in any 60 s; 0 for no limit."""
    tokens_per_minute: int = working(0)
    """Tokens, asked and answered, in any 60 s; 0 for no limit. Estimated before a request, corrected by what the server counted."""
    concurrency: int = working(4)
    """Requests under way at once."""
    timeout_s: float = working(120.0)
    """Longest wait for one whole answer, in seconds."""
    attempts: int = working(5)
    """Requests for one answer, the first included, where the server is busy (429), fails (5xx), stalls or breaks off."""
    longest_wait_s: float = working(60.0)
    """Longest pause between two of them, in seconds; a longer `Retry-After` is cut to it."""

    def __post_init__(self) -> None:
        if self.base_url and not _ADDRESS.fullmatch(self.base_url):
            raise ValueError(f"base_url: {self.base_url!r} is no address such as http://127.0.0.1:8000/v1")
        if self.key_env:
            variables("key_env", [self.key_env])
        at_least("requests_per_minute", self.requests_per_minute, 0)
        at_least("tokens_per_minute", self.tokens_per_minute, 0)
        positive("concurrency", self.concurrency)
        positive("timeout_s", self.timeout_s)
        positive("attempts", self.attempts)
        positive("longest_wait_s", self.longest_wait_s)

    def check_sampling(self, backend: str, *, temperature: float = 1.0, top_p: float = 1.0, stop: str = "never") -> None:
        """Refuse what a model behind this server, or in vLLM, cannot be asked for."""
        one_of("backend", backend, BACKENDS)
        if backend != "tree" and stop != "never":
            raise ValueError(f"stop: {stop!r} needs backend='tree', which drops samples while others are decoded; take stop=never")
        if backend != "openai":
            return
        for name in ("base_url", "model"):
            if not getattr(self, name):
                raise ValueError(f"server.{name}: empty, but backend='openai' asks a server")
        if (temperature, top_p) != (1.0, 1.0):
            raise ValueError(
                f"backend: 'openai' with temperature={temperature}, top_p={top_p}: the protocol leaves open which distribution "
                "log-probabilities are of; take 1 and 1, or another backend"
            )

    def need_address(self) -> None:
        """Raise ValueError without an address or a model."""
        for name in ("base_url", "model"):
            if not getattr(self, name):
                raise ValueError(f"{name}: empty; name the {'server' if name == 'base_url' else 'model as the server knows it'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig(ServerConfig):
    """Who grades responses: the rules of `text/`, or besides them a model behind a server."""

    kind: str = "rules"
    """`rules`, or `openai`: an OpenAI-compatible server gives verdicts besides."""
    decides: bool = False
    """Whether the judge's verdicts are the table's numbers; otherwise the rules are, and the judge is a second opinion beside them."""
    dimensions: tuple[str, ...] = DIMENSIONS
    """What is judged: `refusal`, `correctness` (of what can be answered), `rationality` (of refusals) and `helpfulness` (of a benchmark
    that measures it)."""
    pictures: bool = True
    """Whether the judge of rationality and helpfulness is shown the picture; it then leaves this machine."""
    max_tokens: int = 256
    """Longest answer of the judge."""
    rereads: int = 2
    """How often it is asked again when its answer cannot be read; then the response is unjudged."""
    max_requests: int = 0
    """Requests that one stage may send, earlier attempts at it included; 0 for no limit. The rest is unjudged."""
    max_cost: float = 0.0
    """Cost at which a stage stops asking, in the currency of the prices; 0 for no limit. The rest is unjudged."""
    input_price: float = 0.0
    """Price of a million tokens asked."""
    output_price: float = 0.0
    """Price of a million tokens answered."""
    cache: str = working("")
    """Folder of all answers so far, by content; empty for `judge_cache` in the runs folder."""

    def __post_init__(self) -> None:
        ServerConfig.__post_init__(self)
        one_of("kind", self.kind, ("rules", "openai"))
        if not self.dimensions:
            raise ValueError("dimensions: empty; name at least one of " + ", ".join(DIMENSIONS))
        for name in self.dimensions:
            one_of("dimensions", name, DIMENSIONS)
        if "rationality" in self.dimensions and "refusal" not in self.dimensions:
            raise ValueError("dimensions: 'rationality' is judged of what the judge found to refuse; add 'refusal'")
        positive("max_tokens", self.max_tokens)
        for name in ("rereads", "max_requests", "max_cost", "input_price", "output_price"):
            at_least(name, getattr(self, name), 0)
        if self.max_cost and not (self.input_price or self.output_price):
            raise ValueError(f"max_cost: {self.max_cost} bounds nothing while input_price and output_price are 0")
        if self.kind == "openai":
            self.need_address()
        if self.decides and self.kind == "rules":
            raise ValueError("decides: true needs kind='openai'; the rules decide otherwise")
        if self.decides and not {"refusal", "correctness"} <= set(self.dimensions):
            raise ValueError("decides: true needs the dimensions 'refusal' and 'correctness'")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeStage:
    """`judge`: a server's verdicts on one system's responses."""

    judge: JudgeConfig
    split: str
    benchmark: str = ""
    """Name of the benchmark whose responses are judged; empty for the recipe's split."""
    bootstrap: int = 2000
    """Resamples behind the interval of the agreement."""
    seed: int = 0
    """Of the resampling."""
