"""The CUDA kernels of SRAD, emulated: every way through them gives the bits of the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from emulator.device import ORDERS, Setting
from hypothesis import given, settings
from hypothesis import strategies as st
from ops import srad_cases
from ops.srad_cases import speckled

from busaug.ops.srad import srad_op
from busaug.reference.srad import whole_regions

OPTIONS = {**srad_cases.OPTIONS, "scales": 2}
# Ways through the launcher: what the device must be like, and the cluster that then works.
WAYS = {
    "one block": Setting(architecture=80),
    "cluster": Setting(multiprocessors=64),
    "memory": Setting(shared_bytes=200),
}
# one pixel, one row, one column; odd, prime; a strip of a warp and one column or row more or less
SHAPES = [(1, 1), (1, 9), (17, 1), (2, 2), (3, 5), (7, 31), (8, 32), (9, 33), (16, 128), (33, 12)]


def on_cpu(images, regions=None, ranges=None, **options):
    return srad_op(images, regions, *{**OPTIONS, **options}.values(), ranges)


def on_device(emulated, images, regions=None, ranges=None, **options):
    return emulated.srad(images, regions, ranges, **{**OPTIONS, **options})


def ranges_of(images):
    return torch.stack([images.amin((1, 2)), images.amax((1, 2))], dim=1)


def inner_regions(images):
    """Of each image the pixels that are not at its border, or all of a thin one."""
    _, height, width = images.shape
    row, column = int(height > 2), int(width > 2)
    region = [row, column, height - 2 * row, width - 2 * column]
    return torch.tensor(region).expand(len(images), 4).contiguous()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
def test_equals_the_cpu(emulated, way, dtype, shape):
    images = speckled(2, *shape, dtype=dtype)
    for form, regions in [(1, inner_regions(images)), (1, None), (2, inner_regions(images))]:
        found = on_device(emulated, images, regions, form=form, setting=WAYS[way])
        assert torch.equal(found, on_cpu(images, regions, form=form))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_log_compressed_images_equal_the_cpu(emulated, way, iterations):
    images = speckled(2, 11, 13)
    given = (images, inner_regions(images), ranges_of(images))
    options = {"iterations": iterations, "scales": 3, "correction": 1}
    found = on_device(emulated, *given, **options, setting=WAYS[way])
    assert torch.equal(found, on_cpu(*given, **options))


def test_ways_are_what_they_are_called(emulated):
    images = speckled(2, 33, 12)
    regions = inner_regions(images)
    launches = {}
    for way, setting in WAYS.items():
        on_device(emulated, images, regions, setting=setting)
        launches[way] = emulated.log.launches
    assert [(run["blocks"], run["cluster"]) for run in launches["one block"]] == [(2, 1)]
    assert [(run["blocks"], run["cluster"]) for run in launches["cluster"]] == [(16, 8)]
    assert len(launches["memory"]) == 2 * OPTIONS["scales"] * OPTIONS["iterations"]


def test_every_size_of_cluster_gives_the_same(emulated):
    images = speckled(1, 37, 20)
    regions = whole_regions(images).contiguous()
    expected = on_cpu(images, regions)
    seen = set()
    for multiprocessors in (1, 2, 3, 5):
        setting = Setting(multiprocessors=multiprocessors, shared_bytes=20_000)
        assert torch.equal(on_device(emulated, images, regions, setting=setting), expected)
        seen.add(emulated.log.launches[0]["cluster"])
    assert seen == {2, 4, 8}


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_threads_makes_no_difference(emulated, way):
    images = speckled(2, 37, 24)
    regions = whole_regions(images).contiguous()
    expected = on_cpu(images, regions)
    for order in ORDERS:
        setting = replace(WAYS[way], order=order.order, seed=order.seed)
        assert torch.equal(on_device(emulated, images, regions, setting=setting), expected)


def test_a_slice_that_is_not_aligned(emulated):
    images = speckled(2, 9, 8)
    for way in WAYS.values():
        found = on_device(emulated, images, shift=4, setting=way)
        assert torch.equal(found, on_cpu(images))


@pytest.mark.parametrize("way", WAYS)
def test_a_region_outside_is_not_read(emulated, way):
    """busaug.ops refuses it; the kernel stays inside all the same. AddressSanitizer would tell."""
    images = speckled(3, 12, 12)
    regions = torch.tensor(
        [[0, 0, 13, 12], [-5, 11, 2**62, 2**62], [2**62, 2**62, -(2**62), 5]], dtype=torch.int64
    )
    found = on_device(emulated, images, regions, setting=WAYS[way])
    inside = torch.tensor([[0, 0, 12, 12]]).expand(3, 4)
    assert torch.equal(found[:, 0], on_cpu(images, inside)[:, 0])
    assert found.isfinite().all()


def test_no_images(emulated):
    found = on_device(emulated, torch.empty(0, 8, 8))
    assert found.shape == (2, 0, 8, 8)
    assert emulated.log.launches == []


def test_a_refused_launch_is_an_error_and_the_process_lives(emulated):
    images = speckled(1, 8, 8)
    with pytest.raises(RuntimeError, match="2\\^28"):
        on_device(emulated, images, scales=2**20, iterations=2**20)
    assert torch.equal(on_device(emulated, images), on_cpu(images))


@settings(max_examples=25)
@given(data=st.data())
def test_any_image_equals_the_cpu(emulated, data):
    count, height, width = (data.draw(st.integers(1, most)) for most in (2, 40, 70))
    images = speckled(count, height, width, seed=data.draw(st.integers(0, 99)))
    images[images < data.draw(st.sampled_from([0.0, 0.3]))] = 0.0  # black pixels are defined
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    size = data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - column))
    regions = torch.tensor([row, column, *size]).expand(count, 4).contiguous()
    given_ranges = ranges_of(images) if data.draw(st.booleans()) else None
    options = {"form": data.draw(st.sampled_from([1, 2])), "iterations": 2, "scales": 1}
    setting = replace(
        WAYS[data.draw(st.sampled_from(sorted(WAYS)))],
        multiprocessors=data.draw(st.integers(1, 40)),
        order=data.draw(st.sampled_from(["forward", "reverse", "shuffled"])),
    )
    found = on_device(emulated, images, regions, given_ranges, **options, setting=setting)
    assert torch.equal(found, on_cpu(images, regions, given_ranges, **options))
