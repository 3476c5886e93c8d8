"""Burnt-in marks over the styled picture: strokes stay, the tissue around them follows.

A mask of overlays is wider than the strokes in it, and the optimiser leaves all of it alone. Where
the picture around has changed its brightness, the rim of old tissue would frame every stroke.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]

# The least radius of the filters in parts of the longer side, and how often it is doubled.
_FINEST = 1 / 112
_DOUBLINGS = 4
# Weight of a coarser estimate against the pixels that a finer filter sees.
_COARSER = 0.01
# A mark stands out by so much; less is the tissue's own texture.
_FAINT = 0.05
# Shares of the strongest contrast nearby: up to the first all tissue, from the second on all mark.
_TISSUE, _MARK = 0.15, 0.6
# Marks are bright, or dark as well: outlines, at least so strong against the bright parts.
_OUTLINE = 0.5
# The median level of the black around a scanner's sector, at most.
_BLACK = 4 / 255


def laid_over(image: Image, content: Image, overlays: Mask) -> Image:
    """``image`` with the marks of ``content``, all (H, W) in [0, 1].

    ``overlays`` are the pixels of marks and black surround; at least one pixel is far from any. A
    mark is taken as painted on tissue: its share of a pixel is told by how far that stands out
    from the content around the mask. Where that is all, the content's pixel stays to the bit; where
    it is nothing, the pixel changes as much as the picture around the mask does. So do pixels that
    touch the mask, which the optimiser fits to what could not move. The black surround stays.
    """
    marks = overlays & ~_surround(content, overlays)
    if not marks.any():
        return np.where(overlays, content, image)
    radius = max(1, round(_FINEST * max(image.shape)))
    edge = ndimage.binary_dilation(marks, np.ones((3, 3)), radius) & ~overlays
    free = ~overlays & ~edge
    if not free.any():
        return np.where(overlays, content, image)
    tissue, change = (_carried_in(each, free, radius) for each in (content, image - content))
    share = _share(np.where(marks, content - tissue, 0.0), 6 * radius + 1)
    painted = np.clip(content + (1 - share) * change, 0.0, 1.0).astype(np.float32)
    return np.where(edge | (marks & (share < 1)), painted, np.where(overlays, content, image))


def _share(contrast: Values, reach: int) -> Values:
    """The marks' share of each pixel, 0 to 1, by the strongest contrast of a sign nearby."""
    bright, dark = (np.maximum(sign * contrast, 0.0) for sign in (1, -1))
    brightest, darkest = (ndimage.maximum_filter(each, reach) for each in (bright, dark))
    outlined = darkest >= _OUTLINE * brightest
    strongest = np.maximum(np.where(contrast > 0, brightest, darkest), _FAINT)
    relative = np.where((contrast > 0) | outlined, np.abs(contrast) / strongest, 0.0)
    return np.clip((relative - _TISSUE) / (_MARK - _TISSUE), 0.0, 1.0)


def _surround(content: Image, overlays: Mask) -> Mask:
    """The connected parts of the mask that touch the image's rim and are black."""
    parts, count = ndimage.label(overlays, np.ones((3, 3)))
    at_rim = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    medians = ndimage.median(content, parts, np.arange(count + 1))
    black = [part for part in at_rim if part and medians[part] <= _BLACK]
    return np.isin(parts, black)


def _carried_in(values: Image, free: Mask, radius: int) -> Values:
    """The free pixels' values, averaged over ever smaller surroundings as far as those have any."""
    weight = free.astype(np.float64)
    known = values * weight
    estimate: Values = np.full(values.shape, known.sum() / weight.sum())
    for doubling in reversed(range(_DOUBLINGS)):
        near = _smoothed(weight, radius << doubling)
        estimate = (_smoothed(known, radius << doubling) + _COARSER * estimate) / (near + _COARSER)
    return estimate


def _smoothed(values: Values, radius: int) -> Values:
    """Nearly a Gaussian: a running mean three times, whose cost does not grow with the radius."""
    for _ in range(3):
        values = ndimage.uniform_filter(values, 2 * radius + 1, mode="constant")
    return values
