"""What each kind of run shows, as plain values for the template."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from busaug.classify.metrics import METRICS
from busaug.data.catalog import SPLITS, Catalog
from busaug.errors import InputError
from busaug.report import plots
from busaug.report.collect import (
    Notes,
    Row,
    Run,
    file_of,
    json_of,
    note_skipped,
    number,
    rows_of,
    skipped_rows,
)
from busaug.report.pictures import file_uri
from busaug.report.sample import Sample

STRIPS_MAX = 12
STRIP_SIDE_MAX = 1600
OVERLAYS_MAX = 120
OVERLAY_SIDE_MAX = 640

PERCENT = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision")
METRIC_NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced acc.",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "mcc": "MCC",
    "auc": "AUC",
    "brier": "Brier",
    "ece": "ECE",
}
_SORTED = (("probability", "probability"), ("error", "conservation_error"))
"""Attributes by which overlays are sorted, and the figures of their rows."""
UNNAMED = re.compile(r"class \d+$")
"""How ``explain`` calls a logit without a name."""
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class Table:
    """Column heads, then rows whose first cell is a head too."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Figure:
    """An embedded picture with what it says, for those who do not see it, and a caption."""

    uri: str
    alt: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class DataSection:
    run: Run
    counts: Table
    facts: Sequence[str]


@dataclasses.dataclass(frozen=True)
class DespeckleSection:
    run: Run
    strips: Sequence[Figure]
    plot: Figure | None
    table: Table | None


@dataclasses.dataclass(frozen=True)
class Explained:
    """One image's relevance."""

    figure: Figure
    row: Row

    @property
    def decision(self) -> str:
        """Whether the true class was predicted; empty where the network has other classes."""
        predicted = str(self.row.get("predicted", ""))
        if self.row.get("predicted") is None or UNNAMED.match(predicted):
            return ""
        return "right" if predicted == self.row.get("class") else "wrong"

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(name, value) of the ``data-`` attributes that it is sorted and filtered by."""
        texts = [("name", str(self.row.get("id"))), ("label", str(self.row.get("class")))]
        texts.append(("decision", self.decision))
        figures = ((name, number(self.row, key)) for name, key in _SORTED)
        return texts + [(name, f"{value:.6g}") for name, value in figures if value is not None]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(what, figure) to be read below the picture."""
        explained = str(self.row.get("target", "-"))
        probability = number(self.row, "probability")
        if probability is not None:
            explained += f" ({_share(probability)})"
        found = [("relevance for", explained)]
        if self.row.get("predicted") is not None:
            predicted = str(self.row["predicted"])
            probability = number(self.row, "predicted_probability")
            if probability is not None:
                predicted += f" ({_share(probability)})"
            found.append(("predicted", predicted))
        error = number(self.row, "conservation_error")
        if error is not None:
            found.append(("conservation error", f"{error:.0e}"))
        return found


@dataclasses.dataclass(frozen=True)
class ExplainSection:
    run: Run
    shown: Sequence[Explained]
    labels: Sequence[str]
    count: int
    error_max: float | None

    @property
    def label_options(self) -> list[tuple[str, str]]:
        return [(label, label) for label in self.labels]


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One split's confusion matrix and metrics of one classifier."""

    split: str
    n: int
    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]
    metrics: Mapping[str, str]
    undefined: Sequence[str]
    """Sentences."""

    def share(self, row: int, column: int) -> float:
        """Of the true class's images, 0 ... 1."""
        return self.confusion[row][column] / max(sum(self.confusion[row]), 1)


@dataclasses.dataclass(frozen=True)
class TrainSection:
    run: Run
    sentence: str
    history: Figure | None
    assessments: Sequence[Assessment]


