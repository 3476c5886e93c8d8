"""Images at the door: any common raster file to one gray channel and back, batches for the nets.

Inside, an image is float32 in [0, 1]. The file's bit depth is kept beside it and restored on the
way out, so that 8- and 16-bit pixels survive a round trip exactly.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, PngImagePlugin

from busaug.data.catalog import Catalog, Record
from busaug.data.decoders import FIRST, Frame, decode
from busaug.data.decoders.levels import Pixels
from busaug.errors import InputError
from busaug.files import atomic_file

SIDE_MIN = 32
"""Smallest side of an image, pixels."""

FloatImage = npt.NDArray[np.float32]
Extent = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True, eq=False)
class GrayImage:
    """One gray channel at the file's own depth."""

    pixels: Pixels
    """(H, W), uint8 or uint16."""
    burnt_in: bool | None = None
    """Whether a DICOM header declares burnt-in annotation; None where nothing is declared."""

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize


def read_gray(path: Path, frame: Frame = FIRST) -> GrayImage:
    """Decode a PNG, TIFF, JPEG, BMP, DICOM or ``.npy`` file to one gray channel, black being 0.

    Colour becomes luma (ITU-R BT.601; equal channels stay exact). Transparent pixels are laid over
    black, the scanner's own background. Gray files of more than 8 bits become 16-bit, 16-bit colour
    keeps the upper 8 bits of each channel. Of several frames (a cine loop, the pages of a TIFF)
    ``frame`` is taken. A PNG, TIFF, JPEG or BMP may lie in an archive.

    Raises InputError for a file that is missing, damaged, no image, larger than
    ``PIL.Image.MAX_IMAGE_PIXELS``, smaller than 32 px on a side, of one constant value, or in need
    of a library that is not installed (pydicom).
    """
    decoded = decode(path, frame)
    gray = GrayImage(decoded.luma(), decoded.burnt_in)
    require_content(gray, str(path))
    return gray


def require_content(gray: GrayImage, name: str) -> None:
    """InputError where an image is smaller than 32 px on a side or of one constant value."""
    height, width = gray.pixels.shape
    if min(height, width) < SIDE_MIN:
        raise InputError(
            f"{name} is {width}x{height} px", remedy=f"Give at least {SIDE_MIN} px on each side"
        )
    low = int(gray.pixels.min())
    if low == int(gray.pixels.max()):
        raise InputError(
            f"{name} is constant: every pixel is {low}", remedy="Give an image with content"
        )


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Decode a mask to bool (H, W): inside where a pixel is above half of the mask's maximum.

    So 0/1, 0/255 and resampled masks read alike, and a black one is empty. Of a coloured mask the
    brightest channel counts. Errors as ``read_gray``, but a mask may be small or constant.
    """
    pixels = decode(path).brightest().astype(np.int32)
    return np.asarray(2 * pixels > pixels.max())


def pixel_hash(pixels: Pixels) -> str:
    """SHA-256 over dtype, shape and values: equal for equal pictures, whatever the file format."""
    little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), order="C", copy=False)
    header = f"{pixels.dtype.name}:{'x'.join(map(str, pixels.shape))}:".encode()
    return hashlib.sha256(header + little_endian.tobytes()).hexdigest()


def to_float(gray: GrayImage) -> FloatImage:
    """Pixels as float32 (H, W) in [0, 1], full scale of the bit depth being 1."""
    full_scale = np.float32(np.iinfo(gray.pixels.dtype).max)
    return np.asarray(gray.pixels / full_scale, np.float32)


def to_gray(image: FloatImage, bit_depth: int) -> GrayImage:
    """Quantise a float image (H, W): clip to [0, 1], round to the nearest of 8 or 16 bits.

    ``to_gray(to_float(gray), gray.bit_depth)`` gives back the same pixels. Raises ValueError where
    the image has a NaN or is not two-dimensional.
    """
    if image.ndim != 2 or np.isnan(image).any():
        raise ValueError(f"an image is finite and two-dimensional, not {image.shape} or NaN")
    image = np.clip(image, 0.0, 1.0).astype(np.float64)
    if bit_depth == 8:
        return GrayImage(np.rint(image * 255).astype(np.uint8))
    if bit_depth == 16:
        return GrayImage(np.rint(image * 65535).astype(np.uint16))
    raise ValueError(f"bit depth is 8 or 16, not {bit_depth}")


def write_gray(
    path: Path, image: FloatImage, bit_depth: int, text: Mapping[str, str] | None = None
) -> None:
    """Write a float image (H, W) in [0, 1] as a one-channel PNG of 8 or 16 bits.

    ``text`` becomes PNG text chunks, in key order. The same input gives the same bytes; the file
    appears whole or not at all.
    """
    write_pixels(path, to_gray(image, bit_depth).pixels, text)


def write_pixels(path: Path, pixels: Pixels, text: Mapping[str, str] | None = None) -> None:
    """Write pixels (H, W), uint8 or uint16, as ``write_gray`` does."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(encode_png(pixels, text))


def encode_png(pixels: Pixels, text: Mapping[str, str] | None = None) -> bytes:
    """What ``write_pixels`` writes."""
    chunks = PngImagePlugin.PngInfo()
    for key in sorted(text or {}):
        chunks.add_text(key, (text or {})[key])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """Write a bool mask (H, W) as an 8-bit PNG, 255 inside."""
    write_pixels(path, np.where(mask, 255, 0).astype(np.uint8))


def resize(images: torch.Tensor, size: int | Extent) -> torch.Tensor:
    """Resample (..., H, W) in [0, 1] to squares or an extent, antialiased bilinear, in [0, 1]."""
    extent = (size, size) if isinstance(size, int) else size
    if images.shape[-2:] == extent:
        return images
    flat = images.reshape(-1, 1, *images.shape[-2:])
    small = torch.nn.functional.interpolate(
        flat, size=extent, mode="bilinear", antialias=True, align_corners=False
    )
    return small.clamp(0.0, 1.0).reshape(*images.shape[:-2], *extent)


def load_batch(catalog: Catalog, records: Sequence[Record], size: int | Extent) -> torch.Tensor:
    """The records' images as float32 (B, 1, H, W) in [0, 1], squashed to squares or an extent."""
    images = [to_float(read_gray(catalog.path(record))) for record in records]
    return torch.stack([resize(torch.from_numpy(image), size) for image in images])[:, None]


def load_mask(catalog: Catalog, record: Record, name: str, size: int | Extent) -> torch.Tensor:
    """Share of each pixel that lies inside a record's mask, (1, H, W), as ``load_batch``.

    ``name`` is the mask's path in the Catalog. Raises InputError where it is missing, damaged or
    not of the image's size.
    """
    path = catalog.root / name
    mask = read_mask(path)
    if mask.shape != (record.height, record.width):
        raise InputError(
            f"{path} is {mask.shape[1]}x{mask.shape[0]} px, its image"
            f" {record.width}x{record.height} px",
            remedy="Make the Catalog again with 'busaug prepare'",
        )
    return resize(torch.from_numpy(mask).float()[None], size)


def load_lesion(catalog: Catalog, record: Record, size: int | Extent) -> torch.Tensor | None:
    """A record's lesion, bool (H, W), or None where the Catalog has no mask of it.

    Errors as ``load_mask``.
    """
    if record.mask is None:
        return None
    return load_mask(catalog, record, record.mask, size)[0] >= 0.5
