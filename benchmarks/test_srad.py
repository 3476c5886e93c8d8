"""Speed of the diffusion: eight scales of ten iterations.

Bars, on a 512x512 float32 image: one thread 25 (AVX2) and 35 (AVX-512) times the eager reference,
two threads 1.8 times one, two images of memory for a thread. Floors asserted here are tripwires far
below, because ratios differ between machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from simd import supported_simd

import busaug
from busaug.ops import _launch
from busaug.ops.srad import quiet_regions_op
from busaug.reference import srad as reference

OPTIONS: _launch.SradOptions = {
    "scales": 8,
    "iterations": 10,
    "time_step": 0.5,
    "q0": 0.0,
    "decay": 0.0,
    "form": 1,
    "correction": 0,
}
FORMS = {"rational": 1, "exponential": 2}


def speckled(side: int, count: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = np.random.default_rng(0).gamma(9, 1 / 9, (count, side, side))
    return torch.from_numpy(values / values.max()).to(dtype)


def side(benchmark) -> int:
    return 512 if benchmark.enabled else 64


def native(images, regions, options, *, threads=1, simd="auto"):
    output = torch.empty(options["scales"], *images.shape, dtype=images.dtype)
    arrays = _launch.SradArrays(images, regions, None, output)
    _launch.srad_cpu(arrays, options, threads=threads, simd=simd)
    return output


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("dtype", "simd"),
    [
        *[pytest.param(torch.float32, simd, id=f"float32-{simd}") for simd in supported_simd()],
        pytest.param(torch.float64, "auto", id="float64"),
    ],
)
def test_one_thread(benchmark, race, dtype, form, simd):
    images = speckled(side(benchmark), dtype=dtype)
    regions = quiet_regions_op(images)
    options: _launch.SradOptions = {**OPTIONS, "form": FORMS[form]}

    def ours():
        return native(images, regions, options, simd=simd)

    def twin():
        return reference.diffuse(images, regions, **options)

    benchmark.group = f"srad {images.shape[-1]} px, 80 iterations, one thread"
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(benchmark(ours), twin(), rtol=tolerance, atol=tolerance)
    ratio = race(ours, twin)
    assert ratio is None or ratio > 5


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
@pytest.mark.parametrize("count", [1, 8])
def test_two_threads(benchmark, race, count):
    images = speckled(side(benchmark), count)
    regions = quiet_regions_op(images)

    def threads(number):
        return lambda: native(images, regions, OPTIONS, threads=number)

    benchmark.group = f"srad {count} x {images.shape[-1]} px, 80 iterations, threads"
    assert torch.equal(benchmark(threads(2)), threads(1)())
    ratio = race(threads(2), threads(1), turns=25)
    assert ratio is None or ratio > 0.5  # less than 1 where others use the machine


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_two_threads_on_one_image_against_two_apart(benchmark, race):
    """What sharing one image costs: its upper and lower half as two images, on two threads that
    never wait for each other, are the most that this machine gives at that moment."""
    image = speckled(side(benchmark))
    rows = image.shape[-2] // 2
    halves = image.reshape(2, rows, image.shape[-1])

    region, regions = quiet_regions_op(image), quiet_regions_op(halves)

    def split():
        return native(image, region, OPTIONS, threads=2)

    def apart():
        return native(halves, regions, OPTIONS, threads=2)

    benchmark.group = f"srad 1 x {image.shape[-1]} px, 80 iterations, threads"
    assert torch.isfinite(benchmark(split)).all()
    ratio = race(split, apart, turns=25)
    assert ratio is None or ratio > 0.3


@pytest.mark.usefixtures("one_thread")
def test_whole_call(benchmark, race):
    """Range check, log domain, quietest window and all scales against the same in eager torch."""
    images = speckled(side(benchmark))

    def ours():
        return busaug.srad(images)

    def twin():
        ranges = reference.pixel_ranges(images)
        regions = reference.quiet_regions(images, ranges)
        return reference.diffuse(images, regions, **OPTIONS, ranges=ranges)

    benchmark.group = f"srad {images.shape[-1]} px, whole call"
    torch.testing.assert_close(benchmark(ours), twin(), rtol=1e-4, atol=1e-5)
    ratio = race(ours, twin)
    assert ratio is None or ratio > 5


@pytest.mark.usefixtures("one_thread")
def test_quiet_regions(benchmark, race):
    images = speckled(side(benchmark))
    ranges = reference.pixel_ranges(images)

    def ours():
        return quiet_regions_op(images, ranges)

    def twin():
        return reference.quiet_regions(images, ranges)

    benchmark.group = f"quietest window of {images.shape[-1]} px"
    assert torch.equal(benchmark(ours), twin())
    ratio = race(ours, twin, turns=25)
    assert ratio is None or ratio > 5


# In a process of its own: here memory that earlier work has freed would be taken again, uncounted.
_PEAK = """
import torch, busaug
from peak_memory import peak_bytes
torch.set_num_threads(1)
images = torch.rand(1, 3072, 3072)
busaug.srad(images[:, :64, :64])  # imports count no more
found, result = peak_bytes(lambda: busaug.srad(images, scales=2, iterations=1))
print((found - result.nbytes) / images.nbytes)
"""


def test_memory(benchmark, summary):
    benchmark.group = "srad, memory"
    extra = benchmark.pedantic(_extra_memory, rounds=1)
    benchmark.extra_info["images_of_memory"] = round(extra, 2)
    summary(f"srad, one thread: {extra:.2f} images of memory beside input and output")
    assert 0.5 < extra < 2


def _extra_memory() -> float:
    """In parts of the image's own, beside input and output."""
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "tests")}
    away = Path(__file__).anchor  # from the source tree, which holds no native module
    done = subprocess.run(
        [sys.executable, "-c", _PEAK], env=place, cwd=away, check=True, stdout=subprocess.PIPE
    )
    return float(done.stdout)
