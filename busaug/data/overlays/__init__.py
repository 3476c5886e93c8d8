"""What is in a B-mode picture but not of the patient: burnt-in annotation and the black surround.

``detect_overlays`` finds them from the pixels, ``busaug prepare`` keeps what it found beside the
images, and ``overlay_mask`` gives it back on the grid of the images that the engine works on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from busaug.data.catalog import Catalog, Record
from busaug.data.images import Extent, load_mask
from busaug.data.overlays.annotation import find_annotation
from busaug.data.overlays.strokes import Image, Mask, near
from busaug.data.overlays.surround import find_surround
from busaug.errors import InputError

MARGIN = 1
"""Pixels taken along on all sides: interpolation and compression blur strokes and edges."""

_SIDE_MIN = 96
"""On smaller images a letter's stroke and a speckle are much the same."""

_SIDE_FULL = 512
"""Images at least twice as large are looked at in whole fractions: marks grow with the screen."""

_SHARE_MIN = 0.1
"""A pixel of a smaller image is marked where more than this part of what it averages is."""


@dataclass(frozen=True, eq=False)
class OverlayMask:
    """Pixels (H, W) that are no tissue, by kind; margins included."""

    annotation: Mask
    """Text, calipers, boxes, logos."""
    surround: Mask
    """Black area outside the sector."""

    @property
    def mask(self) -> Mask:
        """Both kinds."""
        return self.annotation | self.surround


def detect_overlays(image: npt.NDArray[np.floating], margin: int = MARGIN) -> OverlayMask:
    """Find overlays in a gray image (H, W) in [0, 1], any float type; ``margin`` in pixels.

    The same pixels give the same masks. Tissue is preferred in doubt: the masks are empty for a
    constant image, and for one below 96 px on a side. Colour is not looked at, filled shapes are
    marked at their rims.

    Raises InputError for another number of dimensions, values outside [0, 1] or not finite, and a
    negative margin.
    """
    _require(image, margin)
    fraction = max(1, min(image.shape, default=0) // _SIDE_FULL)
    small = _reduced(image.astype(np.float32), fraction)
    if min(small.shape) < _SIDE_MIN:
        nothing = np.zeros(image.shape, bool)
        return OverlayMask(nothing, nothing.copy())
    annotation, surround = (
        near(_enlarged(mask, fraction, image.shape), margin)
        for mask in (find_annotation(small), find_surround(small))
    )
    return OverlayMask(annotation, surround)


def overlay_mask(catalog: Catalog, record: Record, size: int | Extent) -> torch.Tensor:
    """A record's overlays, bool (1, H, W), squashed as ``load_batch`` squashes its image.

    All False for a record without any. Raises InputError where the mask is missing, damaged or not
    of the image's size.
    """
    if record.overlay is None:
        extent = (size, size) if isinstance(size, int) else size
        return torch.zeros((1, *extent), dtype=torch.bool)
    return load_mask(catalog, record, record.overlay, size) > _SHARE_MIN


def _require(image: npt.NDArray[np.floating], margin: int) -> None:
    if image.ndim != 2 or not np.issubdtype(image.dtype, np.floating):
        raise InputError(
            f"image has the shape {image.shape} and type {image.dtype}",
            remedy="Give one gray channel (H, W) of floats",
        )
    if not image.size:
        raise InputError(f"image has the shape {image.shape}", remedy="Give at least one pixel")
    if not np.isfinite(image).all():
        raise InputError("image has pixels that are not finite", remedy="Replace NaN and infinity")
    if image.min() < 0 or image.max() > 1:
        raise InputError(
            f"image has pixels from {image.min():g} to {image.max():g}",
            remedy="Divide by the full scale of the pixels",
        )
    if margin < 0:
        raise InputError(f"margin={margin} is negative", remedy="Give 0 or more pixels")


def _reduced(image: Image, fraction: int) -> Image:
    """Means of squares of ``fraction`` pixels; those cut by the rim are filled up with it."""
    if fraction == 1:
        return image
    height, width = (-(-side // fraction) for side in image.shape)
    missing = [(0, height * fraction - image.shape[0]), (0, width * fraction - image.shape[1])]
    squares = np.pad(image, missing, mode="edge").reshape(height, fraction, width, fraction)
    return np.asarray(squares.mean(axis=(1, 3)))


def _enlarged(mask: Mask, fraction: int, shape: tuple[int, ...]) -> Mask:
    if fraction == 1:
        return mask
    return mask.repeat(fraction, axis=0).repeat(fraction, axis=1)[: shape[0], : shape[1]]
