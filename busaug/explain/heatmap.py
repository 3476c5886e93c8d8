"""Relevance as pictures: signed overlays on the gray image, red for, blue against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from busaug.files import atomic_file

FloatArray = npt.NDArray[np.floating]

_RED = np.array([0.84, 0.09, 0.11])
_BLUE = np.array([0.13, 0.40, 0.85])
_SIDE_MIN = 224


def scale_of(relevance: FloatArray) -> float:
    """The symmetric colour limit: the 99.5th percentile of |R|, so that outliers do not rule."""
    return float(np.percentile(np.abs(relevance), 99.5)) or 1.0


def smooth(relevance: FloatArray) -> FloatArray:
    """Light Gaussian smoothing (sigma 1 % of the side) for display; sums are kept inside."""
    sigma = max(1.0, relevance.shape[0] / 100)
    return np.asarray(gaussian_filter(relevance, sigma=sigma, mode="constant"))


def overlay(gray: FloatArray, relevance: FloatArray) -> npt.NDArray[np.uint8]:
    """Blend a signed map (H, W) over a gray image (H, W) in [0, 1]: uint8 (H, W, 3)."""
    limit = scale_of(relevance)
    strength = np.clip(relevance / limit, -1, 1)[..., None]
    tint = np.where(strength > 0, _RED, _BLUE)
    opacity = 0.8 * np.abs(strength) ** 0.7
    mixed = (1 - opacity) * gray[..., None] * 0.9 + opacity * tint
    return np.asarray(np.rint(np.clip(mixed, 0, 1) * 255), dtype=np.uint8)


def write_overlay(path: Path, gray: FloatArray, relevance: FloatArray, caption: str) -> None:
    """A PNG: the image beside its overlay, a legend with the scale, and a caption."""
    shown = smooth(relevance)
    height, width = gray.shape
    factor = max(1, round(_SIDE_MIN / width))
    plain = np.repeat(np.rint(gray * 255).astype(np.uint8)[..., None], 3, axis=2)
    pair = np.concatenate([plain, np.full((height, 6, 3), 255, np.uint8), overlay(gray, shown)], 1)
    picture = Image.fromarray(pair).resize(
        (pair.shape[1] * factor, height * factor), Image.Resampling.BICUBIC
    )
    footer = 44
    canvas = Image.new("RGB", (picture.width, picture.height + footer), "white")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12)
    draw.text((4, picture.height + 4), caption, fill="black", font=font)
    _legend(draw, canvas.width, picture.height + 24, scale_of(shown), font)
    with atomic_file(path) as temporary:
        canvas.save(temporary, format="PNG")


def _legend(
    draw: ImageDraw.ImageDraw,
    width: int,
    top: int,
    limit: float,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """A bar from blue over white to red with its limits."""
    left, right = width // 2 - 60, width // 2 + 60
    for x in range(left, right):
        t = 2 * (x - left) / (right - left - 1) - 1
        tint = _RED if t > 0 else _BLUE
        colour = (1 - abs(t)) * np.ones(3) + abs(t) * tint
        draw.line([(x, top), (x, top + 12)], fill=tuple(int(255 * c) for c in colour))
    draw.text((left - 6, top), f"against {-limit:.1e}", fill="black", font=font, anchor="ra")
    draw.text((right + 6, top), f"{limit:.1e} for", fill="black", font=font, anchor="la")
