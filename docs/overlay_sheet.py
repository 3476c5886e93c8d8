"""Simulated images with drawn overlays, and what is detected: red annotation, blue surround.

python docs/overlay_sheet.py OUT.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from busaug.data.overlays import OverlayMask, detect_overlays
from busaug.data.phantom import phantom

SIDE, GAP = 300, 6


def cross(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.rectangle((x - 6, y - 1, x + 6, y), fill=230)
    draw.rectangle((x - 1, y - 6, x, y + 6), fill=230)


def calipers(draw: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int]) -> None:
    for part in np.linspace(0, 1, int(np.hypot(end[0] - start[0], end[1] - start[1]) // 6) + 1):
        x, y = (round(a + part * (b - a)) for a, b in zip(start, end, strict=True))
        draw.rectangle((x, y, x + 1, y + 1), fill=230)
    cross(draw, *start)
    cross(draw, *end)


def outside_fan() -> np.ndarray:
    """Beyond two slanted sides and below an arc."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    sides = np.abs(columns - 0.5) > 0.32 + 0.162 * rows
    return sides | (np.hypot(rows + 1.5, columns - 0.5) > 2.45)


def pictures() -> list[Image.Image]:
    """A benign lesion measured, a malignant one in a fan, a Doppler box."""
    font = ImageFont.load_default(size=14)
    tissue = [phantom(label, f"overlays/{number}", SIDE)[0] for number, label in SAMPLES]
    tissue[1] = np.where(outside_fan(), 0, tissue[1])
    images = [Image.fromarray(np.rint(255 * image).astype(np.uint8)) for image in tissue]
    draw = ImageDraw.Draw(images[0])
    calipers(draw, (75, 90), (175, 110))
    calipers(draw, (125, 60), (115, 145))
    draw.text((20, 260), "RT UOQ 10:00", fill=230, font=font)
    draw = ImageDraw.Draw(images[1])
    draw.text((2, 2), "FR 22", fill=200, font=font)
    draw.text((130, 250), "LT AXILLA", fill=230, font=font)
    draw = ImageDraw.Draw(images[2])
    draw.rectangle((40, 40, 230, 200), outline=190)
    draw.text((200, 265), "PRF 1.3k", fill=230, font=font)
    return images


SAMPLES = ((0, "benign"), (1, "malignant"), (3, "malignant"))


def tinted(image: Image.Image, found: OverlayMask) -> Image.Image:
    rgb = np.repeat(np.asarray(image, np.float32)[:, :, None], 3, axis=2)
    for mask, colour in ((found.surround, (40, 110, 255)), (found.annotation, (255, 40, 40))):
        rgb[mask] = 0.4 * rgb[mask] + 0.6 * np.array(colour)
    return Image.fromarray(np.rint(rgb).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    images = pictures()
    step = SIDE + GAP
    sheet = Image.new("RGB", (step * len(images) - GAP, 2 * SIDE + GAP), "white")
    for column, image in enumerate(images):
        found = detect_overlays(np.asarray(image, np.float32) / 255)
        sheet.paste(image, (column * step, 0))
        sheet.paste(tinted(image, found), (column * step, step))
    sheet.quantize(128).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
