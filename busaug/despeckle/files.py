"""``busaug despeckle`` on image files as they are: no Catalog, no classes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from busaug import console
from busaug.config import SradConfig, canonical_hash
from busaug.data.decoders import FIRST, Frame
from busaug.data.images import pixel_hash, to_float, to_gray, write_pixels
from busaug.data.readers import Found
from busaug.data.readers.listing import joined_masks, list_class, list_file, readable_folder
from busaug.despeckle.figures import Figures, dark_and_bright, lesion_and_band, measure
from busaug.despeckle.strip import write_strip
from busaug.errors import InputError
from busaug.files import write_jsonl
from busaug.ops.srad import quiet_window, srad

FIGURES_FILE = "figures.jsonl"
SKIPPED_FILE = "skipped.jsonl"
STRIPS_MAX = 12
"""Images of which a strip is drawn."""


@dataclasses.dataclass(frozen=True)
class FilesSummary:
    """What was despeckled and how its figures changed."""

    images: int
    skipped: tuple[dict[str, str], ...]
    figures: Figures
    """Medians over the images, of those where a figure is defined."""
    inputs: str
    """Hash of names and pixels."""


def despeckle_files(
    source: Path, out: Path, options: SradConfig, frame: Frame = FIRST
) -> FilesSummary:
    """Despeckle an image file, or every one below a folder, into the existing folder ``out``.

    Writes ``scale_1`` to ``scale_L`` with a PNG an image, of its size and depth, in folders as in
    the source; ``strips`` with the first images side by side with their scales; ``figures.jsonl``;
    ``skipped.jsonl``. Masks ``x_mask.png`` are no images: they give the lesion of ``x.png``, whose
    contrast to the tissue around is measured; without one, that of dark to bright areas.

    An image that cannot be read, or does not hold the region of ``options.q0``, is skipped. Raises
    InputError where none is left.
    """
    found = _list(source)
    names = _names([image.key for image in found])
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    hashes: list[tuple[str, str]] = []
    root = source if source.is_dir() else source.parent
    with console.progress("despeckle", len(found)) as advance:
        for image, name in zip(found, names, strict=True):
            try:
                gray = image.image.gray(frame)
                lesion = joined_masks(image, gray.pixels.shape)
                original = to_float(gray)
                scales = srad(original, **options.model_dump())
            except InputError as error:
                reason = error.what.replace(f"{root}/", "")
                skipped.append({"file": image.key, "reason": reason})
                advance()
                continue
            for number, scale in enumerate(scales, start=1):
                pixels = to_gray(scale, gray.bit_depth).pixels
                write_pixels(out / f"scale_{number}" / name, pixels)
            stack = np.concatenate([original[None], scales])
            window = quiet_window(original, domain=options.domain)
            marked = bool(lesion.any())
            areas = lesion_and_band(lesion) if marked else dark_and_bright(original)
            figures = measure(stack, window, areas)
            rows.append(
                {
                    "file": image.key,
                    "window": list(window),
                    "areas": "lesion and band" if marked else "dark and bright",
                    **dataclasses.asdict(figures),
                }
            )
            hashes.append((image.key, pixel_hash(gray.pixels)))
            if len(rows) <= STRIPS_MAX:
                strip = out / "strips" / name
                write_strip(strip, stack, image.key, iterations=options.iterations)
            advance()
    if not rows:
        raise InputError(
            f"no image of {source} could be despeckled: {skipped[0]['reason']}",
            remedy="Mend the images or change the options",
        )
    write_jsonl(out / FIGURES_FILE, rows)
    write_jsonl(out / SKIPPED_FILE, skipped)
    return FilesSummary(len(rows), tuple(skipped), _medians(rows), canonical_hash(hashes))


def _list(source: Path) -> list[Found]:
    if source.is_file():
        return [list_file(source)]
    readable_folder(source)
    found = list(list_class(source, source, ""))
    if not found:
        raise InputError(
            f"{source} holds no image (looked for PNG, TIFF, JPEG, BMP, DICOM and .npy files)",
            remedy="Check the path",
        )
    return found


def _names(keys: Sequence[str]) -> list[str]:
    """Output paths: suffixes become ``.png``, and are kept where two files would meet."""
    plain = [str(PurePosixPath(key).with_suffix(".png")) for key in keys]
    uses = Counter(plain)
    return [
        name if uses[name] == 1 else f"{key}.png" for key, name in zip(keys, plain, strict=True)
    ]


def _medians(rows: Sequence[dict[str, Any]]) -> Figures:
    def median(name: str) -> tuple[float | None, ...]:
        columns = zip(*(row[name] for row in rows), strict=True)
        defined = [[value for value in column if value is not None] for column in columns]
        return tuple(float(np.median(values)) if values else None for values in defined)

    return Figures(median("looks"), median("contrast"), median("edges"))
