"""What an exported folder says about itself: how to load it, what it is made of, what its layout cannot carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from inbol.exporting.layouts import LOST
from inbol.text.masking import masked

LOAD = {
    "trl": """```python
from datasets import load_dataset

{loads}
```

`SFTTrainer(train_dataset=...)` and `DPOTrainer(train_dataset=...)` take them as they are (TRL's conversational vision layout).
`messages` trains on the question too; for the loss on the response alone, as here, make it a prompt and a completion:

```python
sft = sft.map(lambda row: {{"prompt": row["messages"][:1], "completion": row["messages"][1:]}}, remove_columns="messages")
```""",
    "hf": """```python
from datasets import load_dataset

{loads}
```""",
    "llama-factory": "Set `dataset_dir` to this folder, and `dataset` to {names}. The images' paths are relative to it (`media_dir`).",
    "ms-swift": "`--dataset {files}`, started in this folder or with `ROOT_IMAGE_DIR` set to it: the images' paths are relative to it.",
}

WEIGHTS = """With `sft_data.method=soft` an answerable question comes twice, as an answer of weight c and as a refusal of weight
1 - c. Where the weights are not read, train on a copy without the lighter one (`weight > 0.5`), or export a run with
`sft_data=threshold`: its weights are all 1. Duplicated pairs (`pairs=duplicated`) are weighted likewise. The confidence-aware losses of
preference pairs have no counterpart there: DPO on these pairs is the hard loss, and no NLL anchor is added."""


def data_readme(layout: str, counts: Mapping[str, int], manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """README.md of exported training data, with the front matter by which `datasets` finds its files.

    Args:
        layout: one of `layouts.FORMATS`.
        counts: rows by `sft` and `pairs`.
        manifests: manifest of the stages it was made from, by `vqa`, `sft` and `pairs`.
    """
    load = LOAD[layout].format(
        loads="\n".join(f'{kind} = load_dataset("this/folder", "{kind}", split="train")' for kind in counts),
        names=", ".join(f"`inbol_{kind}`" for kind in counts),
        files=" ".join(f"{kind}.jsonl" for kind in counts),
    )
    made = "\n".join(f"- `{role}`: {manifest['fingerprint']}, {_settings(role, manifest)}" for role, manifest in manifests.items())
    rows = "\n".join(f"- `{kind}`: {count} rows" for kind, count in counts.items())
    lost = f"{LOST[layout]}\n\n{WEIGHTS}" if layout != "hf" else LOST[layout]
    return f"""---
{_front_matter(layout, counts)}---

# Training data in the layout of {layout}

{rows}

## Load it

{load}

## What the layout cannot carry

{lost}

## Made from

{made}

Code: {next(iter(manifests.values())).get("git_revision") or "unknown"}. The images are those of the source; its licence holds for them.
"""


def _front_matter(layout: str, counts: Mapping[str, int]) -> str:
    pattern = "{}/*.parquet" if layout in ("trl", "hf") else "{}.jsonl"
    configs = [{"config_name": kind, "data_files": [{"split": "train", "path": pattern.format(kind)}]} for kind in counts]
    return yaml.safe_dump({"task_categories": ["visual-question-answering"], "configs": configs}, sort_keys=False)


def _settings(role: str, manifest: Mapping[str, Any]) -> str:
    """One line of what the stage was told."""
    config = masked(manifest["config"])
    if role == "vqa":
        return f"source {config.get('source', {}).get('name', 'unknown')}"
    return ", ".join(f"{key}={value}" for part in config.values() if isinstance(part, dict) for key, value in part.items())
