"""Thin strokes of an image: their contrast with both sides; running minima and maxima."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_WAYS = ((0, 1), (1, 0), (1, 1), (1, -1))
_Array = TypeVar("_Array", bound=npt.NDArray[Any])


class Neighbours:
    """An image (H, W) whose pixels can be asked for their neighbours; its rim is repeated."""

    def __init__(self, image: Image, reach: int) -> None:
        self.image = image
        self.reach = reach
        self._padded = np.pad(image, reach, mode="edge")

    def at(self, rows: int, columns: int) -> Image:
        """The neighbour so many rows down and columns right, at most ``reach``, of each pixel."""
        height, width = self.image.shape
        top, left = self.reach + rows, self.reach + columns
        return self._padded[top : top + height, left : left + width]

    def bright(self, reach: int, way: tuple[int, int] = (0, 1)) -> Image:
        """How much each pixel is above the brighter of the two at ``reach`` on either side."""
        down, right = reach * way[0], reach * way[1]
        brighter = np.maximum(self.at(-down, -right), self.at(down, right))
        return np.subtract(self.image, brighter, out=brighter)

    def dark(self, reach: int, way: tuple[int, int] = (0, 1)) -> Image:
        """How much each pixel is below the darker of the two at ``reach`` on either side."""
        down, right = reach * way[0], reach * way[1]
        darker = np.minimum(self.at(-down, -right), self.at(down, right))
        return np.subtract(darker, self.image, out=darker)

    def bright_any(self, reach: int) -> Image:
        """The largest of ``bright`` across, down and along both diagonals."""
        largest = self.bright(reach)
        for way in _WAYS[1:]:
            np.maximum(largest, self.bright(reach, way), out=largest)
        return largest

    def dark_any(self, reach: int) -> Image:
        """The largest of ``dark`` likewise."""
        largest = self.dark(reach)
        for way in _WAYS[1:]:
            np.maximum(largest, self.dark(reach, way), out=largest)
        return largest


def running(extreme: np.ufunc, image: _Array, before: int, after: int, axis: int) -> _Array:
    """Minimum or maximum (``extreme``) over so many pixels before and after each, along an axis.

    The rim is repeated. Windows are doubled, so the time grows with the logarithm of their length.
    """
    padding = [(0, 0)] * image.ndim
    padding[axis] = (before, after)
    values = np.moveaxis(np.pad(image, padding, mode="edge"), axis, 0)
    length = before + after + 1
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        values = extreme(values[:-step], values[step:])
        covered += step
    return np.moveaxis(values, 0, axis)  # type: ignore[return-value]


def near(mask: Mask, distance: int) -> Mask:
    """Pixels within ``distance`` rows and columns of the mask."""
    for axis in (0, 1):
        mask = running(np.maximum, mask, distance, distance, axis)
    return mask
