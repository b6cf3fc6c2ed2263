"""The model card of a small run: read back by the hub's own reader, with the numbers of its score, and with no path of this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import small_run
from huggingface_hub import ModelCard
from transformers import LlavaForConditionalGeneration

from inbol.config.data import SFT_METHODS
from inbol.config.training import DPO_LOSSES
from inbol.exporting.card import DPO, SFT, hub_id, metric_rows
from inbol.shards.manifest import read_manifest
from launch.export import rows_trained
from launch.main import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.run(tmp_path_factory.mktemp("runs"))


def command(run: Path, name: str, *arguments: str) -> int:
    return main([name, "--runs-dir", str(run.parent), "--run", run.name, *arguments])


def test_cards_of_a_run(run: Path) -> None:
    """T0 .65 in [.62, .68] of 3242; a number without interval is n/a there, one without a value is left out."""
    before = {path: path.read_bytes() for stage in ("sft", "dpo") for path in (run / stage).rglob("*") if path.is_file()}
    assert command(run, "card") == 0
    text = (run / "cards" / "dpo" / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.datasets == ["easy-vqa"]
    assert card.data.base_model is None
    assert {"dpo", "lora", "abstention"} <= set(card.data.tags)
    assert card.data.library_name == "transformers"
    found = {result.metric_type: (result.metric_value, result.metric_args) for result in card.data.eval_results}
    assert found["T0 (answerable)"] == (0.65, {"interval_95": [0.62, 0.68], "n": 3242})
    assert set(found) == {"T0 (answerable)", "Acc (answerable)", "RefR (unsolvable)"} == set(card.data.metrics)
    assert "| T0 (answerable) | 0.6500 | [0.6200, 0.6800] | 3242 |" in text
    assert "| Acc (answerable) | 0.7500 | n/a | 3242 |" in text
    assert "CA-SFT: the answer with weight c" in text and "CA-DPO, soft labels" in text
    assert "dpo-print" in text and "pairs `pairs-print`" in text and "other-modality" in text
    assert "| `dpo.optim.lr` | `0.001` |" in text and "easy-VQA: MIT" in text
    assert "secret" not in text and str(run.parent) not in text and "abc" not in text
    sft = (run / "cards" / "sft" / "README.md").read_text()
    assert "No score of this model is there yet." in sft and "CA-DPO" not in sft.split("## Settings")[0].replace("CA-SFT, then CA-DPO", "")
    after = {path: path.read_bytes() for stage in ("sft", "dpo") for path in (run / stage).rglob("*") if path.is_file()}
    assert after == before  # the checkpoints and their manifests are as they were


def test_a_model_with_its_card_loads(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert command(run, "card", "--out", str(out)) == 0
    weights = (out / "model.safetensors").read_bytes()
    assert weights == (run / "dpo" / "checkpoint" / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in (out / "README.md").read_text()
    LlavaForConditionalGeneration.from_pretrained(out)
    assert read_manifest(out)["parents"] == {"dpo": "dpo-print"}
    first = (out / "manifest.json").read_bytes()
    assert command(run, "card", "--out", str(out)) == 0
    assert (out / "manifest.json").read_bytes() == first
    (out / "mine.txt").write_text("x")
    assert command(run, "card", "--out", str(out), "--model", "sft") == 2


def test_export_by_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(run, "export", "--format", "ms-swift", "--out", str(tmp_path / "out")) == 0
    assert "15 sft, 15 pairs rows" in capsys.readouterr().out
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--format", "hf", "--out", "x"], "RUN: no run was named"),
        (["export", "--run", "nothing", "--format", "hf", "--out", "x"], "RUN: nothing: no run folder"),
        (["export", "--run", "{run}", "--format", "hf"], "OUT: no folder was named"),
        (["export", "--run", "{run}", "--format", "", "--out", "x"], "FORMAT: '' is not one of trl"),
        (["card", "--run", "{run}", "--model", "base"], "trained no model base; it has dpo, sft"),
    ],
)
def test_mistakes_are_messages(run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument.format(run=run) for argument in arguments]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_every_method_and_loss_has_its_source() -> None:
    """An entry of the card for each; what is added later has none until somebody writes it."""
    assert set(SFT) == set(SFT_METHODS)
    assert set(DPO) == set(DPO_LOSSES)
    assert all("arXiv" in text or "own" in text or "control" in text for text in (*SFT.values(), *DPO.values()))


def test_rows_of_a_recipe_in_rounds() -> None:
    """The last round first; a base of the hub is not the run's model."""
    config = {"recipe": {"rows": ["base", "sft", "dpo", "dpo-2"]}, "base": {"kind": "tiny"}}
    assert rows_trained(config) == ["dpo-2", "dpo", "sft", "base"]
    assert rows_trained({**config, "base": {"kind": "pretrained"}}) == ["dpo-2", "dpo", "sft"]


def test_hub_ids(tmp_path: Path) -> None:
    """A folder of this machine is no id, whatever it looks like."""
    assert hub_id({"kind": "pretrained", "path": "llava-hf/llava-1.5-7b-hf"}) == "llava-hf/llava-1.5-7b-hf"
    assert hub_id({"kind": "pretrained", "path": str(tmp_path)}) is None
    assert hub_id({"kind": "pretrained", "path": "./local"}) is None
    assert hub_id({"kind": "tiny", "path": ""}) is None
    assert metric_rows(None) == []
