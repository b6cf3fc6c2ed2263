"""Memory as arithmetic: against autograd's saved tensors, DeepSpeed's own estimates, and what real runs take."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import memory_script
import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from memory_script import TARGETS, Measured, micro_batch, tiny_llava

from inbol.models import head
from inbol.models.architecture import shape_of
from inbol.models.load import add_lora
from inbol.models.memory import (
    LIVE,
    MAX_LOGITS,
    Lengths,
    Shape,
    Tower,
    Training,
    decoding_memory,
    layer_activations,
    logits_bytes,
    text_activations,
    training_memory,
    vision_bytes,
)
from inbol.models.tree import response_logps

ROOT = Path(__file__).parents[2]
TOWER = Tower(hidden=8, intermediate=16, layers=3, heads=2, kv_heads=1, head_dim=4)
SHAPE = Shape(
    parameters=1000, vision_parameters=200, largest_layer=100, text=TOWER, vision=TOWER, vocab=50, adapters={"q_proj": 48, "up_proj": 72}
)
AT = Lengths(trees=2, length=32, image_tokens=16, targets=5, patches=17)
HOW = Training(
    trained=800, ranks=1, zero_stage=2, item=4, accumulation=4, gradient_checkpointing=False, offload_optimizer=False, vision_trained=False
)


def test_a_layer_by_hand() -> None:
    """h 8, q 8, m 16: 6x8 + 5x8 + 4x16 = 152 numbers of 4 bytes and 2 heads of 4 bytes, for 2 x 32 tokens; in bf16 168 of 2."""
    assert layer_activations(TOWER, rows=2, length=32, item=4) == 64 * (152 * 4 + 8)
    assert layer_activations(TOWER, rows=2, length=32, item=2) == 64 * (168 * 2 + 8)
    normed = replace(TOWER, qk_norm=True)  # q + kv = 12 numbers, twice in fp32, three times 2 bytes in bf16
    assert layer_activations(normed, rows=2, length=32, item=4) == 64 * ((152 + 24) * 4 + 8)
    assert layer_activations(normed, rows=2, length=32, item=2) == 64 * ((168 + 36) * 2 + 8)


def test_logits_by_hand() -> None:
    """10 targets, 50 words: the backward pass has 500 log-probabilities and two gradients. Above the limit, a piece of them at a time."""
    assert MAX_LOGITS == head.MAX_LOGITS
    assert logits_bytes(SHAPE, AT, item=4) == logits_bytes(SHAPE, AT, item=2) == 500 * 12
    assert logits_bytes(replace(SHAPE, vocab=MAX_LOGITS // 2), AT, item=2) == MAX_LOGITS * 12


def test_states_by_hand() -> None:
    """P 1000, T 800, fp32, ZeRO-2: weights 4,000, Adam and a master copy 9,600, gradients 3,200, the step 12 x 800; halved by two ranks."""
    one, two = training_memory(SHAPE, AT, HOW), training_memory(SHAPE, AT, replace(HOW, ranks=2))
    assert (one.weights, one.optimizer, one.gradients, one.update, one.buffers) == (4000, 9600, 3200, 9600, 0)
    assert (two.weights, two.optimizer, two.gradients, two.update, two.buffers) == (4000, 4800, 1600, 4800, 3200)
    zero0 = training_memory(SHAPE, AT, replace(HOW, zero_stage=0))
    assert (zero0.weights, zero0.optimizer, zero0.gradients, zero0.update) == (4000, 6400, 3200, 6400)
    assert training_memory(SHAPE, AT, replace(HOW, accumulation=1)).gradients == 0
    offload = training_memory(SHAPE, AT, replace(HOW, offload_optimizer=True))
    assert (offload.optimizer, offload.update, offload.host) == (0, 0, 9600 + 3200)


def test_every_remedy_takes_less() -> None:
    big = replace(SHAPE, parameters=7_000_000_000, vision_parameters=300_000_000)
    how = replace(HOW, trained=6_700_000_000, ranks=8, zero_stage=0, item=2)
    start = training_memory(big, AT, how)
    assert training_memory(big, AT, replace(how, gradient_checkpointing=True)).activations < start.activations
    assert training_memory(big, replace(AT, trees=1), how).activations == start.activations // 2
    peaks = [training_memory(big, AT, replace(how, zero_stage=stage)).peak for stage in (0, 1, 2, 3)]
    assert peaks == sorted(peaks, reverse=True) and peaks[3] < peaks[2] < peaks[1] < peaks[0]
    assert training_memory(big, AT, replace(how, zero_stage=2, offload_optimizer=True)).peak < peaks[2]
    assert training_memory(big, AT, replace(how, trained=40_000_000)).peak < start.peak / 5


def test_lora_counts_its_adapters() -> None:
    assert SHAPE.trained(lora_rank=4, target_modules=("q_proj", "up_proj"), freeze_vision_tower=True) == 4 * (48 + 72)
    assert SHAPE.trained(lora_rank=0, target_modules=(), freeze_vision_tower=True) == 800
    assert SHAPE.trained(lora_rank=0, target_modules=(), freeze_vision_tower=False) == 1000
    with pytest.raises(ValueError, match=r"none of nothing is a linear layer of the language model; it has q_proj, up_proj"):
        SHAPE.trained(lora_rank=4, target_modules=("nothing",), freeze_vision_tower=True)


@pytest.mark.parametrize("ranks", [1, 8])
def test_states_are_deepspeeds_estimate_and_what_it_leaves_out(ranks: int) -> None:
    """Full fine-tuning in bf16. ZeRO-2: 2 P + 18 P / N by DeepSpeed; ours has a flat copy (2) and Adam's root (4) beside. ZeRO-3: 18 P / N
    and the largest layer; ours has 16-bit gradients (2) too, and what ZeRO-3 may keep gathered instead of one layer."""
    total = 640_000_000
    shape = replace(SHAPE, parameters=total, largest_layer=1_000_000)
    how = replace(HOW, trained=total, ranks=ranks, item=2)
    ours = training_memory(shape, AT, how)
    _, estimate = estimate_zero2_model_states_mem_needs(total, num_gpus_per_node=ranks, cpu_offload=False)
    assert ours.weights + ours.optimizer + ours.update == estimate + 6 * total // ranks
    offloaded = training_memory(shape, AT, replace(how, offload_optimizer=True))
    assert offloaded.weights == estimate_zero2_model_states_mem_needs(total, num_gpus_per_node=ranks, cpu_offload=True)[1]
    ours = training_memory(shape, AT, replace(how, zero_stage=3))
    _, estimate, layer = estimate_zero3_model_states_mem_needs(
        total, shape.largest_layer, num_gpus_per_node=ranks, cpu_offload=False, cpu_offload_params=False
    )
    live = 2 * min(total, LIVE)
    assert ours.weights + ours.optimizer + ours.update - live == estimate - layer + 8 * total // ranks


def test_decoding_holds_the_cache_of_everything_that_may_be_drawn() -> None:
    """2 rows of 32 and 3 x 4 nodes for 5 steps: 184 tokens, keys and values of 4 numbers in 3 layers of 4 bytes each."""
    drawn = decoding_memory(SHAPE, AT, item=4, nodes=12, new_tokens=5)
    prefill = decoding_memory(SHAPE, AT, item=4, nodes=12, new_tokens=0)
    assert drawn.activations - prefill.activations == 184 * 2 * 4 * 3 * 4
    assert drawn.weights == 4000 and drawn.gradients == drawn.optimizer == drawn.update == 0


def kept_for_backward(model: Any, batch: Any) -> int:
    """Bytes of the distinct storages that autograd keeps in a forward pass, parameters aside."""
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        response_logps(model, batch)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize(("dtype", "lora"), [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)])
def test_activations_are_what_autograd_keeps(dtype: torch.dtype, lora: bool) -> None:
    """Within 5 %, 15 % above for LoRA, whose frozen norms keep less."""
    spec = Measured(hidden_size=256, text_layers=3, vision_layers=1)
    model, collator = tiny_llava(spec)
    shape = shape_of(model.config)
    if lora:
        model = add_lora(model, r=16, alpha=32, dropout=0.0, target_modules=TARGETS)
    model.to(dtype)
    batch = micro_batch(collator, trees=2)
    at = lengths(batch)
    item = torch.empty((), dtype=dtype).element_size()
    ours = text_activations(shape, at, item=item, gradient_checkpointing=False) + 4 * at.trees * at.targets * shape.vocab
    kept = kept_for_backward(model, batch)
    assert 0.95 * ours < kept < 1.05 * ours if not lora else 0.85 * ours < kept < ours


def lengths(batch: Any) -> Lengths:
    """What the arithmetic is told of a collated batch; pictures of 64 x 64 in patches of 8."""
    trees, length = batch.inputs["input_ids"].shape
    return Lengths(trees=trees, length=length, image_tokens=64, targets=len(batch.targets) // trees, patches=65)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measured(spec: Measured, ranks: int, out: Path) -> list[dict[str, Any]]:
    """What `memory_script` wrote, rank by rank."""
    common = {
        **os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks), "PYTHONPATH": str(ROOT / "src"),
        "MALLOC_MMAP_THRESHOLD_": "65536",  # freed tensors go back to the system, so that resident memory is that of tensors
    }  # fmt: skip
    command = [sys.executable, memory_script.__file__, str(out), json.dumps(asdict(spec))]
    running = [
        subprocess.Popen(
            command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(ranks)
    ]  # fmt: skip
    try:
        for process in running:
            text, _ = process.communicate(timeout=500)
            assert process.returncode == 0, text[-4000:]
    finally:
        for process in running:
            process.kill()
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.parametrize(
    ("spec", "ranks"),
    [
        pytest.param(Measured(zero_stage=0), 1, marks=pytest.mark.long),
        pytest.param(Measured(zero_stage=2), 2, marks=pytest.mark.heavy),
        pytest.param(Measured(zero_stage=0, gradient_checkpointing=True), 2, marks=pytest.mark.long),
        pytest.param(Measured(zero_stage=2, precision="bf16"), 1, marks=pytest.mark.long),
        pytest.param(Measured(zero_stage=3), 2, marks=pytest.mark.long),
    ],
    ids=lambda value: f"zero{value.zero_stage}-{value.precision}" if isinstance(value, Measured) else f"{value} ranks",
)
@pytest.mark.timeout(600)
def test_a_run_takes_what_the_plan_says(spec: Measured, ranks: int, tmp_path: Path) -> None:
    """A LLaVA of 31 million parameters (22 of them trained) for two steps: the peak within 25 %."""
    model, collator = tiny_llava(spec)
    shape, at = shape_of(model.config), lengths(micro_batch(collator, trees=spec.micro_batch))
    how = Training(
        trained=shape.trained(lora_rank=0, target_modules=(), freeze_vision_tower=True),
        ranks=ranks, zero_stage=spec.zero_stage, item=4 if spec.precision == "fp32" else 2,
        accumulation=spec.global_batch // spec.micro_batch // ranks, gradient_checkpointing=spec.gradient_checkpointing,
        offload_optimizer=False, vision_trained=False,
    )  # fmt: skip
    planned = training_memory(shape, at, how).peak
    for facts in measured(spec, ranks, tmp_path):
        sys.stdout.write(f"planned {planned / 1e6:.0f} MB, took {facts['bytes'] / 1e6:.0f} MB\n")
        assert facts["parameters"] == shape.parameters and facts["trained"] == how.trained
        assert planned == pytest.approx(facts["bytes"], rel=0.25)


def test_the_vision_tower_is_cheap_where_it_is_frozen() -> None:
    frozen, trained = (vision_bytes(SHAPE, AT, item=2, trained=flag) for flag in (False, True))
    assert trained == 3 * frozen == 3 * 34 * (8 * 8 + 3 * 16) * 2
    assert vision_bytes(replace(SHAPE, keeps_vision_layers=True), AT, item=2, trained=False) == frozen + 3 * 34 * 8 * 2
