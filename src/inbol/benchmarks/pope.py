"""POPE (arXiv 2305.10355): is this object in the picture? Three files of yes/no questions, half of them about absent objects.

One record a line, although the files are called `.json`:

    {"question_id": 0, "image": "COCO_val2014_000000548882.jpg", "text": "Is there a sandwich in the image?", "label": "yes"}

Positive is yes, as in the paper. The released evaluation counts every response without "no" or "not" as yes, refusals too; here a refusal
and a response that says neither are wrong, and counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.benchmarks.files import Pictures, read_array, rest, text_of, with_facts, write_lines, write_pictures
from inbol.benchmarks.measuring import Graded, precision_recall_f1, share
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Mask, Measure
from inbol.sources.seeding import stream
from inbol.sources.wordings import SHAPES
from inbol.text.match import leading_yes_no
from inbol.text.normalise import normalise
from inbol.text.refusals import is_refusal

NAME = "pope"
SPLITS = ("random", "popular", "adversarial")
"""How the absent objects were drawn."""
LABELS = ("yes", "no")
SOURCE = (
    "download output/coco/coco_pope_{random,popular,adversarial}.json of github.com/AoiDragon/POPE, "
    "and put the pictures of COCO val2014 that they name into the folder's images/"
)


class Pope:
    """The benchmark; the folder holds one `*_pope_<split>.json` for each split and, anywhere below, the pictures."""

    name = NAME
    notes = ("Refusals, and responses without a leading yes or no, are wrong; the released evaluation reads them as yes.",)

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """The items, split by split."""
        pictures = Pictures(folder, benchmark=NAME, source=SOURCE)
        items = []
        for split, path in _files(folder).items():
            for number, (where, raw) in enumerate(read_array(path)):
                label, question = text_of(where, raw, "label").lower(), text_of(where, raw, "text")
                if label not in LABELS:
                    raise ValueError(f"{where}: label {label!r} is not one of {', '.join(LABELS)}")
                gold = {
                    "split": split,
                    "question": question,
                    "label": label,
                    "meta": rest(raw, "text", "label", "image"),
                }
                key = f"{NAME}-{split}-{number:06d}"
                image = pictures.find(where, text_of(where, raw, "image"))
                items.append(BenchmarkItem(key=key, image=image, prompt=question, group=key, gold=gold))
        pictures.check()
        return items

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """`said` is yes, no or null; a refusal says neither."""
        refused = is_refusal(response, item.gold["question"])
        said = None if refused else leading_yes_no(normalise(response).split())
        return Grade(key=item.key, values={"refused": refused, "said": said, "correct": said == item.gold["label"]})

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """Accuracy, precision, recall and F1 of yes, the shares of yes, of refusals and of unreadable responses; over all and by split."""
        graded = Graded(items, grades)
        wheres = {"": graded.everywhere, **{f"/{split}": graded.gold("split", split) for split in SPLITS}}
        return {f"{name}{end}": measure for end, where in wheres.items() for name, measure in _measures(graded, where).items()}

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """The shape that is there and, for each split, one that is not. Three shapes have no popular one: all splits draw at random."""
        known = with_facts(samples, {"shape": SHAPES}, benchmark=NAME)
        names = write_pictures(known, folder / "images")
        for split in SPLITS:
            records: list[dict[str, object]] = []
            for sample in known:
                there = str(sample.meta["shape"])
                absent = str(stream(seed, NAME, split, sample.key).choice([shape for shape in SHAPES if shape != there]))
                for shape, label in ((there, "yes"), (absent, "no")):
                    text = f"Is there a {shape} in the image?"
                    records.append({"question_id": len(records), "image": names[sample.key], "text": text, "label": label})
            write_lines(folder / f"tiny_pope_{split}.json", records)


def _measures(graded: Graded, where: Mask) -> dict[str, Measure]:
    yes = graded.where(lambda item, values: values["said"] == "yes")
    return {
        "accuracy": share(graded.said("correct"), where),
        **precision_recall_f1(yes, graded.gold("label", "yes"), where),
        "yes share": share(yes, where),
        "refusal rate": share(graded.said("refused"), where),
        "unreadable": share(graded.where(lambda item, values: values["said"] is None and not values["refused"]), where),
    }


def _files(folder: Path) -> dict[str, Path]:
    """The file of every split. Raises BenchmarkDataMissing for a split without one, ValueError for a split with several."""
    found: dict[str, Path] = {}
    for split in SPLITS:
        fitting = [path for path in sorted(folder.glob("*.json")) if re.fullmatch(rf"(?:\w+_)?pope_{split}\.json", path.name)]
        if not fitting:
            raise BenchmarkDataMissing(f"{NAME}: {folder} has no *_pope_{split}.json; {SOURCE}")
        if len(fitting) > 1:
            raise ValueError(f"{folder}: {fitting[0].name} and {fitting[1].name} are both the split {split}; leave one of them")
        found[split] = fitting[0]
    return found
