"""Figures as embedded SVG, the same bytes for the same data."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from sklearn.metrics import roc_curve

from busaug.report.pictures import data_uri

INK, FAINT, GRID = "#1c2733", "#5d6b7a", "#e3e8ed"
PALETTE = ("#2b6f9e", "#c4532d", "#4d8b5a", "#8a5fa8", "#b08a1e", "#5f6c78")
"""In the order of sorted class names: benign blue, malignant vermilion."""

_STYLE: Any = {
    "svg.hashsalt": "busaug",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # names are shown as they are
    "lines.linewidth": 1.6,
}


class Plot:
    """Axes side by side under construction; ``svg`` is set when its ``with`` block ends."""

    def __init__(self, figure: Figure, panels: Sequence[Axes]) -> None:
        self.figure = figure
        self.panels = panels
        self.svg = b""

    @property
    def axes(self) -> Axes:
        return self.panels[0]

    @property
    def uri(self) -> str:
        """For embedding."""
        return data_uri(self.svg, "image/svg+xml")


@contextmanager
def panels(count: int, *, width: float, height: float) -> Iterator[Plot]:
    """Axes side by side; sizes of the whole in inches. Ends as SVG."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawing = Plot(figure, [figure.add_subplot(1, count, n + 1) for n in range(count)])
        yield drawing
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "busaug"})
        drawing.svg = buffer.getvalue()


@contextmanager
def plot(title: str, x: str, y: str, *, width: float = 3.9, height: float = 2.8) -> Iterator[Plot]:
    """Axes with a title and labels; sizes in inches. Ends as SVG."""
    with panels(1, width=width, height=height) as drawing:
        drawing.axes.set(title=title, xlabel=x, ylabel=y)
        yield drawing


def distribution(
    title: str, label: str, values: Mapping[str, Sequence[float]], limits: Mapping[str, float]
) -> str:
    """Histograms of one figure a class, the median marked, with dashed lines at ``limits``."""
    everything = [value for part in values.values() for value in part]
    low, high = min(everything), max(everything)
    margin = max(0.02, 0.05 * (high - low))
    bins = int(np.clip(2 * np.sqrt(len(everything)), 6, 24))
    edges = np.linspace(max(0.0, low - margin), high + margin, bins + 1).tolist()
    with plot(title, label, "images") as drawing:
        axes = drawing.axes
        for colour, (name, part) in zip(PALETTE, values.items(), strict=False):
            axes.hist(
                part, edges, histtype="stepfilled", color=colour, alpha=0.45, edgecolor=colour
            )
            middle = float(np.median(part))
            axes.axvline(middle, color=colour, label=f"{name}: median {middle:.2f}")
        for name, limit in limits.items():
            if edges[0] <= limit <= edges[-1]:
                axes.axvline(limit, color=INK, linestyle="--", linewidth=1, label=name)
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _legend_below(drawing)
    return drawing.uri


def loss_curves(curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]]) -> str:
    """Total loss over that at the start, one thin line an image and the class's median thick."""
    title, y = "Loss during optimisation", "loss / loss at the start"
    with plot(title, "evaluations", y) as drawing:
        axes = drawing.axes
        for colour, (name, lines) in zip(PALETTE, curves.items(), strict=False):
            scaled = [np.array([(x, value / line[0][1]) for x, value in line]) for line in lines]
            for line in scaled:
                axes.plot(line[:, 0], line[:, 1], color=colour, alpha=0.18, linewidth=0.8)
            grid = np.unique(np.concatenate([line[:, 0] for line in scaled]))
            middle = np.median([np.interp(grid, line[:, 0], line[:, 1]) for line in scaled], axis=0)
            axes.plot(grid, middle, color=colour, label=f"{name}: median of {len(lines)}")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if _leads(value, (2, 5)) else "")
        )
        axes.tick_params(axis="y", which="minor", labelsize=8)
        _legend_below(drawing)
    return drawing.uri


def training_history(history: Sequence[Mapping[str, float]], best_epoch: int | None) -> str:
    """Training and validation loss an epoch, validation accuracy on the right."""
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 3 else None
    with plot("Training", "epoch", "cross-entropy") as drawing:
        axes = drawing.axes
        for key, colour, label in (
            ("train_loss", PALETTE[0], "training loss"),
            ("val_loss", PALETTE[1], "validation loss"),
        ):
            axes.plot(epochs, [r[key] for r in history], color=colour, label=label, marker=marker)
        right = axes.twinx()
        right.plot(
            epochs,
            [row["val_accuracy"] for row in history],
            color=PALETTE[2],
            linestyle=":",
            marker=marker,
            label="validation accuracy (right)",
        )
        right.set_ylim(0, 1.02)
        right.grid(visible=False)
        right.spines["right"].set_visible(True)
        if best_epoch is not None:
            axes.axvline(best_epoch, color=INK, linestyle="--", linewidth=1, label="epoch kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        _legend_below(drawing)
    return drawing.uri


def roc(title: str, curves: Mapping[str, tuple[Sequence[bool], Sequence[float]]]) -> str:
    """Receiver operating characteristics, one a name: (is positive, probability of positive)."""
    with plot(title, "1 - specificity", "sensitivity", width=3.4, height=3.7) as drawing:
        axes = drawing.axes
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        for colour, (name, (truth, probability)) in zip(PALETTE, curves.items(), strict=False):
            false_positive, true_positive, _ = roc_curve(truth, probability)
            axes.plot(false_positive, true_positive, color=colour, label=name)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        _legend_below(drawing, columns=1)
    return drawing.uri


def speckle(iterations: Sequence[float], variation: Sequence[float]) -> str:
    """Speckle, standard deviation over mean in a quiet window, against the iterations."""
    with plot("Speckle left", "iterations", "standard deviation / mean") as drawing:
        drawing.axes.plot(iterations, variation, color=PALETTE[0], marker="o", markersize=4)
        drawing.axes.set_ylim(bottom=0)
        drawing.axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    return drawing.uri


def _legend_below(drawing: Plot, columns: int = 2) -> None:
    """A legend that hides no data."""
    drawing.figure.legend(loc="outside lower left", ncols=columns, fontsize=8)


def _leads(value: float, digits: Sequence[int]) -> bool:
    """Whether the value's first decimal digit is one of ``digits``."""
    return value > 0 and round(value / 10 ** math.floor(math.log10(value) + 1e-9)) in digits
