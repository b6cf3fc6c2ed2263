"""Loading and saving checkpoints: a Hugging Face folder in, a Hugging Face folder out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForImageTextToText

from inbol.models.attention import TREE_ATTENTION
from inbol.models.families import FAMILIES, Family, family_of_model, without_video


def load_model(path: str | Path, *, dtype: torch.dtype | str = "auto") -> Any:
    """A vision-language model from a local folder or a hub id, with attention that takes tree masks. No code from the checkpoint is run.

    Args:
        dtype: of the weights; `auto` keeps the checkpoint's own.

    Raises:
        ValueError: the folder holds no checkpoint, or one of a family that is not supported.
    """
    _family(path)
    return AutoModelForImageTextToText.from_pretrained(
        path, dtype=dtype, attn_implementation=attention(dtype), trust_remote_code=False, use_safetensors=True
    )


def _family(path: str | Path) -> Family:
    """The family that a checkpoint's config.json names."""
    _refuse_incomplete(path, ("config.json",), "model checkpoint (config.json and safetensors)")
    model_type = AutoConfig.from_pretrained(path, trust_remote_code=False).model_type
    if model_type not in FAMILIES:
        raise ValueError(f"{path}: model type {model_type!r} is not supported; supported are {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def attention(dtype: torch.dtype | str) -> dict[str, str]:
    """Attention by part: PyTorch's kernels for the language model, whose tree mask flash-attn does not take; flash-attn for the vision
    tower, where it can be imported and runs (a GPU and half precision)."""
    flash = torch.cuda.is_available() and find_spec("flash_attn") is not None and dtype in (torch.bfloat16, torch.float16)
    return {"text_config": TREE_ATTENTION, "vision_config": "flash_attention_2" if flash else "sdpa"}


def load_processor(path: str | Path) -> Any:
    """The processor that belongs to a checkpoint, without its video part.

    Images are prepared with Pillow wherever it runs: torchvision resizes with other roundings, and a result would depend on what happens to
    be installed.

    Raises:
        ValueError: the folder has no processor, or one of a family that is not supported, or it has no chat template.
    """
    _refuse_incomplete(
        path,
        ("processor_config.json", "preprocessor_config.json"),
        "processor (processor_config.json); save it beside the model with processor.save_pretrained",
    )
    processor_class = without_video(getattr(transformers, _family(path).processor))
    processor = processor_class.from_pretrained(path, backend="pil", trust_remote_code=False)
    if not getattr(processor, "chat_template", None):
        raise ValueError(f"{path}: the processor has no chat template; set processor.chat_template and save it again")
    return processor


def _refuse_incomplete(path: str | Path, names: tuple[str, ...], what: str) -> None:
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).exists() for name in names):
        raise ValueError(f"checkpoint folder {folder} holds no {what}")


def pick_device() -> torch.device:
    """This process's accelerator, or the CPU."""
    if torch.cuda.is_available():
        import os

        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


def freeze_vision_tower(model: Any) -> int:
    """Stop gradients into the vision tower, not into the projector; returns the number of frozen parameters.

    Raises:
        ValueError: a model of a family that is not supported, or without a vision tower.
    """
    family, frozen = family_of_model(model), 0
    for name, parameter in model.named_parameters():
        if family.in_tower(name):
            parameter.requires_grad_(False)
            frozen += int(getattr(parameter, "ds_numel", parameter.numel()))  # ZeRO-3 leaves an empty tensor and its size beside
    if not frozen:
        raise ValueError(
            f"{type(model).__name__} has no parameter under {', '.join(family.vision)} to freeze; set peft.freeze_vision_tower=false"
        )
    return frozen


def add_lora(model: Any, *, r: int, alpha: int, dropout: float, target_modules: tuple[str, ...]) -> Any:
    """The model with LoRA adapters on the language model's `target_modules`; everything else is frozen.

    Raises:
        ValueError: no module of the language model has one of these names.
    """
    from peft import LoraConfig, get_peft_model

    family = family_of_model(model)
    names = [name for name, _ in model.named_modules() if name.split(".")[-1] in target_modules and not family.beside_language(f"{name}.")]
    if not names:
        raise ValueError(f"peft.target_modules: none of {', '.join(target_modules)} is a module of {type(model).__name__}'s language model")
    return get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, task_type="CAUSAL_LM"))
