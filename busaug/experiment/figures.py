"""Figures of a results file: what its tables say, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from busaug.experiment.claims import PROPOSED
from busaug.experiment.tables import rows_of, settings, spelt
from busaug.report.plots import FAINT, INK, PALETTE, panels, plot

Row = Mapping[str, Any]

DRAWN = ("auc", "accuracy", "balanced_accuracy")
"""Metrics that have figures."""
_LINES_MAX = len(PALETTE)
"""Curves in one drawing."""
_COLOURS = {"paper": PALETTE[1], "honest": PALETTE[0]}
_PROTOCOLS = {"paper": "the paper's protocol", "honest": "honest protocol"}
_LINE = 0.26
"""Height of a row, inches."""


def figures(results: Row) -> dict[str, bytes]:
    """SVG by file name: levels, ROC, training, differences, confusion matrices and the leak.

    ``results`` as ``busaug experiment table --save`` writes them. Intervals are those of the
    tables. What a results file does not hold is not drawn.
    """
    return dict(_all(results))


def _all(results: Row) -> Iterator[tuple[str, bytes]]:
    for budget, protocol in settings(results["conditions"]):
        rows = rows_of(results["conditions"], budget, protocol)
        place = f"{budget}-{protocol}"
        said = f"{budget}, {protocol} protocol"
        for metric in DRAWN:
            yield f"{metric}-{place}.svg", _levels(rows, metric, f"{spelt(metric)}, {said}")
        yield f"confusion-{place}.svg", _matrices(rows, results["classes"], results["baseline"])
        chosen = _foremost(rows, results["baseline"])
        if curves := [row for row in chosen if row.get("roc")]:
            yield f"roc-{place}.svg", _roc(curves, said)
        if courses := [row for row in chosen if row.get("history")]:
            yield f"history-{place}.svg", _courses(courses)
    contrasts = [
        {**row, "arm": f"{row['arm']} less {row['against']}"}
        for row in results.get("contrasts", ())
    ]
    gains = (
        ("gain", results["comparisons"], results["baseline"]),
        ("contrast", contrasts, "another arm"),
    )
    for kind, found, other in gains:
        for budget, protocol in settings(found):
            rows = rows_of(found, budget, protocol)
            for metric in DRAWN:
                title = f"{spelt(metric)} less that of {other}, {budget}, {protocol}"
                name = f"{metric}-{kind}-{budget}-{protocol}.svg"
                yield name, _levels(rows, metric, title, zero=True)
    for budget in dict.fromkeys(row["budget"] for row in results["leaks"]):
        rows = [row for row in results["leaks"] if row["budget"] == budget]
        for metric in DRAWN:
            yield f"{metric}-leak-{budget}.svg", _leak(rows, metric, f"The leak, {budget}")


def _levels(rows: Sequence[Row], metric: str, title: str, *, zero: bool = False) -> bytes:
    """A point with its interval a row; the rows of arms in two colours by turns."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    with plot(title, spelt(metric), "", width=6.2, height=1.1 + _LINE * len(rows)) as drawing:
        axes = drawing.axes
        for y, row in enumerate(rows):
            colour = PALETTE[arms.index(row["arm"]) % 2]
            _interval(axes, row["metrics"][metric], y, colour)
        _rows(axes, rows)
        if zero:
            axes.axvline(0, color=INK, linestyle="--", linewidth=1)
    return drawing.svg


def _leak(rows: Sequence[Row], metric: str, title: str) -> bytes:
    """Both protocols on one line an arm."""
    with plot(title, spelt(metric), "", width=6.2, height=1.4 + _LINE * len(rows)) as drawing:
        axes = drawing.axes
        for y, row in enumerate(rows):
            found = row["metrics"][metric]
            means = [found[protocol]["mean"] for protocol in _COLOURS]
            if None not in means:
                axes.plot(means, [y - 0.12, y + 0.12], color=FAINT, linewidth=1, zorder=1)
            for offset, (protocol, colour) in zip((-0.12, 0.12), _COLOURS.items(), strict=True):
                label = _PROTOCOLS[protocol] if y == 0 else None
                _interval(axes, found[protocol], y + offset, colour, label)
        _rows(axes, rows)
        drawing.figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    return drawing.svg


