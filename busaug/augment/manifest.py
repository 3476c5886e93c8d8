"""The manifest: one row a planned pair, the same for equal runs.

While a run goes on, each finished unit has its rows in ``units/NNNNNN.jsonl``, written after its
images, so that a unit is either wholly there or to be done again. At the end they are merged into
``manifest.jsonl`` in the plan's order.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from busaug.augment.engine import Outcome
from busaug.augment.plan import Plan, Unit, pair_seed
from busaug.errors import InputError
from busaug.files import read_jsonl, write_jsonl

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

    @property
    def complete(self) -> bool:
        return self.file.is_file()

    def finished(self) -> set[int]:
        """Indices of the units that are wholly on disk."""
        parts = (self.folder / _UNITS).glob("*.jsonl")
        return {int(part.stem) for part in parts if part.stem.isdigit()}

    def add(self, unit: Unit, rows: Iterable[Row]) -> None:
        """Record a unit; its images must be on disk already."""
        write_jsonl(self._part(unit.index), rows)

    def merge(self, plan: Plan) -> list[Row]:
        """Join the parts into one file and check that it is the plan: nothing lost, nothing twice.

        Raises InputError where a unit is missing or a row is not the one planned.
        """
        rows = [row for index in range(plan.units) for row in read_jsonl(self._part(index))]
        planned = (pair.id for unit in plan for pair in unit.pairs)
        ids = Counter(row["id"] for row in rows)
        if len(rows) != len(plan) or ids != Counter(planned):
            raise InputError(
                f"{self.folder} holds {len(rows)} rows, {len(plan)} are planned",
                remedy="Delete the folder and run again",
            )
        write_jsonl(self.file, rows)
        shutil.rmtree(self.folder / _UNITS)
        return rows

    def rows(self) -> list[Row]:
        return read_jsonl(self.file)

    def _part(self, index: int) -> Path:
        return self.folder / _UNITS / f"{index:06d}.jsonl"


def _finite(value: float) -> float | None:
    """JSON has no NaN: a value that is not finite becomes null; nine digits tell floats apart."""
    return float(f"{value:.9g}") if abs(value) < float("inf") else None
