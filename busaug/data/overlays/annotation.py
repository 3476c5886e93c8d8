"""Burnt-in annotation of B-mode images: letters, calipers, outlined logos, boxes.

Tissue is seen through a point-spread function, which is widest across the beams. So nothing that
came through the transducer is a bright or dark stroke of one to five pixels that runs down the
image with sharp flanks. Letters, crosses and boxes are full of such strokes: they are the seeds.
Where an image has none, nothing is marked. Beside seeds, fainter thin strokes of any direction are
taken along, and from crosses dotted lines are followed.

Contrasts are parts of full scale, lengths pixels. The figures part the marks of BUSI images, at
native resolution and at 256x256, from the tissue of images without (docs/overlays.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from busaug.data.overlays.boxes import find_boxes
from busaug.data.overlays.crosses import find_crosses, separate_crosses
from busaug.data.overlays.lines import find_dotted_lines
from busaug.data.overlays.strokes import Image, Mask, Neighbours, near, running

_REACH = 5
_SAMPLE = 2
"""Quantiles are taken of every so manyth row and column: they are slow."""

_BRIGHT_STROKES = ((2, 2, 0.27), (2, 3, 0.21), (3, 4, 0.34), (4, 6, 0.41), (5, 8, 0.47))
"""(Reach across, length down, least contrast): brighter than both pixels at that reach."""

_DARK_STROKES = ((2, 2, 0.20),)
"""The same for outlines darker than both sides."""

_BRIGHT_OVER_SPECKLE = 5.0
_DARK_OVER_SPECKLE = 8.0
"""Least contrast over the 99 % quantile of the image's own: fine speckle, above all its dark nulls,
has thin strokes as well, but none that stands out."""

_FAINT_CONTRAST = 0.08
"""Least contrast of strokes beside a seed, in any direction, plus..."""
_FAINT_SLOPE = 0.02
"""...so much a pixel of half-width: wider strokes are likelier tissue."""
_FAINT_LEVEL = 0.6
"""Their least level over that of the brightest seed beside them."""


def find_annotation(image: Image) -> Mask:
    """Pixels of burnt-in annotation in a gray image (H, W) in [0, 1]: strokes, no margin."""
    neighbours = Neighbours(image, _REACH)
    crosses = find_crosses(neighbours)
    bright = crosses | _upright(neighbours.bright, _BRIGHT_STROKES, _BRIGHT_OVER_SPECKLE)
    dark = _upright(neighbours.dark, _DARK_STROKES, _DARK_OVER_SPECKLE)
    found = bright | dark
    if found.any():
        found |= _beside(image, bright, dark)
    if crosses.any():
        thin = neighbours.bright_any(2)
        found |= find_dotted_lines(image, thin, separate_crosses(crosses, thin), found)
    return found | find_boxes(neighbours)


def _upright(
    contrast: Callable[[int], Image],
    strokes: Sequence[tuple[int, int, float]],
    over_speckle: float,
) -> Mask:
    """Pixels of strokes that run down the image, as described by ``_BRIGHT_STROKES``."""
    found: list[Mask] = []
    for reach, length, least in strokes:
        above, below = (length - 1) // 2, length // 2
        stroke = running(np.minimum, contrast(reach), above, below, 0)
        usual = float(np.quantile(stroke[::_SAMPLE, ::_SAMPLE], 0.99))
        found.append(stroke > max(least, over_speckle * usual))
    return np.asarray(np.logical_or.reduce(found))


def _beside(image: Image, bright: Mask, dark: Mask) -> Mask:
    """Faint thin strokes beside the seeds."""
    found = np.zeros_like(bright)
    distance = max(6, round(0.02 * min(image.shape)))
    labels, _ = ndimage.label(near(bright | dark, distance))
    for rows, columns in ndimage.find_objects(labels):
        part = (
            slice(max(rows.start - _REACH, 0), rows.stop + _REACH),
            slice(max(columns.start - _REACH, 0), columns.stop + _REACH),
        )
        found[part] |= _faint(image[part], bright[part], dark[part], distance)
    return found


def _faint(image: Image, bright: Mask, dark: Mask, distance: int) -> Mask:
    neighbours = Neighbours(image, _REACH)
    excess = neighbours.bright_any(2) - _FAINT_CONTRAST
    for reach in range(3, _REACH + 1):
        least = _FAINT_CONTRAST + _FAINT_SLOPE * (reach - 2)
        np.maximum(excess, neighbours.bright_any(reach) - least, out=excess)
    level = np.where(bright, image, np.float32(0))
    for axis in (0, 1):
        level = running(np.maximum, level, distance, distance, axis)
    strokes = (excess > 0) & near(bright | dark, distance) & (image > _FAINT_LEVEL * level)
    outlines = (neighbours.dark_any(2) > _FAINT_CONTRAST) & near(dark, distance)
    return np.asarray(strokes | outlines)