def data_section(run: Run, notes: Notes) -> DataSection | None:
    """Images by class and split; what was skipped and dropped goes to the notes."""
    note_skipped(run, rows_of(run, "skipped.jsonl", notes), notes)
    for row in rows_of(run, "dropped.jsonl", notes):
        notes.add(run, f"dropped {row.get('file')}: {row.get('reason')}")
    try:
        catalog = Catalog.load(run.folder)
    except InputError:
        notes.add(run, "its catalog.jsonl cannot be read")
        return None
    count: Counter[tuple[str, str]] = Counter((r.label, r.split) for r in catalog.records)
    columns = [*SPLITS, "all"]
    for (label, split), n in list(count.items()):
        for key in ((label, "all"), ("all", split), ("all", "all")):
            count[key] += n
    rows = [[label, *(str(count[label, name]) for name in columns)] for label in catalog.labels]
    rows.append(["all", *(str(count["all", name]) for name in columns)])
    return DataSection(
        run, Table(["class", *map(str.capitalize, SPLIT_NAMES.values()), "All"], rows), _facts(run)
    )


def _facts(run: Run) -> list[str]:
    found = run.summary
    facts = []
    if isinstance(found.get("shared_groups"), int):
        groups = f" of {found['groups']}" if "groups" in found else ""
        facts.append(f"Groups shared between splits: {found['shared_groups']}{groups}.")
    if found.get("near_duplicate_images"):
        facts.append(
            f"Near-duplicates: {found['near_duplicate_images']} images; they form "
            f"{found.get('near_duplicate_groups', '?')} of the groups, each in one split."
        )
    if found.get("dropped_images"):
        facts.append(
            f"Dropped as near-duplicates across classes: {found['dropped_images']} images."
        )
    if found.get("skipped_images"):
        facts.append(f"Files that could not be used: {found['skipped_images']}.")
    if found.get("left_out"):
        others = ", ".join(f"{label} {n}" for label, n in found["left_out"].items())
        facts.append(f"Classes left out on request: {others}.")
    return facts


def despeckle_section(run: Run, notes: Notes) -> DespeckleSection:
    """The strips that the run wrote, and how far speckle fell."""
    note_skipped(run, skipped_rows(run), notes)
    strips = []
    files = sorted((run.folder / "strips").rglob("*.png"))
    for file in files[:STRIPS_MAX]:
        name = file.relative_to(run.folder / "strips").with_suffix("").as_posix()
        try:
            uri = file_uri(file, STRIP_SIDE_MAX)
        except OSError:
            notes.add(run, f"strips/{name}.png cannot be read")
            continue
        strips.append(Figure(uri, f"{name} at every despeckling scale, original first"))
    if len(files) > STRIPS_MAX:
        notes.add(run, f"{len(files) - STRIPS_MAX:,} strips: the first {STRIPS_MAX} are shown")
    if not strips:
        notes.add(run, "it has no strips to show")
    table, variation = _speckle_table(run)
    figure = None
    if table is not None and len(variation) == len(table.rows):
        counts = [int(row[1]) for row in table.rows]
        alt = f"Speckle falls from {variation[0]:.3f} to {variation[-1]:.3f}"
        figure = Figure(plots.speckle(counts, variation), alt)
    return DespeckleSection(run, strips, figure, table)


def _speckle_table(run: Run) -> tuple[Table | None, list[float]]:
    """Figures of the originals and of every scale, and standard deviation over mean of each.

    A Catalog's run has the median of that ratio; one of files has medians of looks, contrast and
    edges.
    """
    figures = run.summary.get("figures") or {}
    looks = figures.get("looks") or run.summary.get("equivalent_looks") or []
    variation = run.summary.get("variation") or [look**-0.5 for look in looks if look]
    step = run.setting("srad", "iterations")
    scales = max(len(looks), len(variation))
    if not scales or not isinstance(step, int):
        return None, []
    columns = [
        ("SNR", "{:.2f}", [1 / value if value > 0 else None for value in variation]),
        ("ENL", "{:.1f}", looks),
        ("CNR", "{:.2f}", figures.get("contrast") or []),
        ("Edges kept", "{:.2f}", figures.get("edges") or []),
    ]
    known = [(name, form, values) for name, form, values in columns if len(values) == scales]
    rows = [
        [
            f"scale {scale}" if scale else "original",
            str(step * scale),
            *("-" if v[scale] is None else form.format(v[scale]) for _, form, v in known),
        ]
        for scale in range(scales)
    ]
    return Table(["image", "Iterations", *(name for name, _, _ in known)], rows), variation


