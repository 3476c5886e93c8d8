"""Figures: repeatable bytes, the right numbers in them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from busaug.report import plots

CURVES = {"benign": [[(0, 10.0), (5, 4.0)], [(0, 8.0), (3, 4.0), (5, 2.0)]]}
HISTORY = [
    {"epoch": 1, "train_loss": 0.7, "val_loss": 0.6, "val_accuracy": 0.5},
    {"epoch": 2, "train_loss": 0.4, "val_loss": 0.5, "val_accuracy": 0.8},
]
FIGURES: dict[str, Callable[[], str]] = {
    "distribution": lambda: plots.distribution("t", "x", {"a": [0.1, 0.2]}, {"limit": 0.15}),
    "one value": lambda: plots.distribution("t", "x", {"a": [0.5]}, {}),
    "loss": lambda: plots.loss_curves(CURVES),
    "history": lambda: plots.training_history(HISTORY, 2),
    "roc": lambda: plots.roc("t", {"run": ([False, True, True], [0.1, 0.9, 0.4])}),
    "speckle": lambda: plots.speckle([0, 10], [0.4, 0.2]),
}


def svg(uri: str) -> str:
    kind, _, body = uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(body).decode()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_repeatable_svg(name: str) -> None:
    first = FIGURES[name]()
    assert first == FIGURES[name]()
    text = svg(first)
    assert text.rstrip().endswith("</svg>")
    assert "<image" not in text  # lines stay lines
    assert "<dc:date>" not in text


def test_median_is_of_curves_with_unlike_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """At evaluation 3: .64 by interpolation and .5; at 5: .4 and .25."""
    drawn = []
    real = plots.Plot.__init__

    def spy(self: plots.Plot, figure: object, axes: object) -> None:
        real(self, figure, axes)  # type: ignore[arg-type]
        drawn.append(self)

    monkeypatch.setattr(plots.Plot, "__init__", spy)
    plots.loss_curves(CURVES)
    median = drawn[0].axes.lines[-1]
    assert list(median.get_xdata()) == [0, 3, 5]
    assert list(median.get_ydata()) == pytest.approx([1, (0.64 + 0.5) / 2, (0.4 + 0.25) / 2])
