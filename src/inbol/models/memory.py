"""What a process holds while it trains or decodes, as arithmetic: bytes from a model's shape, a batch's lengths and the sharding.

Imports no torch. `models/architecture.py` counts a model's parameters; `docs/planning.md` says what was measured and what was not.
P are all parameters, T the trained ones, N the ranks, a the bytes of a weight or activation (2 in bf16, 4 in fp32).
"""

from __future__ import annotations

from dataclasses import dataclass, field

BUCKET = 500_000_000
"""Numbers in one bucket of gradients at most (`training/engine.py` sets it)."""
LIVE = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered at most, and that it updates at once (DeepSpeed's defaults)."""
MAX_LOGITS = 2**26
"""Logits held at once at most (`models/head.py`, which a test holds to this)."""
FP32 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A stack of transformer layers."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    qk_norm: bool = False
    """Queries and keys are normed head by head (Qwen3)."""

    @property
    def q(self) -> int:
        """Numbers of all queries of a token."""
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        """Numbers of all keys of a token, and of all values."""
        return self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a model decides its memory."""

    parameters: int
    """P, tied ones once."""
    vision_parameters: int
    """Those that `peft.freeze_vision_tower` freezes."""
    largest_layer: int
    """Parameters of the largest single module."""
    text: Tower
    vision: Tower
    vocab: int
    adapters: dict[str, int] = field(default_factory=dict)
    """Inputs + outputs of the language model's linear layers, summed by the last part of their names; times r are LoRA's parameters."""
    keeps_vision_layers: bool = False
    """The output of every layer of the tower is kept until the features are chosen (LLaVA's `vision_feature_layer`)."""

    def trained(self, *, lora_rank: int, target_modules: tuple[str, ...], freeze_vision_tower: bool) -> int:
        """T: the adapters with `lora_rank` > 0; else all parameters, without the tower's where it is frozen.

        Raises:
            ValueError: no module of the language model has one of these names.
        """
        if not lora_rank:
            return self.parameters - (self.vision_parameters if freeze_vision_tower else 0)
        found = sum(self.adapters.get(name, 0) for name in target_modules)
        if not found:
            raise ValueError(
                f"peft.target_modules: none of {', '.join(target_modules)} is a linear layer of the language model; "
                f"it has {', '.join(sorted(self.adapters))}"
            )
        return lora_rank * found


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A micro-batch of prefix trees, all of one length."""

    trees: int
    length: int
    """T of `models/tree.py`: tokens of a row, padding included."""
    image_tokens: int
    """Of them, the image's."""
    targets: int
    """Response tokens of a row: logits that enter the loss."""
    patches: int
    """Positions of the vision tower, per tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one process, by part."""

    weights: int
    gradients: int
    """Held while activations are: those of earlier micro-batches."""
    optimizer: int
    """Adam's two states and, where there are, fp32 master weights."""
    activations: int
    logits: int
    vision: int
    """The tower's; held beside the language model's where the tower is trained, before them where it is frozen."""
    vision_stays: bool
    buffers: int
    """Buckets of gradients, and the parameters that ZeRO-3 has gathered."""
    update: int
    """What the optimiser's step adds, when activations are gone: gradients, their copies, Adam's temporary."""
    host: int = 0
    """Bytes in host memory, with an offloaded optimiser."""

    @property
    def peak(self) -> int:
        """The most that is held at one time: behind the forward pass of a micro-batch, or in the optimiser's step."""
        text = self.activations + self.logits
        forward = text + self.vision if self.vision_stays else max(text, self.vision)
        return self.weights + self.optimizer + max(self.gradients + self.buffers + forward, self.update)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a model is trained."""

    trained: int
    """T."""
    ranks: int
    zero_stage: int
    item: int
    """a: bytes of a weight, gradient or activation."""
    accumulation: int
    gradient_checkpointing: bool
    offload_optimizer: bool
    vision_trained: bool


def layer_activations(tower: Tower, *, rows: int, length: int, item: int) -> int:
    """Bytes that one decoder layer keeps for its backward pass (Llama, Qwen2, Qwen3 under sdpa with a tree's mask).

    Autograd keeps, per token, with h = hidden, m = intermediate, q = heads x head_dim:

    - two RMS norms: input, normed input, output: 3 h each. In bf16 the norm's input is kept as an fp32 copy, so 4 h + 2 h + 2 h bytes
    - attention, split at the first token with siblings (`models/attention.py`): queries, keys, values (repeated to all heads below a mask),
      outputs of both parts and of the whole: 5 q, and a log-sum-exp of 4 bytes per head
    - the gated MLP: gate, silu(gate), up, their product: 4 m

    which is (6 h + 5 q + 4 m) x 4 bytes in fp32 and (8 h + 5 q + 4 m) x 2 bytes in bf16. With norms of queries and keys (Qwen3),
    input and normed input of both: 2 (q + kv) numbers in fp32, 3 (q + kv) in bf16. Attention's probabilities are not kept: sdpa is flash on
    CPUs and memory-efficient on GPUs.

    LoRA keeps as much, within a few percent: a frozen weight drops its norm's copy, an adapter keeps r numbers.
    """
    h, q, m = tower.hidden, tower.q, tower.intermediate
    numbers = (6 if item == FP32 else 8) * h + 5 * q + 4 * m
    if tower.qk_norm:
        numbers += (2 if item == FP32 else 3) * (q + tower.kv)
    return rows * length * (numbers * item + FP32 * tower.heads)


def last_layer_activations(tower: Tower, *, rows: int, length: int, read: int, item: int) -> int:
    """As `layer_activations` of the last layer, which is whole at the `read` positions of a row and elsewhere keys and values
    (`models/unread.py`): of all tokens its first norm, queries (zeros where they are not read), keys and values; the rest of those read."""
    h, q = tower.hidden, tower.q
    elsewhere = (3 if item == FP32 else 4) * h + 3 * q
    if tower.qk_norm:
        elsewhere += (2 if item == FP32 else 3) * (q + tower.kv)
    return rows * (length - read) * elsewhere * item + layer_activations(tower, rows=rows, length=read, item=item)


def text_activations(shape: Shape, at: Lengths, *, item: int, gradient_checkpointing: bool) -> int:
    """Bytes that the language model and the projector keep for the backward pass.

    With checkpointing, the input of every layer and one layer in full, which is recomputed. Without, all layers, the last one as far as it
    is computed. Beside the layers: the mask of the rows after the image, once for all of them (at most: it begins at the first siblings),
    the last norm, and the projector's input, hidden layer and activation per image token.
    """
    tower, tokens = shape.text, at.trees * at.length
    layer = layer_activations(tower, rows=at.trees, length=at.length, item=item)
    if gradient_checkpointing:
        layers = tower.layers * tokens * tower.hidden * item + layer
    else:
        read = min(at.targets, at.length)
        layers = (tower.layers - 1) * layer
        layers += last_layer_activations(tower, rows=at.trees, length=at.length, read=read, item=item)
    norm = tokens * tower.hidden * (3 * FP32 if item == FP32 else 8)
    projector = at.trees * at.image_tokens * (shape.vision.hidden + 2 * tower.hidden) * item
    mask = at.trees * (at.length - at.image_tokens) * at.length * item
    return layers + mask + norm + projector


def logits_bytes(shape: Shape, at: Lengths, *, item: int) -> int:
    """Bytes of the logits at their worst moment, beside all activations.

    The head sees response positions alone (`models/head.py`). Forward: their logits (a bytes each), as fp32 (4, only in bf16) and as
    log-probabilities (4). Backward: log-probabilities and two gradients of their size (12). Above `MAX_LOGITS` they are made in pieces of
    at most so many, of which one is there at a time.
    """
    rows = at.trees * at.targets
    picked = min(rows * shape.vocab, max(MAX_LOGITS, shape.vocab))
    forward = picked * (item + FP32 + (0 if item == FP32 else FP32))
    return max(forward, 3 * FP32 * picked)


def vision_bytes(shape: Shape, at: Lengths, *, item: int, trained: bool) -> int:
    """Bytes of the vision tower for one micro-batch.

    Trained, per position and layer: two norms (input, output), queries, keys, values, attention's output: 8 h; the MLP's input to the
    activation, its sigmoid or gate, and its output: 3 m. Frozen, one layer's worth of it, and the output of every layer where the family
    keeps them all.
    """
    tower, positions = shape.vision, at.trees * at.patches
    layer = positions * (8 * tower.hidden + 3 * tower.intermediate) * item
    if trained:
        return tower.layers * layer
    return layer + (tower.layers * positions * tower.hidden * item if shape.keeps_vision_layers else 0)


def training_memory(shape: Shape, at: Lengths, how: Training) -> Memory:
    """Bytes of one rank that trains.

    States, as DeepSpeed 0.19 keeps them with torch's AdamW (measured on CPU, see the docs):

    - weights a P; under ZeRO-3 a P / N, and up to `LIVE` of them gathered
    - Adam 8 T, and fp32 master weights 4 T from ZeRO-1 on (in fp32 too) or in bf16; divided by N from ZeRO-1 on
    - gradients a T; divided by N from ZeRO-2 on. They lie beside the activations only where a step has several micro-batches
    - a bucket of gradients of up to `BUCKET` numbers where there is something to reduce
    - the step: gradients a T, one flat copy a T, a second in fp32 where they are bf16, and Adam's square root 4 T, each divided by N as the
      optimiser is: 12 T / N in all. ZeRO-0 steps tensor by tensor and has no such root: a T and one copy in fp32

    DeepSpeed's own estimates (`estimate_zero2_model_states_mem_needs`, `estimate_zero3_...`) cover full fine-tuning in half precision, and
    leave out the flat copy and the root; `tests/models/test_memory.py` holds this function to them and to what they leave out.
    """
    item, n, stage = how.item, how.ranks, how.zero_stage
    own = -(-how.trained // n)  # a rank's share
    sharded = own if stage >= 1 else how.trained
    master = FP32 * sharded if stage >= 1 or item < FP32 else 0
    optimizer = master + 2 * FP32 * sharded
    gradients = item * (own if stage >= 2 else how.trained)
    bucket = item * min(how.trained, BUCKET) if stage == 3 or (stage >= 1 and n > 1) else 0
    live = item * min(shape.parameters, LIVE) if stage == 3 else 0
    if stage == 0:
        update = (item + FP32) * how.trained
    else:
        at_once = min(sharded, LIVE) if stage == 3 else sharded
        update = item * sharded + (item + FP32 if item < FP32 else item) * at_once + FP32 * at_once
    offload = how.offload_optimizer and stage >= 1
    return Memory(
        weights=item * (-(-shape.parameters // n) if stage == 3 else shape.parameters),
        gradients=0 if offload or how.accumulation == 1 else gradients,
        optimizer=0 if offload else optimizer,
        activations=text_activations(shape, at, item=item, gradient_checkpointing=how.gradient_checkpointing),
        logits=logits_bytes(shape, at, item=item),
        vision=vision_bytes(shape, at, item=item, trained=how.vision_trained),
        vision_stays=how.vision_trained,
        buffers=bucket + live,
        update=(bucket if offload else update) + live,
        host=optimizer + FP32 * sharded if offload else 0,
    )


def decoding_memory(shape: Shape, at: Lengths, *, item: int, nodes: int, new_tokens: int) -> Memory:
    """Bytes of one process that samples, predicts or computes reference log-probabilities: the whole model, without gradients.

    The cache holds keys and values of every token in every layer: of the prefilled rows, and of `nodes` a row (questions x samples) in each
    of `new_tokens` steps, the most that can be drawn. Counted as activations, with one layer's working set; with `new_tokens` 0 there is
    no cache. Logits: of the kept positions; of the nodes also twice in fp32 and, in `draw`, three times in fp64.
    """
    tower = shape.text
    tokens = at.trees * (at.length + nodes * new_tokens) if new_tokens else 0
    cache = 2 * tower.kv * tower.layers * item * tokens
    layer = layer_activations(tower, rows=at.trees, length=at.length, item=item)
    step = at.trees * nodes * shape.vocab * (item + 2 * FP32 + 3 * 8) if new_tokens else 0
    return Memory(
        weights=item * shape.parameters,
        gradients=0,
        optimizer=0,
        activations=cache + layer,
        logits=max(logits_bytes(shape, at, item=item), step),
        vision=vision_bytes(shape, at, item=item, trained=False),
        vision_stays=False,
        buffers=0,
        update=0,
    )
