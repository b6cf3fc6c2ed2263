"""Configuration of the published data sets: their files, and how their records become questions."""

from __future__ import annotations

from dataclasses import dataclass

from inbol.config.checks import at_least, one_of, positive, within
from inbol.contracts import UNSOLVABLE_KINDS

PUBLISHED = ("vqav2", "gqa", "a-okvqa", "vizwiz", "vqav2-idk")
"""Sources that are read from the files as they were published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedConfig:
    """Where the files lie, below `source.path`, and which questions are taken."""

    annotations: str = ""
    """The file with the answers (GQA: a file of questions, or a folder of such files)."""
    questions: str = ""
    """`vqav2`: the file with the questions. Empty otherwise."""
    images: str = ""
    """Folder of the images."""
    test_annotations: str = ""
    """Another part, which `test` is taken from; empty draws `test` from the same images as the rest, none of them twice."""
    test_questions: str = ""
    """`vqav2`: the questions of that part."""
    test_images: str = ""
    """Folder of that part's images; empty where it is the same."""
    agreeing: int = 3
    """Annotators of ten who must have given an answer for it to be accepted, in [1, 10]."""
    questions_per_image: int = 0
    """At most this many questions of an image, drawn by seed; 0 takes all."""
    answer_form: str = "direct"
    """`a-okvqa`: `direct` asks the question as it is, `choice` with its choices."""
    unanswerable_kind: str = "context-dependent"
    """`vizwiz`, `vqav2-idk`: the kind that questions beyond the image are given; the files tell none."""
    min_idk: int = 3
    """`vqav2-idk`: answers such as "unknown" that make a question one beyond the image; with fewer it is a hard one."""
    not_idk: tuple[str, ...] = ("none",)
    """`vqav2-idk`: answers that do not count as such, though the file lists them."""

    def __post_init__(self) -> None:
        within("agreeing", self.agreeing, 1, 10)
        at_least("questions_per_image", self.questions_per_image, 0)
        one_of("answer_form", self.answer_form, ("direct", "choice"))
        one_of("unanswerable_kind", self.unanswerable_kind, UNSOLVABLE_KINDS)
        positive("min_idk", self.min_idk)

    def check(self, name: str) -> None:
        """Refuse a source `name` without its files. Raises ValueError."""
        needed = ["annotations", "images"] + (["questions"] if name == "vqav2" else [])
        if name == "vqav2" and self.test_annotations:
            needed.append("test_questions")
        for field in needed:
            if not getattr(self, field):
                raise ValueError(f"published.{field}: the source {name} needs it; conf/source/{name}.yaml has the published names")
        if name != "vqav2" and (self.questions or self.test_questions):
            raise ValueError(f"published.questions: the source {name} has its questions in the file `annotations`; leave it empty")
        if not self.test_annotations and (self.test_questions or self.test_images):
            raise ValueError("published.test_annotations: empty, but other files of a test part are named")
