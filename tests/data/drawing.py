"""Marks drawn on simulated images: what is covered is known to the pixel."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from busaug.data.phantom import LABELS, phantom

WHITE = 0.9
SIDE = 300


@functools.cache
def blank(number=0, size=SIDE):
    """A simulated image without marks."""
    return phantom(LABELS[number % 2], f"overlays/{number}", size)[0]


def drawn(image, draw, level=WHITE):
    """The image with what ``draw(ImageDraw)`` draws, and the pixels it covers."""
    layer = Image.new("L", image.shape[::-1])
    draw(ImageDraw.Draw(layer))
    share = np.asarray(layer) / np.float32(255)
    return (1 - share) * image + share * np.float32(level), share > 0.5


def label(text, at, size=14):
    font = ImageFont.load_default(size=size)
    return lambda draw: draw.text(at, text, fill=255, font=font)


def cross(draw, at, arm=6):
    x, y = at
    draw.rectangle((x - arm, y - 1, x + arm, y), fill=255)
    draw.rectangle((x - 1, y - arm, x, y + arm), fill=255)


def dots(draw, start, end, period=6):
    start, end = np.array(start, float), np.array(end, float)
    count = int(np.hypot(*(end - start)) // period)
    for part in np.linspace(0, 1, count + 1):
        x, y = np.rint(start + part * (end - start)).astype(int)
        draw.rectangle((x, y, x + 1, y + 1), fill=255)


def calipers(start, end):
    def draw(canvas):
        cross(canvas, start)
        cross(canvas, end)
        dots(canvas, start, end)

    return draw


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return np.asarray(picture, np.float32) / 255


def shrunk(image, size):
    """Resampled as the 256x256 version of BUSI was."""
    picture = Image.fromarray(np.asarray(image, np.float32))
    return np.clip(np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)), 0, 1)


def outside_fan(size, edge=0.18):
    """Beyond two slanted sides and below an arc."""
    rows, columns = np.mgrid[:size, :size] / size
    sides = np.abs(columns - 0.5) > 0.5 - edge + 0.45 * edge * rows / 0.5
    return sides | (np.hypot(rows + 1.5, columns - 0.5) > 2.45)
