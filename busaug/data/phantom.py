"""Simulated B-mode images with known lesions: data for demos and tests, no download needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from busaug.data.anatomy import draw_anatomy
from busaug.data.bmode import Scanner, b_mode
from busaug.data.images import FloatImage, write_gray, write_mask
from busaug.seeding import Key, draw

LABELS = ("benign", "malignant")


def phantom(label: str, seed_key: Key, size: int) -> tuple[FloatImage, npt.NDArray[np.bool_]]:
    """An image, float32 (size, size) in [0, 1], and its lesion mask, bool (size, size).

    ``label`` is benign or malignant. The anatomy, the scanner and the speckle are drawn from the
    label and ``seed_key``; the first two are the same at every size.
    """
    if label not in LABELS:
        raise ValueError(f"a phantom is {' or '.join(LABELS)}, not {label!r}")
    echogenicity_db, lesion = draw_anatomy(label, size, draw("anatomy", label, seed_key))
    scanner = Scanner.draw(draw("scanner", label, seed_key))
    image = b_mode(echogenicity_db, scanner, draw("speckle", label, seed_key))
    return image.astype(np.float32), lesion


def write_phantoms(folder: Path, per_class: int, size: int, seed: int) -> None:
    """Write ``per_class`` images of each class with masks, laid out and named as BUSI is."""
    for label in LABELS:
        for number in range(1, per_class + 1):
            image, lesion = phantom(label, f"{seed}/{number}", size)
            stem = folder / label / f"{label} ({number})"
            write_gray(stem.with_name(f"{stem.name}.png"), image, 8)
            write_mask(stem.with_name(f"{stem.name}_mask.png"), lesion)
