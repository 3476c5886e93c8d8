"""How pictures of any shape come onto the grids that the engine works on.

Squashed to squares, or at their own aspect ratio: then the longer side has ``style.size`` pixels
and the other what is left, in steps of 8, so that contents of nearly one shape make a batch. The
references of a content fill its grid and lose what hangs over: speckle keeps its shape, and
position-wise statistics have one grid.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor

from busaug.data.catalog import Record
from busaug.data.images import SIDE_MIN, Extent

Aspect = Literal["square", "native"]

_STEP = 8


def extent_of(record: Record, size: int, aspect: Aspect) -> Extent:
    """Rows and columns of the image that is made of a content."""
    if aspect == "square":
        return size, size
    longest = max(record.height, record.width)

    def side(pixels: int) -> int:
        stepped = _STEP * round(pixels * size / longest / _STEP)
        return size if pixels == longest else min(size, max(SIDE_MIN, stepped))

    return side(record.height), side(record.width)


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture is brought to an extent, and a window in its middle is taken."""

    scaled: Extent
    window: Extent

    def crop(self, images: Tensor) -> Tensor:
        """The window of images (..., H, W) of the extent ``scaled``."""
        (height, width), (rows, columns) = self.scaled, self.window
        top, left = (height - rows) // 2, (width - columns) // 2
        return images[..., top : top + rows, left : left + columns]


def whole(extent: Extent) -> Frame:
    """All of a picture on a grid."""
    return Frame(extent, extent)


def filling(record: Record, extent: Extent, aspect: Aspect) -> Frame:
    """A reference's frame for a content of this extent."""
    if aspect == "square":
        return whole(extent)
    scale = max(extent[0] / record.height, extent[1] / record.width)
    scaled = (
        max(extent[0], round(record.height * scale)),
        max(extent[1], round(record.width * scale)),
    )
    return Frame(scaled, extent)
