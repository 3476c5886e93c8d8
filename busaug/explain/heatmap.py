"""Relevance as pictures: signed overlays on the gray image, red for, blue against."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from busaug.files import atomic_file

FloatArray = npt.NDArray[np.floating]

_RED = np.array([0.84, 0.09, 0.11])
_BLUE = np.array([0.13, 0.40, 0.85])
_PERCENTILE = 99.5
_SIDE_MIN = 224
_GAP = 8
_LINE = 18
_BAR = 12
_FONT = 12
_INK, _FAINT = "black", (96, 96, 96)


@dataclasses.dataclass(frozen=True)
class Map:
    """A relevance map (H, W) with what is written above it and below its legend."""

    relevance: FloatArray
    title: str
    note: str = ""


def scale_of(relevance: FloatArray) -> float:
    """The symmetric colour limit: the 99.5th percentile of |R|, so that outliers do not rule."""
    return float(np.percentile(np.abs(relevance), _PERCENTILE)) or 1.0


def smooth(relevance: FloatArray) -> FloatArray:
    """Light Gaussian smoothing (sigma 1 % of the side) for display; sums are kept inside."""
    sigma = max(1.0, relevance.shape[0] / 100)
    return np.asarray(gaussian_filter(relevance, sigma=sigma, mode="constant"))


def overlay(gray: FloatArray, relevance: FloatArray) -> npt.NDArray[np.uint8]:
    """Blend a signed map (H, W) over a gray image (H, W) in [0, 1]: uint8 (H, W, 3)."""
    return _tinted(gray, np.clip(relevance / scale_of(relevance), -1, 1))


def write_overlay(
    path: Path, gray: FloatArray, maps: Sequence[Map], caption: Sequence[str]
) -> None:
    """A PNG: lines of caption, the image (H, W) in [0, 1], and beside it its overlay for every map.

    Each overlay has its own scale, symmetric about zero, which the legend below it tells.
    """
    font = ImageFont.load_default(size=_FONT)
    factor = max(1, round(_SIDE_MIN / gray.shape[1]))
    width, height = gray.shape[1] * factor, gray.shape[0] * factor
    titles = _GAP + len(caption) * _LINE
    top = titles + _LINE
    canvas = Image.new(
        "RGB",
        ((width + _GAP) * (1 + len(maps)) + _GAP, top + height + _BAR + 2 * _LINE + _GAP),
        "white",
    )
    draw = ImageDraw.Draw(canvas)

    def text(x: int, y: int, words: str, room: int, ink: str | tuple[int, int, int]) -> None:
        draw.text((x, y), _fitting(words, room, font), fill=ink, font=font)

    def show(pixels: npt.NDArray[np.uint8], x: int) -> None:
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        canvas.paste(picture, (x, top))

    for index, line in enumerate(caption):
        text(_GAP, _GAP + index * _LINE, line, canvas.width - 2 * _GAP, _INK)
    text(_GAP, titles, "image", width, _FAINT)
    show(_tinted(gray, np.zeros_like(gray)), _GAP)
    below = top + height + 4
    text(_GAP, below + _BAR, "red: for, blue: against", width, _FAINT)
    text(_GAP, below + _BAR + _LINE, f"scale to the {_PERCENTILE:g}th percentile", width, _FAINT)
    for index, each in enumerate(maps, start=1):
        left = _GAP + index * (width + _GAP)
        shown = smooth(each.relevance)
        text(left, titles, each.title, width, _FAINT)
        show(overlay(gray, shown), left)
        _legend(canvas, (left, below), width, scale_of(shown), font)
        text(left, below + _BAR + _LINE, each.note, width, _FAINT)
    with atomic_file(path) as temporary:
        canvas.save(temporary, format="PNG")


def _tinted(gray: FloatArray, strength: FloatArray) -> npt.NDArray[np.uint8]:
    """The image with red or blue laid over it; ``strength`` (H, W) in [-1, 1]."""
    strength = strength[..., None]
    tint = np.where(strength > 0, _RED, _BLUE)
    opacity = 0.8 * np.abs(strength) ** 0.7
    mixed = (1 - opacity) * gray[..., None] + opacity * tint
    return np.asarray(np.rint(np.clip(mixed, 0, 1) * 255), dtype=np.uint8)


def _legend(
    canvas: Image.Image,
    corner: tuple[int, int],
    width: int,
    limit: float,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """The colours over middle gray, from -limit to limit, with its ends and zero below."""
    left, top = corner
    ramp = np.tile(np.linspace(-1, 1, width), (_BAR, 1))
    canvas.paste(Image.fromarray(_tinted(np.full_like(ramp, 0.5), ramp)), corner)
    draw = ImageDraw.Draw(canvas)
    y = top + _BAR
    for x, words, anchor in (
        (left, f"-{limit:.1e}", "la"),
        (left + width // 2, "0", "ma"),
        (left + width, f"+{limit:.1e}", "ra"),
    ):
        draw.text((x, y), words, fill=_INK, font=font, anchor=anchor)


def _fitting(words: str, room: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """``words``, cut to so many pixels."""
    if font.getlength(words) <= room:
        return words
    while words and font.getlength(words + "...") > room:
        words = words[:-1]
    return words + "..."
