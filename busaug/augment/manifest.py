"""The manifest: one row a planned pair, the same for equal runs.

While a run goes on, each finished unit has its rows in ``units/NNNNNN.jsonl``, written after its
images, so that a unit is either wholly there or to be done again. At the end they are merged into
``manifest.jsonl`` in the plan's order.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from busaug.augment.engine import Outcome
from busaug.augment.plan import Plan, Unit, pair_seed
from busaug.errors import InputError
from busaug.files import atomic_file, iterate_jsonl, json_line, read_jsonl, write_jsonl

MANIFEST_FILE = "manifest.jsonl"
_UNITS = "units"

Row = dict[str, Any]


def manifest_row(outcome: Outcome, file: str | None, sha256: str | None, seed: int) -> Row:
    """Facts of one pair that equal runs share; ``seed`` is the run's."""
    pair, figures = outcome.pair, outcome.figures
    row: Row = {
        "id": pair.id,
        "file": file,
        "content": pair.content.id,
        "references": [record.id for record in pair.references],
        "class": pair.label,
        "split": pair.content.split,
        "group": pair.content.group,
        "accepted": outcome.accepted,
        "reason": outcome.reason,
        "seed": pair_seed(seed, pair),
        "sha256": sha256,
        "content_sha256": pair.content.sha256,
    }
    if figures is not None:
        row |= {
            "loss_initial": _finite(figures.loss_initial),
            "loss_final": _finite(figures.loss_final),
            "content_loss": _finite(figures.content_loss),
            "style_initial": _finite(figures.style_initial),
            "style_final": _finite(figures.style_final),
            "style_left": _finite(figures.style_left),
            "layers_initial": {k: _finite(v) for k, v in figures.layers_initial.items()},
            "layers_final": {k: _finite(v) for k, v in figures.layers_final.items()},
            "mean_abs_change": _finite(figures.change),
            "ssim": _finite(figures.ssim),
            "saturated": figures.saturated,
            "masked": _finite(figures.masked),
            "lesion_ssim": None if figures.lesion_ssim is None else _finite(figures.lesion_ssim),
            "loss_curve": [[step, _finite(value)] for step, value in figures.curve],
        }
    return row


class Manifest:
    """The manifest of a run folder, in parts or merged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / MANIFEST_FILE

    def finished(self) -> set[int]:
        """Indices of the units that are wholly on disk."""
        try:
            names = os.listdir(self.folder / _UNITS)
        except FileNotFoundError:
            return set()
        return {int(name[:-6]) for name in names if name.endswith(".jsonl") and name[:-6].isdigit()}

    def missing(self, plan: Plan) -> list[int]:
        """Indices of the planned units that are not on disk, in order."""
        finished = self.finished()
        return [index for index in range(plan.units) if index not in finished]

    def add(self, unit: Unit, rows: Iterable[Row]) -> None:
        """Record a unit; its images must be on disk already."""
        write_jsonl(self._part(unit.index), rows)

    def rows_of(self, unit: int) -> list[Row]:
        """The rows of a unit that is on disk."""
        return read_jsonl(self._part(unit))

    def forget(self, units: Iterable[int]) -> None:
        """Have units made again."""
        for unit in units:
            self._part(unit).unlink(missing_ok=True)

    def merge(self, plan: Plan) -> None:
        """Join the parts into one file and check that it is the plan: nothing lost, nothing twice.

        The parts stay until ``drop_parts``. Raises InputError where a unit is missing or a row is
        not the one planned.
        """
        planned = plan.ids()
        with atomic_file(self.file) as temporary, temporary.open("w", encoding="utf-8") as joined:
            for index in range(plan.units):
                for row in self.rows_of(index):
                    self._check(row["id"], next(planned, None), index)
                    joined.write(json_line(row))
            self._check(None, next(planned, None), plan.units - 1)

    def drop_parts(self) -> None:
        """Remove the units' own files, when all that is made of them is on disk."""
        shutil.rmtree(self.folder / _UNITS, ignore_errors=True)

    def rows(self) -> Iterator[Row]:
        """Every row of the merged file, read one at a time."""
        return iterate_jsonl(self.file)

    def _check(self, found: str | None, planned: str | None, unit: int) -> None:
        if found != planned:
            raise InputError(
                f"{self._part(unit)} holds {found or 'nothing'} where {planned or 'nothing'} is "
                "planned",
                remedy="Delete that file and resume the run",
            )

    def _part(self, index: int) -> Path:
        return self.folder / _UNITS / f"{index:06d}.jsonl"


def _finite(value: float) -> float | None:
    """JSON has no NaN: a value that is not finite becomes null; nine digits tell floats apart."""
    return float(f"{value:.9g}") if abs(value) < float("inf") else None