def _matrices(rows: Sequence[Row], classes: Sequence[str], baseline: str) -> bytes:
    """The baseline's beside those of the proposed arm; without that arm those of all."""
    chosen = [row for row in rows if row["arm"] in (baseline, PROPOSED)]
    chosen = chosen if len(chosen) > 1 else list(rows)
    width = 0.6 + 2.1 * len(chosen)
    with panels(len(chosen), width=width, height=2.6) as drawing:
        for axes, row in zip(drawing.panels, chosen, strict=True):
            counts = np.array(row["confusion"])
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for (true, said), count in np.ndenumerate(counts):
                colour = "white" if shares[true, said] > 0.55 else INK
                text = f"{count}\n{shares[true, said]:.0%}"
                axes.text(said, true, text, ha="center", va="center", color=colour)
            ticks = range(len(classes))
            axes.set_xticks(ticks, classes)
            axes.set_yticks(ticks, classes, rotation=90, va="center")
            axes.grid(visible=False)
            axes.set(title=_label(row), xlabel="called", ylabel="is")
    return drawing.svg


def _foremost(rows: Sequence[Row], baseline: str) -> list[Row]:
    """A row an arm, at ratio 1 or its only one: as many arms as there are colours.

    The baseline, the proposed arm, and the others by their AUC, in the order of ``rows``.
    """
    single: dict[str, Row] = {}
    for row in rows:
        if row["arm"] not in single or row["ratio"] == 1:
            single[row["arm"]] = row
    first = [arm for arm in (baseline, PROPOSED) if arm in single]
    others = [arm for arm in single if arm not in first]
    others.sort(key=lambda arm: -(single[arm]["metrics"]["auc"]["mean"] or 0))
    kept = {*first, *others[: _LINES_MAX - len(first)]}
    return [row for arm, row in single.items() if arm in kept]


def _roc(rows: Sequence[Row], said: str) -> bytes:
    title = f"ROC, {said}"
    with plot(title, "1 - specificity", "sensitivity", width=4.2, height=4.9) as drawing:
        axes = drawing.axes
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        for colour, row in zip(PALETTE, rows, strict=False):
            grid = np.linspace(0, 1, len(row["roc"]))
            area = row["metrics"]["auc"]["mean"]
            axes.plot(grid, row["roc"], color=colour, label=f"{_label(row)}: AUC {area:.3f}")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        drawing.figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    return drawing.svg


def _courses(rows: Sequence[Row]) -> bytes:
    """Losses in training and validation, and accuracy in validation, by epoch."""
    titles = {
        "train_loss": "training loss",
        "val_loss": "validation loss",
        "val_accuracy": "validation accuracy",
    }
    with panels(len(titles), width=8.4, height=3.0) as drawing:
        for axes, (name, title) in zip(drawing.panels, titles.items(), strict=True):
            for colour, row in zip(PALETTE, rows, strict=False):
                values = row["history"][name]
                label = _label(row) if name == "train_loss" else None
                axes.plot(range(1, len(values) + 1), values, color=colour, label=label)
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        drawing.figure.legend(loc="outside lower left", ncols=len(rows), fontsize=8)
    return drawing.svg


def _interval(axes: Axes, found: Row, y: float, colour: str, label: str | None = None) -> None:
    if found["mean"] is None:
        return
    if found["low"] is not None:
        axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=1.6)
    axes.plot([found["mean"]], [y], "o", color=colour, markersize=4.5, label=label)


def _rows(axes: Axes, rows: Sequence[Row]) -> None:
    """Names at the left, the first row on top."""
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _label(row: Row) -> str:
    return f"{row['arm']}, {row['ratio']:g}" if row["ratio"] else str(row["arm"])
