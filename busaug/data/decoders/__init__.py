"""Decoders: the bytes of a file to levels, one module a family of formats, told by content."""

from __future__ import annotations

import io
from pathlib import Path

from busaug.data.archives import is_member, read_member
from busaug.data.decoders.frames import FIRST, Frame
from busaug.data.decoders.levels import Decoded
from busaug.data.decoders.npy import MAGIC as NPY_MAGIC
from busaug.data.decoders.npy import decode_npy
from busaug.data.decoders.raster import decode_raster
from busaug.errors import InputError

__all__ = ["FIRST", "Decoded", "Frame", "decode", "is_image_file", "is_named_image"]

_RASTER_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"})
_SUFFIXES = _RASTER_SUFFIXES | {".dcm", ".dicom", ".npy"}
_DICOM_PREAMBLE = 128
_DICOM_MAGIC = b"DICM"


def is_named_image(name: str) -> bool:
    """Whether the name is that of an image file: by its suffix, hidden files excepted."""
    return Path(name).suffix.lower() in _SUFFIXES and not name.startswith(".")


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its name or, for one without suffix, DICOM by its content."""
    if path.suffix or path.name.startswith("."):
        return is_named_image(path.name)
    try:
        with path.open("rb") as file:
            return _is_dicom(file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC)))
    except OSError:
        return False


def decode(path: Path, frame: Frame = FIRST) -> Decoded:
    """Decode an image file, in a folder or an archive; what it is, its first bytes tell.

    Raises InputError, and nothing else, for whatever the file holds.
    """
    try:
        if is_member(path):
            return decode_raster(io.BytesIO(read_member(path)), str(path), frame)
        with path.open("rb") as file:
            head = file.read(_DICOM_PREAMBLE + len(_DICOM_MAGIC))
            file.seek(0)
            if head.startswith(NPY_MAGIC):
                return decode_npy(file, str(path))
            if not _is_dicom(head):
                return decode_raster(file, str(path), frame)
        from busaug.data.decoders.dicom import decode_dicom

        return decode_dicom(path, frame)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy="Check the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder", remedy="Name an image file") from error
    except MemoryError as error:
        raise InputError(
            f"{path} needs more memory than there is", remedy="Replace the damaged file"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", remedy="Check the file") from error


def _is_dicom(head: bytes) -> bool:
    return head[_DICOM_PREAMBLE:] == _DICOM_MAGIC
