"""What each kind of run shows, as plain values for the template."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from busaug.classify.metrics import METRICS
from busaug.data.catalog import SPLITS, Catalog
from busaug.errors import InputError
from busaug.report import plots
from busaug.report.collect import Notes, Row, Run, json_of, note_skipped, rows_of, skipped_rows
from busaug.report.pictures import file_uri
from busaug.seeding import key_digest

STRIP_SIDE_MAX = 1600
OVERLAY_SIDE_MAX = 480

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
    def misses(self) -> bool:
        """Whether another class than the true one was predicted; an ImageNet class is neither."""
        predicted = str(self.row.get("predicted", ""))
        return predicted != self.row.get("class") and not predicted.startswith("ImageNet")


@dataclasses.dataclass(frozen=True)
class ExplainSection:
    run: Run
    classes: Mapping[str, Sequence[Explained]]
    count: int
    error_max: float | None


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
    for file in sorted((run.folder / "strips").glob("*.png")):
        try:
            uri = file_uri(file, STRIP_SIDE_MAX)
        except OSError:
            notes.add(run, f"strips/{file.name} cannot be read")
            continue
        strips.append(Figure(uri, f"{file.stem} at every despeckling scale, original first"))
    if not strips:
        notes.add(run, "it has no strips to show")
    variation = run.summary.get("variation") or []
    step = run.setting("srad", "iterations")
    if not variation or not isinstance(step, int):
        return DespeckleSection(run, strips, None, None)
    counts = [step * scale for scale in range(len(variation))]
    looks = run.summary.get("equivalent_looks") or [None] * len(variation)
    rows = [
        [
            f"scale {scale}" if scale else "original",
            str(count),
            f"{value:.3f}",
            "-" if look is None else f"{look:.0f}",
        ]
        for scale, (count, value, look) in enumerate(zip(counts, variation, looks, strict=True))
    ]
    table = Table(["image", "Iterations", "Std / mean", "Equivalent looks"], rows)
    alt = f"Speckle falls from {variation[0]:.3f} to {variation[-1]:.3f}"
    return DespeckleSection(run, strips, Figure(plots.speckle(counts, variation), alt), table)


def explain_section(run: Run, limit: int, notes: Notes) -> ExplainSection:
    """Overlays of at most ``limit`` images a class, picked by a keyed order."""
    note_skipped(run, skipped_rows(run), notes)
    rows = rows_of(run, "relevance.jsonl", notes)
    shown: dict[str, list[Explained]] = {}
    for row in pick(rows, limit):
        try:
            uri = file_uri(run.folder / str(row["overlay"]), OVERLAY_SIDE_MAX)
        except (OSError, KeyError):
            notes.add(run, f"the overlay of {row.get('id')} cannot be read")
            continue
        alt = f"Relevance of {row.get('id')}, {row.get('class')}, for {row.get('target')}"
        shown.setdefault(str(row.get("class")), []).append(Explained(Figure(uri, alt), row))
    errors = [e for e in (row.get("conservation_error") for row in rows) if e is not None]
    return ExplainSection(run, shown, len(rows), max(errors, default=None))


def pick(rows: Iterable[Row], limit: int) -> list[Row]:
    """At most ``limit`` rows a class, a fair draw keyed by id, in the order of class and id."""
    classes: dict[str, list[Row]] = {}
    for row in rows:
        classes.setdefault(str(row.get("class")), []).append(row)
    chosen: list[Row] = []
    for label in sorted(classes):
        drawn = sorted(classes[label], key=lambda row: key_digest("sheet", str(row.get("id"))))
        chosen += sorted(drawn[:limit], key=lambda row: str(row.get("id")))
    return chosen


def train_section(run: Run, notes: Notes) -> TrainSection:
    """How a classifier was trained, and what it says on each split."""
    note_skipped(run, skipped_rows(run), notes)
    history = rows_of(run, "history.jsonl", notes)
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
