"""Published data sets in the plan: their configuration, and which of their files name the folder."""

from __future__ import annotations

from pathlib import Path

import published
import pytest

from inbol.config.load import ConfigError
from launch.compose import compose_run
from launch.plan import plan


def test_a_published_data_set_counts_by_its_files(tmp_path: Path) -> None:
    """Another answer or another image is ingested anew; a file of another part beside them is not looked at."""
    published.gqa(tmp_path, "train_balanced_questions.json", {"1": ("77", "What?", "red")})
    published.gqa(tmp_path, "val_balanced_questions.json", {"2": ("78", "What?", "red")})

    def ingest() -> str:
        return plan(compose_run("inbol-sft", "smoke", ["source=gqa", f"source.path={tmp_path}"]))[0].fingerprint

    first = ingest()
    published.dump(tmp_path / "testdev_balanced_questions.json", {})
    assert ingest() == first
    published.pictures(tmp_path / "images", ["79.jpg"])
    second = ingest()
    published.gqa(tmp_path, "val_balanced_questions.json", {"2": ("78", "What?", "blue")})
    assert len({first, second, ingest()}) == 3


@pytest.mark.parametrize("name", ["vqav2", "gqa", "a-okvqa", "vizwiz", "vqav2-idk"])
def test_every_published_source_composes(name: str) -> None:
    assert compose_run("inbol-dpo", "smoke", [f"source={name}"]).source.name == name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["source=vqav2", "source.published.questions=''"], "source.published.questions: the source vqav2 needs it"),
        (["source=gqa", "source.published.questions=x"], "the source gqa has its questions in the file `annotations`"),
        (["source=gqa", "source.path=''"], "source.path: the source gqa needs the folder"),
        (["source=vizwiz", "source.published.agreeing=0"], "source.published.agreeing: 0 is not in [1, 10]"),
        (["source=vizwiz", "source.published.unanswerable_kind=blurred"], "'blurred' is not one of 'false-premise'"),
        (["source=vizwiz", "source.published.test_annotations=''"], "test_annotations: empty, but other files of a test part are named"),
    ],
)
def test_mistakes_about_published_files_have_their_path(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose_run("inbol-sft", "smoke", overrides)
    assert message in str(error.value)
