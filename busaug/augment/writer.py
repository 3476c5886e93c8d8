"""Writing a unit's images, and the finished run as a Catalog of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from busaug.augment.engine import Outcome
from busaug.augment.manifest import Manifest, Row, manifest_row
from busaug.augment.plan import Unit
from busaug.data.catalog import Catalog, Record
from busaug.data.images import pixel_hash, to_gray, write_pixels
from busaug.trace import span

SOURCE = "busaug augment"
_TEXT_KEYS = ("id", "content", "references", "class", "seed", "loss_final", "style_left", "ssim")


class Writer:
    """Writes units into a run folder: images first, their manifest part last."""

    def __init__(self, folder: Path, manifest: Manifest, seed: int, *, keep_rejected: bool) -> None:
        self._folder = folder
        self._manifest = manifest
        self._seed = seed
        self._keep_rejected = keep_rejected

    def write(self, unit: Unit, outcomes: Sequence[Outcome]) -> list[Row]:
        with span("write"):
            rows = [self._write(outcome) for outcome in outcomes]
            self._manifest.add(unit, rows)
        return rows

    def _write(self, outcome: Outcome) -> Row:
        keep = outcome.accepted or self._keep_rejected
        if outcome.image is None or not keep:
            return manifest_row(outcome, None, None, self._seed)
        place = "images" if outcome.accepted else "rejected"
        file = f"{place}/{outcome.pair.label}/{outcome.pair.id}.png"
        pixels = to_gray(outcome.image, outcome.pair.content.bit_depth).pixels
        row = manifest_row(outcome, file, pixel_hash(pixels), self._seed)
        text = {f"busaug:{key}": json.dumps(row[key]) for key in _TEXT_KEYS}
        write_pixels(self._folder / file, pixels, text)
        return row


def save_catalog(
    folder: Path, rows: Iterable[Row], source: Catalog, size: int, run_hash: str
) -> None:
    """Write the accepted images as ``catalog.jsonl``: training rows in their content's group."""
    records = []
    for row in rows:
        if not row["accepted"]:
            continue
        content = source.by_id[row["content"]]
        records.append(
            Record(
                id=row["id"],
                file=row["file"],
                label=row["class"],
                group=content.group,
                split="train",
                sha256=row["sha256"],
                width=size,
                height=size,
                bit_depth=content.bit_depth,
                source=f"{SOURCE} {run_hash[:12]}",
            )
        )
    Catalog(folder, tuple(records)).save()
