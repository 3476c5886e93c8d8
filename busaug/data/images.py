"""Images at the door: any common raster file to one gray channel and back, batches for the nets.

Inside, an image is float32 in [0, 1]. The file's bit depth is kept beside it and restored on the
way out, so that 8- and 16-bit pixels survive a round trip exactly.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from busaug.data.archives import is_member, read_member
from busaug.data.catalog import Catalog, Record
from busaug.errors import InputError
from busaug.files import atomic_file

SIDE_MIN = 32
"""Smallest side of an image, pixels."""

_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"})
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
FloatImage = npt.NDArray[np.float32]
Extent = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True, eq=False)
class GrayImage:
    """One gray channel at the file's own depth."""

    pixels: Pixels
    """(H, W), uint8 or uint16."""

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize


def is_image_file(path: Path) -> bool:
    """Whether the name is that of a raster file this package reads (hidden files are not)."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def read_gray(path: Path) -> GrayImage:
    """Decode a PNG, TIFF, JPEG or BMP, in a folder or an archive, to one gray channel.

    Colour becomes luma (ITU-R BT.601; equal channels stay exact). Transparent pixels are laid over
    black, the scanner's own background. Gray 16-bit files keep 16 bits; 16-bit colour files keep
    the upper 8 bits of each channel. Of several frames the first is taken; orientation tags are
    not applied.

    Raises InputError for a file that is missing, truncated, no raster image, larger than
    ``PIL.Image.MAX_IMAGE_PIXELS``, smaller than 32 px on a side, or of one constant value.
    """
    gray = _decode(path)
    height, width = gray.pixels.shape
    if min(height, width) < SIDE_MIN:
        raise InputError(
            f"{path} is {width}x{height} px", remedy=f"Give at least {SIDE_MIN} px on each side"
        )
    low = int(gray.pixels.min())
    if low == int(gray.pixels.max()):
        raise InputError(
            f"{path} is constant: every pixel is {low}", remedy="Give an image with content"
        )
    return gray


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Decode a mask to bool (H, W): inside where a pixel is above half of the mask's maximum.

    So 0/1, 0/255 and resampled masks read alike, and a black one is empty. Errors as
    ``read_gray``, but a mask may be small or constant.
    """
    pixels = _decode(path).pixels.astype(np.int32)
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


def _decode(path: Path) -> GrayImage:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            source = io.BytesIO(read_member(path)) if is_member(path) else path
            with Image.open(source) as image:
                image.load()
                return GrayImage(_gray_pixels(image, path))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy="Check the path") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS} pixels",
            remedy="Give a single frame of a sensible size",
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is no image that can be decoded", remedy="Give a PNG, TIFF, JPEG or BMP file"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow reports broken chunks as any of these
        raise InputError(
            f"{path} cannot be decoded: {error}", remedy="Replace the damaged file"
        ) from error


def _gray_pixels(image: Image.Image, path: Path) -> Pixels:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        wide: npt.NDArray[Any] = np.asarray(image)
        if wide.min() < 0 or wide.max() > np.iinfo(np.uint16).max:
            raise InputError(
                f"{path} has pixels from {wide.min()} to {wide.max()}",
                remedy="Give 8- or 16-bit unsigned pixels",
            )
        return wide.astype(np.uint16)
    if image.mode == "F":
        raise InputError(
            f"{path} has floating-point pixels", remedy="Give 8- or 16-bit unsigned pixels"
        )
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, opaque).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.asarray(image.convert("L"))
