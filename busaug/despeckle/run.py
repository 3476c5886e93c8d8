"""``busaug despeckle``: a Catalog to one Catalog a scale, with strips and speckle figures."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from busaug import console
from busaug.config import SradConfig
from busaug.data.archives import read_file
from busaug.data.catalog import Catalog, Record
from busaug.data.images import read_gray, to_float, to_gray
from busaug.despeckle.figures import Stack, variation
from busaug.despeckle.scales import Format, Masks, open_scale
from busaug.despeckle.strip import write_strip
from busaug.errors import InputError
from busaug.files import write_jsonl
from busaug.ops.srad import quiet_window, srad
from busaug.trace import span

SKIPPED_FILE = "skipped.jsonl"
SPECKLE_FILE = "speckle.jsonl"


@dataclasses.dataclass(frozen=True)
class DespeckleSummary:
    """What was despeckled and how far the speckle fell."""

    images: int
    skipped: tuple[dict[str, str], ...]
    variation: tuple[float, ...]
    """Median over the images of a window's standard deviation over its mean: in the original, then
    at each scale. The window is the quietest of the original (``quiet_window``)."""

    @property
    def equivalent_looks(self) -> tuple[float | None, ...]:
        """Equivalent number of looks, 1 / variation^2; None where no variation is left."""
        return tuple(1 / value**2 if value > 0 else None for value in self.variation)


def despeckle(
    catalog: Catalog, out: Path, options: SradConfig, kind: Format = "png"
) -> DespeckleSummary:
    """Write ``scale_1`` to ``scale_L``, each a Catalog of its own with the masks carried along;
    a file an image or, for ``kind`` webdataset, shards;
    ``strips/ID.png`` for the first image of each class, ``speckle.jsonl`` and ``skipped.jsonl``.

    Size and bit depth of an image are kept. One that cannot be read or does not hold the region
    of ``options.q0`` is skipped, counted and listed. Raises InputError where none is left.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    shown: set[str] = set()
    with (
        contextlib.ExitStack() as opened,
        console.progress("despeckle", len(catalog.records)) as advance,
    ):
        scales = [
            opened.enter_context(open_scale(catalog, out / f"scale_{number}", kind))
            for number in range(1, options.scales + 1)
        ]
        for record in catalog.records:
            try:
                masks = _masks(catalog, record)
                stack = _despeckled(catalog, record, options)
            except InputError as error:
                skipped.append({"id": record.id, "reason": catalog.without_root(error.what)})
                advance()
                continue
            for scale, image in zip(scales, stack[1:], strict=True):
                scale.add(record, to_gray(image, record.bit_depth).pixels, masks)
            rows.append(_speckle_row(record, stack, options))
            if record.label not in shown:
                shown.add(record.label)
                write_strip(
                    out / "strips" / f"{record.id}.png",
                    stack,
                    f"{record.id}, {record.label}",
                    iterations=options.iterations,
                )
            advance()
    if not rows:
        raise InputError(
            f"no image of {catalog.root} could be despeckled: {skipped[0]['reason']}",
            remedy="Mend the images or change the options",
        )
    write_jsonl(out / SPECKLE_FILE, rows)
    write_jsonl(out / SKIPPED_FILE, skipped)
    medians = np.median([row["variation"] for row in rows], axis=0)
    return DespeckleSummary(len(rows), tuple(skipped), tuple(medians.tolist()))


def _despeckled(catalog: Catalog, record: Record, options: SradConfig) -> Stack:
    """The stack of one image."""
    image = to_float(read_gray(catalog.path(record)))
    with span("srad"):
        return np.concatenate([image[None], srad(image, **options.model_dump())])


def _masks(catalog: Catalog, record: Record) -> Masks:
    """The files of an image's masks, by kind; InputError where one is missing."""
    names = {"mask": record.mask, "overlay": record.overlay}
    return {kind: read_file(catalog.root / name) for kind, name in names.items() if name}


def _speckle_row(record: Record, stack: Stack, options: SradConfig) -> dict[str, Any]:
    window = quiet_window(stack[0], domain=options.domain)
    return {"id": record.id, "window": list(window), "variation": variation(stack, window)}
