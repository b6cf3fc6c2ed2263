"""Reference log-probabilities are refused as soon as anything they follow from has changed, and the message says what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import toy

from inbol.shards.files import write_records
from inbol.training.binding import BINDING, binding, check_binding, write_binding


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A checkpoint, two shards of pairs, and a bound reference folder."""
    checkpoint, pairs, reference = (tmp_path / name for name in ("checkpoint", "pairs", "reference"))
    toy.model().save_pretrained(checkpoint)
    toy.processor().save_pretrained(checkpoint)
    for shard in range(2):
        write_records(pairs / f"align-train-{shard:06}.jsonl", toy.pairs()[shard::2])
    write_binding(reference, binding(checkpoint, pairs))
    return checkpoint, pairs, reference


def test_the_same_is_accepted_wherever_it_lies(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    checkpoint, pairs, reference = folders
    moved = checkpoint.rename(tmp_path / "elsewhere")
    check_binding(reference, binding(moved, pairs))
    write_binding(reference, binding(moved, pairs))


def other_weights(checkpoint: Path, pairs: Path) -> None:
    toy.model(seed=1).save_pretrained(checkpoint)


def other_template(checkpoint: Path, pairs: Path) -> None:
    path = checkpoint / "chat_template.jinja"
    path.write_text(path.read_text().replace("USER", "HUMAN"))


def other_tokenizer(checkpoint: Path, pairs: Path) -> None:
    path = checkpoint / "tokenizer.json"
    path.write_text(path.read_text().replace('"normalizer": null', '"normalizer": {"type": "Lowercase"}'))


def another_pair(checkpoint: Path, pairs: Path) -> None:
    write_records(pairs / "align-train-000001.jsonl", toy.pairs()[3::2])


def one_shard_less(checkpoint: Path, pairs: Path) -> None:
    (pairs / "align-train-000000.jsonl").unlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (other_weights, "model weights"),
        (other_template, "chat template"),
        (other_tokenizer, "tokenizer and processor"),
        (another_pair, "pair shard align-train-000001"),
        (one_shard_less, "pair shard align-train-000000"),
    ],
)
def test_what_has_changed_is_named(folders: tuple[Path, Path, Path], change: Callable[[Path, Path], None], named: str) -> None:
    checkpoint, pairs, reference = folders
    change(checkpoint, pairs)
    with pytest.raises(ValueError, match=rf"belong to another {named} \({named}: \w+ then, \w+ now\); delete the folder"):
        check_binding(reference, binding(checkpoint, pairs))
    with pytest.raises(ValueError, match=named):
        write_binding(reference, binding(checkpoint, pairs))


def test_an_unbound_folder_is_refused(folders: tuple[Path, Path, Path]) -> None:
    checkpoint, pairs, reference = folders
    (reference / BINDING).unlink()
    with pytest.raises(ValueError, match="none then"):
        check_binding(reference, binding(checkpoint, pairs))
