"""Arrays as NumPy saves them: ``.npy`` files and the members of ``.npz``. No pickle is loaded."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from busaug.data.decoders.levels import Decoded, Pixels, require_size
from busaug.errors import InputError

MAGIC = b"\x93NUMPY"

_BYTES_MAX = 2**31
_CHANNELS = (3, 4)


def decode_npy(source: BinaryIO, name: str) -> Decoded:
    """Decode a picture (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    uint8 and uint16 are levels (colour: uint8), bool is black and white, floats in [0, 1] become
    16-bit levels. A fourth channel is opacity, laid over black. Raises InputError for all else,
    object arrays among it.
    """
    values = read_array(source, name)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] in _CHANNELS):
        raise InputError(
            f"{name} holds an array of shape {values.shape}",
            remedy="Save one picture: (H, W), or (H, W, 3) in colour",
        )
    require_size(values.shape[0], values.shape[1], name)
    levels = _levels(values, name)
    if levels.ndim == 3:
        levels = _colour(levels)
    return Decoded(levels)


def read_array(source: BinaryIO, name: str) -> npt.NDArray[Any]:
    """Read an array of numbers; its size is checked before its data is read.

    Raises InputError for damage, object arrays, dtypes that are no numbers, and 2 GiB or more.
    """
    try:
        version = npy_format.read_magic(source)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(source)
        elif version == (2, 0):
            shape, fortran, dtype = npy_format.read_array_header_2_0(source)
        else:
            raise ValueError(f"format version {version}")
    except Exception as error:  # the header is a Python expression: what it raises has no limit
        raise InputError(
            f"{name} has no valid header of a NumPy array", remedy="Save it again with numpy.save"
        ) from error
    if dtype.hasobject:
        raise InputError(
            f"{name} holds Python objects, which could run any program when loaded",
            remedy="Save plain numbers, e.g. array.astype('uint8')",
        )
    if dtype.kind not in "buif" or any(side < 0 for side in shape):
        raise InputError(f"{name} holds {dtype} of shape {shape}", remedy="Save integers or floats")
    count = math.prod(shape)
    if count * dtype.itemsize >= _BYTES_MAX:
        raise InputError(
            f"{name} claims an array of shape {shape}", remedy="Save a picture of a sensible size"
        )
    try:
        data = source.read(count * dtype.itemsize)
    except Exception as error:  # a damaged member of an archive
        raise InputError(f"{name} cannot be unpacked", remedy="Replace the damaged file") from error
    if len(data) < count * dtype.itemsize:
        raise InputError(f"{name} is cut short", remedy="Replace the damaged file")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _levels(values: npt.NDArray[Any], name: str) -> Pixels:
    if values.dtype.kind == "b":
        return np.where(values, 255, 0).astype(np.uint8)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f" and np.isfinite(values).all():
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 1:
            return np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
        raise InputError(
            f"{name} has pixels from {low:g} to {high:g}", remedy="Scale floats to [0, 1]"
        )
    raise InputError(
        f"{name} has {values.dtype} pixels that are no levels",
        remedy="Save uint8, uint16, or finite floats in [0, 1]",
    )


def _colour(levels: Pixels) -> npt.NDArray[np.uint8]:
    """(H, W, 3) of 8 bits."""
    colour: npt.NDArray[Any] = levels >> 8 if levels.dtype == np.uint16 else levels
    if colour.shape[2] == 4:
        colour = np.rint(colour[..., :3] * (colour[..., 3:].astype(np.float64) / 255))
    return np.ascontiguousarray(colour, np.uint8)
