"""Images as ``data:`` URIs: gray planes, files, relevance over gray."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch.nn import functional as F

from busaug.data.images import Extent, FloatImage, read_gray, resize, to_float

SIDE_MAX = 320
"""Longest side of an embedded image, pixels; larger ones are reduced."""
_MAP = colormaps["inferno"]


def load_gray(path: Path, extent: Extent | None = None) -> FloatImage:
    """An image file as (H, W) in [0, 1], brought to an extent where one is given.

    Raises InputError where it cannot be read.
    """
    image = to_float(read_gray(path))
    return image if extent is None else resize(torch.from_numpy(image), extent).numpy()


def gray_uri(image: FloatImage, side: int = SIDE_MAX) -> str:
    """A gray image (H, W) in [0, 1] as an embedded PNG."""
    return _png(Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8)), side)


def file_uri(path: Path, side: int) -> str:
    """A PNG file as it is, or reduced to ``side`` pixels. Raises OSError where it has no image."""
    with Image.open(path) as image:
        image.load()
        return _png(image, side)


def relevance_uri(image: FloatImage, weights: FloatImage, limit: float) -> str:
    """Weights (h, w) in 0 ... ``limit`` in colour over a gray image (H, W), as an embedded PNG.

    The gray shows through where the weight is small.
    """
    fine = F.interpolate(
        torch.from_numpy(weights)[None, None].float(),
        size=image.shape,
        mode="bicubic",
        align_corners=False,
    )[0, 0].numpy()
    share = (fine / limit).clip(0, 1)[..., None]
    colour = _MAP(share[..., 0])[..., :3]
    opacity = 0.75 * share**0.5
    mixed = (1 - opacity) * image.clip(0, 1)[..., None] + opacity * colour
    return _png(Image.fromarray(np.rint(mixed * 255).astype(np.uint8)), SIDE_MAX)


def relevance_gradient(steps: int = 12) -> str:
    """The colours of ``relevance_uri`` from 0 to its limit over mid-gray, as a CSS gradient."""
    stops = []
    for share in np.linspace(0, 1, steps):
        opacity = 0.75 * share**0.5
        mixed = (1 - opacity) * 0.35 + opacity * np.array(_MAP(share)[:3])
        stops.append("#" + "".join(f"{round(255 * float(c)):02x}" for c in mixed))
    return f"linear-gradient(to right, {', '.join(stops)})"


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _png(image: Image.Image, side: int) -> str:
    longest = max(image.size)
    if longest > side:
        width, height = (max(1, round(n * side / longest)) for n in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
