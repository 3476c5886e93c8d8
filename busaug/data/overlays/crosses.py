"""Upright crosses on B-mode images: the ends of calipers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from busaug.data.overlays.strokes import Image, Mask, Neighbours, near, running

_CROSSES = ((1, 2, 2, 0.09), (1, 3, 2, 0.045), (1, 5, 3, 0.06), (2, 2, 1, 0.035), (2, 4, 2, 0.04))
"""(Thickness, arm, diagonal, least contrast): a cross is brighter than the pixels between its arms,
which are so far from its middle along rows and columns."""

_CLEAR = 0.12
"""Contrast of a clear cross. Faint ones count where there is a clear one: they come in pairs, and
speckle has a faint one by chance."""

_CROSSES_MAX = 16


def find_crosses(neighbours: Neighbours) -> Mask:
    """Middles of upright crosses, with pixels next to them: (H, W)."""
    found = np.zeros(neighbours.image.shape, bool)
    clearest = 0.0
    for thick, arm, diagonal, contrast in _CROSSES:
        arms = [_arm(neighbours.image, thick, arm, axis) for axis in (0, 1)]
        corners = (-diagonal, diagonal + thick - 1)
        first, *others = [neighbours.at(y, x) for y in corners for x in corners]
        between = first.copy()
        for other in others:
            np.maximum(between, other, out=between)
        excess = np.minimum(*arms) - between
        clearest = max(clearest, float(excess.max()))
        found |= excess > contrast
    return found if clearest >= _CLEAR else np.zeros_like(found)


def _arm(image: Image, thick: int, arm: int, axis: int) -> Image:
    """The least of a stroke along ``axis`` over both arms, of the brightest across it."""
    brightest = running(np.maximum, image, 0, thick - 1, 1 - axis)
    return running(np.minimum, brightest, arm, arm + thick - 1, axis)


def separate_crosses(crosses: Mask, thin: Image) -> npt.NDArray[np.float64]:
    """(N, 2) rows and columns of separate crosses, the most pronounced first, 16 at most.

    ``thin`` is the image's contrast of thin strokes in any direction.
    """
    labels, _ = ndimage.label(near(crosses, 2))
    rows, columns = np.nonzero(crosses)
    numbers = labels[rows, columns]
    sizes = np.bincount(numbers)[1:]
    if not len(sizes):
        return np.zeros((0, 2))
    sums = [np.bincount(numbers, weight)[1:] for weight in (rows, columns, thin[rows, columns])]
    centres = np.stack(sums[:2], axis=1) / sizes[:, None]
    return np.asarray(centres[np.argsort(-sums[2], kind="stable")[:_CROSSES_MAX]])
