"""The figure of a search."""

from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt

from inbol.reporting import search
from inbol.reporting.search import Trial, best_so_far, plot_search


def test_the_best_so_far_never_falls_and_passes_over_what_is_missing() -> None:
    assert best_so_far([None, 0.2, 0.1, None, 0.4]) == [None, 0.2, 0.2, 0.2, 0.4]
    assert best_so_far([]) == []


def test_a_search_is_drawn_by_trial_and_over_every_key(tmp_path: Path) -> None:
    """Four panels in two rows of two; a trial without a value is in the first one alone, as a cross."""
    trials = [
        Trial(0, {"dpo.beta": "0.1", "dpo": "soft", "n": "3"}, 0.5, 0.4, 0.6),
        Trial(1, {"dpo.beta": "", "dpo": "", "n": ""}, None),
        Trial(2, {"dpo.beta": "1.0", "dpo": "hard", "n": "5"}, 0.7, None, None),
    ]
    plot_search(tmp_path / "plot.png", trials, scales={"dpo.beta": "log", "dpo": "names", "n": "linear"}, metric="trust/T1 50/50")
    height, width, _ = plt.imread(tmp_path / "plot.png").shape
    assert width > height > 600
    figure, axes = plt.subplots()
    search._over(axes, trials, "dpo", "names")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["soft", "hard"]
    search._over(axes, trials, "dpo.beta", "log")
    assert axes.get_xscale() == "log"
    plt.close(figure)
