"""The callable behind every transform: each image at its own scale, in any dtype of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from devices import needs_device
from tolerances import TOLERANCES

import busaug
from busaug.errors import InputError
from busaug.ops.srad import srad_options
from busaug.training.scales import array_at_scale, at_scales, draw_scales

OPTIONS = srad_options(scales=4, iterations=2)


def batch(count=5, dtype=np.float32):
    values = np.random.default_rng(0).random((count, 2, 33, 40))
    full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return torch.from_numpy((values * full).astype(dtype))


def test_each_image_gets_its_own_scale():
    images = batch()
    stack = torch.cat([images[None], busaug.srad(images, scales=4, iterations=2)])
    scales = torch.tensor([2, 0, 4, 1, 2])
    expected = stack[scales, torch.arange(5)]
    assert torch.equal(at_scales(images, scales, OPTIONS), expected)
    assert torch.equal(images, batch())


@pytest.mark.cuda
@needs_device
def test_batches_stay_on_their_device():
    scales = torch.tensor([2, 0, 4, 1, 2])
    found = at_scales(batch().cuda(), scales, OPTIONS)
    assert found.is_cuda
    expected = at_scales(batch(), scales, OPTIONS)
    tolerance = TOLERANCES["srad cuda, float32 absolute"]
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_levels_are_rounded_and_untouched_images_exact(dtype):
    images = batch(dtype=dtype)
    found = at_scales(images, torch.tensor([3, 0, 0, 0, 0]), OPTIONS)
    assert found.dtype == images.dtype
    full = np.iinfo(dtype).max
    unit = torch.from_numpy(images.numpy().astype(np.float32) / np.float32(full))
    exact = busaug.srad(unit[:1], scales=3, iterations=2)[2, 0].double() * full
    level = 0.5 + TOLERANCES["half a level, of full scale"] * full
    assert (found[0].double() - exact).abs().max() <= level
    np.testing.assert_array_equal(found[1:].numpy(), images[1:].numpy())


def test_every_level_survives_a_flat_image():
    levels = np.arange(65536, dtype=np.uint16).reshape(-1, 1, 1, 1)
    flat = torch.from_numpy(np.broadcast_to(levels[::257], (256, 1, 3, 3)).copy())
    found = at_scales(flat, torch.ones(256, dtype=torch.int64), OPTIONS)
    np.testing.assert_array_equal(found.numpy(), flat.numpy())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_arrays_with_channels_last_and_without(dtype):
    planes = batch(1, dtype)
    expected = at_scales(planes, torch.tensor([2]), OPTIONS)[0].numpy()
    image = np.ascontiguousarray(np.moveaxis(planes[0].numpy(), 0, -1))
    image.setflags(write=False)
    found = array_at_scale(image, 2, OPTIONS)
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.moveaxis(expected, 0, -1))
    np.testing.assert_array_equal(array_at_scale(image[..., 0], 2, OPTIONS), expected[0])
    np.testing.assert_array_equal(
        array_at_scale(image[:, ::-1, 0][:, ::-1], 2, OPTIONS), expected[0]
    )


def test_scales_are_drawn_evenly_with_probability_p():
    count = 4000
    drawn = draw_scales(count, 0.6, 3, torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=4) / count
    # four standard deviations of a share of that many draws
    assert abs(shares[0] - 0.4) < 4 * (0.24 / count) ** 0.5
    assert (shares[1:] - 0.2).abs().max() < 4 * (0.16 / count) ** 0.5
    assert not draw_scales(100, 0, 3).any()
    assert draw_scales(100, 1, 3).all()


def test_other_dtypes_are_refused():
    for dtype in (torch.int32, torch.bool, torch.float16):
        with pytest.raises(InputError, match="dtype"):
            at_scales(batch().to(dtype), torch.ones(5, dtype=torch.int64), OPTIONS)
