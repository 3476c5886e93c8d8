"""The native search for the quietest window against its reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from devices import needs_kernels
from simd import supported_simd

import busaug
from busaug.ops import _launch
from busaug.ops.srad import quiet_regions_op, quiet_window
from busaug.reference import srad as reference

SHAPES = [(1, 1), (1, 40), (31, 31), (32, 32), (33, 33), (39, 40), (41, 48), (97, 131), (128, 256)]
DTYPES = [torch.float32, torch.float64]


def speckled(*shape, dtype=torch.float64, seed=0):
    """Gamma speckle in [0, 1], brighter to the right, so that windows differ in mean."""
    values = np.random.default_rng(seed).gamma(9, 1 / 9, shape) * np.linspace(0.3, 1, shape[-1])
    return torch.from_numpy(values / values.max()).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_native_equals_reference(dtype, shape):
    images = speckled(3, *shape, dtype=dtype)
    for ranges in (None, reference.pixel_ranges(images)):
        expected = reference.quiet_regions(images, ranges)
        assert torch.equal(quiet_regions_op(images, ranges), expected)


def test_the_domain_matters():
    """Else the test above could not tell whether log-compressed pixels were expanded."""
    images = speckled(6, 97, 131)
    ranges = reference.pixel_ranges(images)
    assert not torch.equal(quiet_regions_op(images, ranges), quiet_regions_op(images))


def test_padding_counts_only_where_there_is_nothing_else():
    images = speckled(1, 96, 96)
    images[:, :, :40] = 0.5
    images[:, :40] = 0.0
    assert torch.equal(quiet_regions_op(images), reference.quiet_regions(images))
    row, column, height, width = quiet_regions_op(images)[0].tolist()
    assert images[0, row : row + height, column : column + width].std() > 0
    for value in (0.0, 0.1, 1.0):
        flat = torch.full((1, 41, 50), value, dtype=torch.float32)
        assert quiet_regions_op(flat).tolist() == [[0, 0, 32, 32]]


def test_threads_and_instruction_sets_agree():
    images = speckled(3, 131, 97, dtype=torch.float32)
    ranges = reference.pixel_ranges(images)
    expected = quiet_regions_op(images, ranges)
    for threads, simd in itertools.product([1, 2, 4, 5], supported_simd()):
        found = torch.full_like(expected, -1)
        _launch.quiet_regions_cpu(images, ranges, found, threads=threads, simd=simd)
        assert torch.equal(found, expected)


def test_values_that_cannot_be_ordered_are_survived():
    """Public functions refuse NaN; the op must not read outside its memory for one."""
    images = speckled(2, 64, 64)
    images[0] = torch.nan
    images[1, 40, 40] = torch.inf
    regions = quiet_regions_op(images)
    assert (regions[:, :2] >= 0).all()
    assert (regions[:, :2] + regions[:, 2:] <= 64).all()


def test_op_contract():
    images = speckled(2, 40, 48, dtype=torch.float32)
    ranges = reference.pixel_ranges(images)
    for call in ((images,), (images, ranges), (images[:0], ranges[:0])):
        torch.library.opcheck(quiet_regions_op, call)
    strided = torch.empty(2, 80, 96)[:, ::2, ::2].copy_(images)
    assert torch.equal(quiet_regions_op(strided, ranges), quiet_regions_op(images, ranges))
    expanded = images[:1].expand(3, 40, 48)
    assert torch.equal(quiet_regions_op(expanded)[2], quiet_regions_op(images)[0])


def test_quiet_window_is_where_q0_is_measured():
    image = speckled(96, 128, dtype=torch.float32).numpy()
    for domain in ("log", "linear"):
        window = quiet_window(image, domain=domain)
        found = busaug.srad(image, scales=2, iterations=3, domain=domain)
        np.testing.assert_array_equal(
            busaug.srad(image, scales=2, iterations=3, domain=domain, q0=window), found
        )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (1, 0, 8)}, "extents"),
        ({"threads": 0}, "threads"),
        ({"simd": "mmx"}, "mmx"),
        ({"dtype": "float16"}, "float16"),
        ({"images": 0}, "null"),
        ({"regions": 0}, "null"),
    ],
)
def test_the_native_module_checks_again(change, says):
    from busaug import _native

    # nothing is read from these addresses: each call is refused before
    call = {"shape": (1, 8, 8), "dtype": "float32", "images": 16, "ranges": 0, "regions": 32}
    with pytest.raises(ValueError, match=says):
        _native.quiet_regions_cpu(**{**call, "threads": 1, "simd": "auto", **change})


@pytest.mark.cuda
@needs_kernels
def test_cuda_takes_the_same_windows():
    images = speckled(5, 97, 131)
    ranges = reference.pixel_ranges(images)
    assert torch.equal(quiet_regions_op(images.cuda()).cpu(), quiet_regions_op(images))
    found = quiet_regions_op(images.cuda(), ranges.cuda()).cpu()
    assert torch.equal(found, quiet_regions_op(images, ranges))