def explain_section(run: Run, limit: int, notes: Notes) -> ExplainSection:
    """Overlays of at most ``limit`` images a class, picked by a keyed order."""
    note_skipped(run, skipped_rows(run), notes)
    sample: Sample[str, Row] = Sample(limit)
    labels: Counter[str] = Counter()
    error_max = None
    for row in rows_of(run, "relevance.jsonl", notes):
        labels[str(row.get("class"))] += 1
        sample.add(str(row.get("class")), str(row.get("id")), row)
        error = number(row, "conservation_error")
        if error is not None:
            error_max = error if error_max is None else max(error_max, error)
    shown = []
    for row in sample.kept(OVERLAYS_MAX):
        try:
            uri = file_uri(file_of(run, str(row["overlay"])), OVERLAY_SIDE_MAX)
        except (OSError, KeyError, InputError):
            notes.add(run, f"the overlay of {row.get('id')} cannot be read")
            continue
        alt = f"Relevance of {row.get('id')}, {row.get('class')}, for {row.get('target')}"
        shown.append(Explained(Figure(uri, alt), row))
    return ExplainSection(run, shown, sorted(labels), labels.total(), error_max)


def train_section(run: Run, notes: Notes) -> TrainSection:
    """How a classifier was trained, and what it says on each split."""
    note_skipped(run, skipped_rows(run), notes)
    history = list(rows_of(run, "history.jsonl", notes))
    figure = None
    best = run.summary.get("best_epoch")
    if history:
        first, last = history[0], history[-1]
        alt = (
            f"Training loss from {first['train_loss']:.2f} to {last['train_loss']:.2f}, "
            f"validation loss from {first['val_loss']:.2f} to {last['val_loss']:.2f}"
        )
        figure = Figure(plots.training_history(history, best), alt)
    assessed = []
    for split in ("test", "val", "train"):
        row = json_of(run, f"metrics_{split}.json", notes)
        if row is not None:
            assessed.append(_assessment(split, row))
            note_skipped(run, row.get("skipped", []), notes)
    if "test" not in [part.split for part in assessed]:
        notes.add(run, "it was not evaluated on the test split")
    return TrainSection(run, _sentence(run), figure, assessed)


def _sentence(run: Run) -> str:
    found = run.summary
    counts = (found.get("images") or {}).get("train") or {}
    if not counts:
        return "The run holds no summary of its training."
    listed = " and ".join(f"{n} {label}" for label, n in counts.items())
    synthetic = f" ({found['synthetic']} of them synthetic)" if found.get("synthetic") else ""
    return (
        f"ResNet-50 from {found.get('weights', 'unknown')} weights, trained on {listed} images"
        f"{synthetic} in {found.get('updates')} updates; epoch {found.get('best_epoch')} of "
        f"{found.get('epochs')} was kept."
    )


def _assessment(split: str, row: Mapping[str, Any]) -> Assessment:
    metrics = {
        name: format_metric(name, row["metrics"].get(name))
        for name in METRICS
        if name in row["metrics"]
    }
    undefined = [
        f"{METRIC_NAMES[name]} is undefined: {reason}." for name, reason in row["undefined"].items()
    ]
    return Assessment(split, row["n"], row["classes"], row["confusion"], metrics, undefined)


def _share(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def format_metric(name: str, value: float | None) -> str:
    """Percent for shares of images, three decimals for the rest, a dash for undefined."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if name in PERCENT else f"{value:.3f}"


def roc_figures(runs: Iterable[Run], notes: Notes) -> list[Figure]:
    """One figure a split with a curve for every two-class classifier that saw both classes."""
    figures = []
    rows = [
        (run, split, json_of(run, f"metrics_{split}.json", notes))
        for run in runs
        for split in ("test", "val")
    ]
    for split in ("test", "val"):
        curves = {}
        for run, name, row in rows:
            if name != split or row is None or row["metrics"].get("auc") is None:
                continue
            if len(row["classes"]) != 2:
                continue
            positive = row["positive"]
            truth = [p["class"] == positive for p in row["predictions"]]
            probability = [p["probability"][positive] for p in row["predictions"]]
            curves[f"{run.name}: AUC {row['metrics']['auc']:.3f}"] = (truth, probability)
        if curves:
            title = f"ROC on {SPLIT_NAMES[split]} images"
            figures.append(Figure(plots.roc(title, curves), f"{title}. {'. '.join(curves)}"))
    return figures
