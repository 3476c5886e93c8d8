"""One self-contained HTML file from output folders: it opens from disk, without a network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from busaug import __version__
from busaug.files import write_text
from busaug.report.augmented import AugmentSection, augment_section
from busaug.report.collect import Notes, Run, find_runs
from busaug.report.sections import (
    METRIC_NAMES,
    SPLIT_NAMES,
    Assessment,
    DataSection,
    DespeckleSection,
    ExplainSection,
    Figure,
    TrainSection,
    data_section,
    despeckle_section,
    explain_section,
    roc_figures,
    train_section,
)

ROWS_A_CLASS = 12
LIST_MAX = 50
"""Values shown of a setting that is a list."""

Part = TypeVar("Part")


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything the template shows."""

    data: Sequence[DataSection]
    despeckle: Sequence[DespeckleSection]
    train: Sequence[TrainSection]
    explain: Sequence[ExplainSection]
    augment: Sequence[AugmentSection]
    roc: Sequence[Figure]
    runs: Sequence[Run]
    notes: Sequence[tuple[str, Sequence[str]]]

    @property
    def random_features(self) -> list[str]:
        """Names of runs that had no pretrained weights."""
        return [run.name for run in self.runs if run.summary.get("pretrained") is False]

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Names of runs that were let leak, and what leaks."""
        return [(run.name, leak) for run in self.runs for leak in run.summary.get("leaks") or ()]

    def assessed(self, split: str) -> list[tuple[str, Assessment]]:
        """(run, its figures) of every classifier that was evaluated on the split."""
        return [
            (part.run.name, found)
            for part in self.train
            for found in part.assessments
            if found.split == split
        ]

    @property
    def highlights(self) -> list[tuple[str, str]]:
        """(figure, what it is) of the most asked-for numbers that the runs have."""
        found = []
        if self.data:
            rows = self.data[0].counts.rows
            found.append((rows[-1][-1], f"images in {len(rows) - 1} classes"))
        for part in self.augment[:1]:
            found.append((f"{part.accepted} / {part.planned}", "augmented images accepted"))
            for key, what in (
                ("style_left_median", "of the style distance left, median"),
                ("ssim_median", "similarity to the content (SSIM), median"),
            ):
                value = part.run.summary.get(key)
                if value is not None:
                    percent = key.startswith("style")
                    found.append((f"{100 * value:.0f} %" if percent else f"{value:.2f}", what))
        for trained in self.train:
            tested = next((a for a in trained.assessments if a.split == "test"), None)
            if tested is not None:
                what = f"test accuracy, n = {tested.n} ({trained.run.name})"
                found.append((tested.metrics["accuracy"], what))
        for explained in self.explain[:1]:
            if explained.error_max is not None:
                found.append((f"{explained.error_max:.0e}", "largest LRP conservation error"))
        return found[:6]


def build(paths: Sequence[Path], *, rows_a_class: int = ROWS_A_CLASS) -> str:
    """The report on the runs at ``paths`` or below them, as HTML.

    The same runs give the same text. What is missing is said in the report. Raises InputError
    where a path holds no run.
    """
    runs, notes = find_runs(paths), Notes()

    def of(command: str) -> Iterable[Run]:
        return (run for run in runs if run.command == command)

    report = Report(
        data=_there(data_section(run, notes) for run in of("prepare")),
        despeckle=[despeckle_section(run, notes) for run in of("despeckle")],
        train=[train_section(run, notes) for run in of("train")],
        explain=[explain_section(run, rows_a_class, notes) for run in of("explain")],
        augment=_there(
            augment_section(run, f"augmented-{number}", runs, rows_a_class, notes)
            for number, run in enumerate(of("augment"), start=1)
        ),
        roc=roc_figures(of("train"), notes),
        runs=runs,
        notes=notes.items(),
    )
    environment = Environment(
        loader=PackageLoader("busaug", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(settings=settings, facts=facts)
    script = resources.files("busaug.report").joinpath("report.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return environment.get_template("report.html.j2").render(
        report=report,
        metric_names=METRIC_NAMES,
        split_names=SPLIT_NAMES,
        version=__version__,
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
    )


def write(paths: Sequence[Path], out: Path, *, rows_a_class: int = ROWS_A_CLASS) -> None:
    """Build the report and write it to ``out``, whole or not at all."""
    write_text(out, build(paths, rows_a_class=rows_a_class))


def settings(run: Run) -> list[tuple[str, str]]:
    """What the run's hash is of, one dotted name a line: the configuration, then the inputs."""
    identity = dict(run.identity)
    config = identity.pop("config", None)
    return [*_flat(config if isinstance(config, Mapping) else {}), *_flat(identity)]


def facts(run: Run) -> list[tuple[str, str]]:
    """Single values of the run's summary; paths of this machine are left out."""
    return [
        (key, _plain(value))
        for key, value in run.summary.items()
        if key != "catalog" and isinstance(value, str | int | float)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        parts = [_plain(each) for each in value[:LIST_MAX]]
        rest = len(value) - len(parts)
        return ", ".join([*parts, f"and {rest:,} more"] if rest else parts) or "none"
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value[:12]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _there(parts: Iterable[Part | None]) -> list[Part]:
    return [part for part in parts if part is not None]
