"""Speed on a CUDA device, beside what its memory and tensor cores would allow.

``pytest benchmarks/test_cuda.py --benchmark-enable`` writes benchmarks/results/DEVICE.json.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import needs_kernels

import busaug
from busaug.ops._backend import build_info
from busaug.ops.mmd import gram
from busaug.ops.srad import srad_op
from busaug.ops.style_target import GramTarget
from busaug.reference import mmd, srad
from busaug.reference.srad import quiet_regions

pytestmark = [pytest.mark.cuda, needs_kernels]

RESULTS = Path(__file__).parent / "results"
LAYERS = {"relu": (64, 12544), "layer1": (256, 3136), "layer2": (512, 784), "layer3": (1024, 196)}
SRAD = {
    "scales": 8,
    "iterations": 10,
    "time_step": 0.5,
    "q0": 0.5,
    "decay": 0.1,
    "form": 1,
    "correction": 0,
}


def seconds(*functions: Callable[[], object], rounds: int = 7) -> list[float]:
    """Median device time of each, taking turns after a warm-up."""
    found: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds + 2):
        for function, times in zip(functions, found, strict=True):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            function()
            end.record()
            end.synchronize()
            if turn >= 2:
                times.append(start.elapsed_time(end) / 1e3)
    return [statistics.median(times) for times in found]


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Any]]:
    """What was measured; written at the end, if anything was."""
    measured: dict[str, Any] = {}
    yield measured
    if measured:
        name = torch.cuda.get_device_name()
        facts = {
            "device": name,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "compiler": build_info()["cuda_compiler"],
        }
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")
        path.write_text(json.dumps({**facts, **measured}, indent=2) + "\n")


@pytest.fixture
def tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="module")
def ceilings() -> Callable[[], dict[str, float]]:
    """What the device reaches: bytes/s of a copy, TF32 operations/s of a large product."""

    def measure() -> dict[str, float]:
        block = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
        other = torch.empty_like(block)
        side = 8192
        left = torch.randn(side, side, device="cuda")
        right = torch.randn(side, side, device="cuda")
        copy, product = seconds(lambda: other.copy_(block), lambda: left @ right)
        return {
            "bytes_per_s": 2 * block.numel() / copy,
            "tf32_operations_per_s": 2 * side**3 / product,
        }

    return measure


def speckled(count: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    looks = -torch.rand(9, count, side, side, generator=generator).log()
    return looks.mean(0).cuda()


def test_srad(benchmark, results, summary):
    """256 images of 256 x 256: at least 100 Gpx it/s on an H100, ten times eager torch."""
    count, side = (256, 256) if benchmark.enabled else (3, 64)
    images = speckled(count, side)
    regions = quiet_regions(images)

    def ours(where: torch.Tensor | None = regions) -> torch.Tensor:
        return srad_op(images, where, *SRAD.values(), None)

    def eager() -> torch.Tensor:  # with a given q0: measured, it loops over the images
        return srad.diffuse(images, None, **SRAD)

    torch.testing.assert_close(ours(None), eager(), rtol=1e-4, atol=1e-4)
    benchmark.pedantic(lambda: (ours(), torch.cuda.synchronize()), rounds=3, warmup_rounds=1)
    if not benchmark.enabled:
        return
    measured, given, reference = seconds(ours, lambda: ours(None), eager)
    work = images.numel() * SRAD["scales"] * SRAD["iterations"]
    results["srad 256x256, batch 256"] = {
        "q0 measured, Gpx it/s": work / measured / 1e9,
        "q0 given, Gpx it/s": work / given / 1e9,
        "times faster than eager torch, q0 given": reference / given,
    }
    summary(
        f"srad on the device: {work / measured / 1e9:.0f} Gpx it/s, "
        f"{reference / given:.1f} times faster than eager torch"
    )
    assert reference / given > 2  # a tripwire: the bar is ten, on an H100


def composite(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What one would write: autograd through the Gram matrix."""
    _, channels, positions = features.shape
    difference = features @ features.mT / positions - target
    return difference.square().sum((1, 2)) / (4 * channels**2)


def value_and_gradient(loss, features, target):
    value = loss(features, target)
    return value.detach(), torch.autograd.grad(value.sum(), features)[0]


def floor(batch: int, channels: int, positions: int, ceilings: dict[str, float]) -> float:
    """Seconds below which value and gradient in float32 cannot be had, in the Gram form.

    Bytes: features twice and their gradient, half the symmetric target, the difference written and
    read. Operations: half the symmetric product, and the gradient's product.
    """
    maps, matrix = batch * channels * positions, batch * channels**2
    moved = 4 * (3 * maps + 2.5 * matrix)
    operations = batch * channels**2 * positions * (1 + 2)
    return max(moved / ceilings["bytes_per_s"], operations / ceilings["tf32_operations_per_s"])


@pytest.mark.usefixtures("tf32")
def test_style_loss(benchmark, results, summary, ceilings):
    """Four layers of ResNet-50 at 224 x 224, batch 64: at least 1.3 times faster than autograd."""
    batch, scale = (64, 1) if benchmark.enabled else (2, 8)
    work = {}
    for layer, (channels, positions) in LAYERS.items():
        n, m = channels // scale, positions // scale
        generator = torch.Generator().manual_seed(0)
        maps = [torch.randn(batch, n, m, generator=generator).relu().cuda() for _ in range(2)]
        work[layer] = (maps[0].requires_grad_(), gram(maps[1]))

    def ours(layers=LAYERS):
        return [
            value_and_gradient(busaug.style_loss, work[layer][0], GramTarget(work[layer][1]))
            for layer in layers
        ]

    def theirs(layers=LAYERS):
        return [value_and_gradient(composite, *work[layer]) for layer in layers]

    for (value, gradient), (features, target) in zip(ours(), work.values(), strict=True):
        f, t = features.detach().double(), target.double()
        size = mmd.gram(f).square().sum((1, 2)) + t.square().sum((1, 2))
        error = (value - mmd.style_loss_gram(f, t)).abs() * (4 * f.shape[1] ** 2)
        assert (error < 1e-3 * size).all()  # TF32 has ten bits
        exact = mmd.style_loss_gram_gradient(f, t)
        assert (gradient - exact).norm() < 1e-2 * exact.norm()
    benchmark.pedantic(lambda: (ours(), torch.cuda.synchronize()), rounds=3, warmup_rounds=1)
    if not benchmark.enabled:
        return
    measured = ceilings()
    rows = {}
    for layer, (channels, positions) in LAYERS.items():
        mine, reference = seconds(lambda one=layer: ours([one]), lambda one=layer: theirs([one]))
        rows[layer] = {
            "ms": 1e3 * mine,
            "times faster than autograd": reference / mine,
            "share of the floor": floor(batch, channels, positions, measured) / mine,
        }
    mine, reference = seconds(ours, theirs)
    lowest = sum(floor(batch, *extents, measured) for extents in LAYERS.values())
    results["ceilings"] = measured
    results["style loss, batch 64"] = {
        "ms": 1e3 * mine,
        "times faster than autograd": reference / mine,
        "share of the floor": lowest / mine,
        "layers": rows,
    }
    summary(
        f"style loss on the device: {1e3 * mine:.2f} ms, {reference / mine:.2f} times faster than "
        f"autograd, {100 * lowest / mine:.0f} % of the floor of bytes and operations"
    )
    assert reference / mine > 1  # a tripwire: the bar is 1.3
