"""What a decoder returns, and how its levels become one channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from busaug.errors import InputError

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture as its file has it, black being 0."""

    levels: Pixels
    """(H, W) gray, uint8 or uint16; or (H, W, 3) colour, uint8."""
    burnt_in: bool | None = None
    """Whether a DICOM header declares burnt-in annotation; None where nothing is declared."""

    def luma(self) -> Pixels:
        """(H, W): colour by ITU-R BT.601, so that equal channels stay exact."""
        if self.levels.ndim == 2:
            return self.levels
        return np.asarray(Image.fromarray(self.levels).convert("L"))

    def brightest(self) -> Pixels:
        """(H, W): the largest channel, in which a mask of any colour is as bright as another."""
        brightest: Pixels = self.levels if self.levels.ndim == 2 else self.levels.max(axis=2)
        return brightest


def require_size(height: int, width: int, name: str) -> None:
    """InputError where a picture of that size is larger than Pillow's limit, or empty."""
    limit = Image.MAX_IMAGE_PIXELS
    if height < 1 or width < 1:
        raise InputError(f"{name} is {width}x{height} px", remedy="Replace the damaged file")
    if limit is not None and height * width > limit:
        raise InputError(
            f"{name} has more than {limit} pixels", remedy="Give a single frame of a sensible size"
        )


def full_scale(values: npt.NDArray[Any], white: int) -> Pixels:
    """Levels from 0 to ``white`` on the full scale of 8 bits, or of 16 where white is above 255.

    Nothing is lost: rounding to fewer levels gives the values back.
    """
    top = 255 if white <= 255 else 65535
    if white != top:
        values = np.rint(values.astype(np.float64) * (top / white))
    return values.astype(np.uint8) if top == 255 else values.astype(np.uint16)
