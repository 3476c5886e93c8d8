"""How much of drawn overlays is detected on simulated images, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import numpy.typing as npt
import pytest
from data.drawing import SIDE, blank, calipers, drawn, jpeg, label, outside_fan, shrunk

from busaug.data.overlays import OverlayMask, detect_overlays

Image = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Case = Callable[[int], tuple[Image, Mask]]
"""An image of the number, and the pixels that are drawn on it."""


def lettered(number: int) -> tuple[Image, Mask]:
    return drawn(blank(number), label("RT UOQ 11:00 4cm", (40, 240)))


def compressed(case: Case, quality: int) -> Case:
    def made(number: int) -> tuple[Image, Mask]:
        image, truth = case(number)
        return jpeg(image, quality), truth

    return made


def measured_to(end: tuple[int, int]) -> Case:
    return lambda number: drawn(blank(number), calipers((80, 110), end))


def resampled(number: int) -> tuple[Image, Mask]:
    def both(draw):
        label("LEFT 2:00", (80, 420), 18)(draw)
        calipers((150, 200), (370, 260))(draw)

    image, truth = drawn(blank(number, 500), both)
    return shrunk(image, 256), shrunk(truth, 256) > 0.5


def boxed(number: int) -> tuple[Image, Mask]:
    def box(draw):
        draw.rectangle((70, 45, 235, 190), outline=255)

    return drawn(blank(number), box, 0.8)


def fan(darkest: float) -> Case:
    """Its picture is nowhere below ``darkest``."""

    def made(number: int) -> tuple[Image, Mask]:
        truth = outside_fan(SIDE)
        return np.where(truth, 0, np.maximum(blank(number), np.float32(darkest))), truth

    return made


ENDS = ((225, 145), (135, 250), (220, 240))
CASES: dict[str, list[Case]] = {
    "label of 16 letters": [lettered],
    "label of 16 letters, JPEG of quality 80": [compressed(lettered, 80)],
    "two crosses and their dotted line": [measured_to(end) for end in ENDS],
    "label and calipers, 500 px resampled to 256": [resampled],
    "Doppler box": [boxed],
    "outside of a fan": [fan(0.12)],
    "outside of a fan, JPEG of quality 90": [compressed(fan(0.12), 90)],
    "outside of a fan, beside tissue without echoes": [fan(0.0)],
}


def part_of(found: OverlayMask, case: str) -> Mask:
    return found.surround if "fan" in case else found.annotation


@pytest.mark.parametrize("case", CASES)
def test_drawn(benchmark, case):
    numbers = range(8 if benchmark.enabled else 1)
    pictures = [make(number) for make in CASES[case] for number in numbers]

    def detect():
        return [part_of(detect_overlays(image), case) for image, _ in pictures]

    found = benchmark.pedantic(detect, rounds=1)
    covered = [float(m[truth].mean()) for m, (_, truth) in zip(found, pictures, strict=True)]
    benchmark.extra_info["covered"] = [round(share, 4) for share in covered]
    assert median(covered) > 0.9


@pytest.mark.parametrize(("size", "count"), [(128, 60), (200, 60), (250, 60), (300, 60)])
def test_without(benchmark, size, count):
    images = [blank(number, size) for number in range(count if benchmark.enabled else 2)]

    def detect():
        return [bool(detect_overlays(image).mask.any()) for image in images]

    marked = sum(benchmark.pedantic(detect, rounds=1))
    benchmark.extra_info["images"] = len(images)
    benchmark.extra_info["marked"] = marked
    assert marked <= 0.1 * len(images)


@pytest.mark.parametrize("size", [256, 512])
def test_time(benchmark, size):
    images = [
        drawn(blank(number, size), calipers((60, 90), (190, 130)))[0]
        for number in range(20 if benchmark.enabled else 1)
    ]

    def seconds(image):
        start = time.perf_counter()
        detect_overlays(image)
        return time.perf_counter() - start

    found = benchmark.pedantic(lambda: [seconds(image) for image in images], rounds=1)
    benchmark.extra_info["milliseconds"] = [round(1e3 * each, 1) for each in found]
