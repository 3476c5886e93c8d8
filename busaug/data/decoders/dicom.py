"""DICOM: one frame of a still or a cine loop, by pydicom. Of its header only what concerns pixels
is looked at; no value of a tag reaches a message or an output.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from busaug.data.decoders.frames import Frame, frame_index
from busaug.data.decoders.levels import Decoded, Pixels, full_scale, require_size
from busaug.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_DEFLATED = "1.2.840.10008.1.2.1.99"
_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PALETTE = "PALETTE COLOR"
_LOOKUP_TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def decode_dicom(path: Path, frame: Frame) -> Decoded:
    """Decode a frame of a DICOM file as a viewer shows it, black being 0.

    MONOCHROME2 and MONOCHROME1 (which is inverted) are scaled from their stored bits to 8 or 16;
    a window (centre and width, first of several) is applied. PALETTE COLOR, RGB and YBR become
    colour of 8 bits.

    Raises InputError where pydicom is not installed, the file is damaged, holds no picture, is
    deflated (its size would be unknown before it is unpacked), is compressed in a way that no
    installed library decodes, or has look-up tables in place of a window.
    """
    require_pydicom(f"{path} is a DICOM file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would show the values of tags
            return _decode(path, frame)
    except (InputError, OSError, MemoryError):
        raise
    except Exception as error:  # what damage makes the parser raise has no limit
        # not its own words: they may quote the header
        raise InputError(
            f"{path} is a DICOM file that cannot be decoded ({type(error).__name__})",
            remedy="Replace the damaged file",
        ) from None


def require_pydicom(why: str) -> None:
    """InputError where pydicom is not installed; ``why`` it is wanted is its first half."""
    if importlib.util.find_spec("pydicom") is None:
        raise InputError(
            f"{why}, and pydicom is not installed", remedy="pip install 'busaug[dicom]'"
        )


def _decode(path: Path, frame: Frame) -> Decoded:
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels.utils import pixel_array

    if read_file_meta_info(path).TransferSyntaxUID == _DEFLATED:
        raise InputError(
            f"{path} is a deflated DICOM file", remedy="Inflate it, e.g. with dcmconv +te"
        )
    image = dcmread(path)
    if "PixelData" not in image:
        raise InputError(
            f"{path} is a DICOM file without a picture", remedy="Leave out reports and indices"
        )
    require_size(int(image.Rows), int(image.Columns), str(path))
    if image.BitsAllocated not in (8, 16) or not 1 <= image.BitsStored <= image.BitsAllocated:
        raise InputError(
            f"{path} has pixels of {image.BitsStored} of {image.BitsAllocated} bits",
            remedy="Give 8- or 16-bit pixels",
        )
    if image.PhotometricInterpretation not in (*_GRAY, *_COLOUR, _PALETTE):
        raise InputError(
            f"{path} has a photometric interpretation that is not known",
            remedy=f"Give {', '.join((*_GRAY, *_COLOUR, _PALETTE))} pixels",
        )
    _require_decoder(image, path)
    index = frame_index(frame, int(image.get("NumberOfFrames") or 1), str(path))
    values = pixel_array(image, index=index)
    burnt_in = {"YES": True, "NO": False}.get(str(image.get("BurnedInAnnotation", "")))
    return Decoded(_levels(image, values, path), burnt_in)


def _require_decoder(image: FileDataset, path: Path) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = image.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise InputError(
            f"{path} is compressed as {syntax.name}, which no installed library decodes",
            remedy="Install python-gdcm, or decompress it, e.g. with gdcmconv --raw",
        )


def _levels(image: FileDataset, values: npt.NDArray[Any], path: Path) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut

    photometric = str(image.PhotometricInterpretation)
    if photometric in _GRAY:
        gray = _monochrome(image, values, path)
        return np.iinfo(gray.dtype).max - gray if photometric == "MONOCHROME1" else gray
    if photometric == _PALETTE:
        values = apply_color_lut(values, image)[..., :3]
        bits = 8 * values.dtype.itemsize
    else:  # pydicom has made YBR to RGB
        bits = int(image.BitsStored)
    levels = full_scale(values, 2**bits - 1)
    return levels if levels.dtype == np.uint8 else (levels >> 8).astype(np.uint8)


def _monochrome(image: FileDataset, values: npt.NDArray[Any], path: Path) -> Pixels:
    if any(name in image for name in _LOOKUP_TABLES):
        raise InputError(
            f"{path} needs a look-up table to be shown",
            remedy="Export it as PNG from a DICOM viewer",
        )
    bits = int(image.BitsStored)
    white = 2**bits - 1
    stored = values.astype(np.int32) & white  # bits above may hold overlays
    half = 2 ** (bits - 1) if image.PixelRepresentation == 1 else 0
    if image.get("WindowCenter") is None or image.get("WindowWidth") is None:
        return full_scale(stored ^ half, white)  # of signed pixels the lowest is black
    slope, intercept = (
        float(image.get(name, default))
        for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    signed = (stored ^ half) - half
    return full_scale(np.rint(_windowed(image, signed * slope + intercept) * white), white)


def _windowed(image: FileDataset, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values in [0, 1] behind the window (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = (
        float(np.atleast_1d(np.asarray(image[name].value, np.float64))[0])
        for name in ("WindowCenter", "WindowWidth")
    )
    function = str(image.get("VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre) / width)))
    if function == "LINEAR_EXACT":
        shown = (values - centre) / width + 0.5
    else:
        # a width of 1 is a threshold
        shown = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
    return np.clip(shown, 0.0, 1.0)
