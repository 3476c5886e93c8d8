"""PNG, TIFF, JPEG and BMP, by Pillow."""

from __future__ import annotations

import struct
import warnings
import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from busaug.data.decoders.frames import Frame, frame_index
from busaug.data.decoders.levels import Decoded, Pixels
from busaug.errors import InputError

_FORMATS = ("PNG", "TIFF", "JPEG", "BMP")  # no other: some of Pillow's start programs
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})


def decode_raster(source: BinaryIO, name: str, frame: Frame) -> Decoded:
    """Decode a raster image; ``name`` is what messages call it.

    Transparent pixels are laid over black, the scanner's own background. Gray 16-bit files keep 16
    bits; 16-bit colour files keep the upper 8 bits of each channel. Orientation tags are not
    applied. Raises InputError for a file that is damaged, no raster image or larger than
    ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=_FORMATS) as image:
                image.seek(frame_index(frame, getattr(image, "n_frames", 1), name))
                image.load()
                return Decoded(_levels(image, name))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels",
            remedy="Give a single frame of a sensible size",
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is no image that can be decoded",
            remedy="Give a PNG, TIFF, JPEG, BMP, DICOM or .npy file",
        ) from error
    except _DAMAGE as error:
        raise InputError(
            f"{name} cannot be decoded: {' '.join(str(error).split())}",
            remedy="Replace the damaged file",
        ) from error


_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""What Pillow raises where chunks are broken."""


def _levels(image: Image.Image, name: str) -> Pixels:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        wide: npt.NDArray[Any] = np.asarray(image)
        if wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max:
            raise InputError(
                f"{name} has pixels from {wide.min()} to {wide.max()}",
                remedy="Give 8- or 16-bit unsigned pixels",
            )
        return wide.astype(np.uint16)
    if image.mode == "F":
        raise InputError(
            f"{name} has floating-point pixels", remedy="Give 8- or 16-bit unsigned pixels"
        )
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, opaque)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
