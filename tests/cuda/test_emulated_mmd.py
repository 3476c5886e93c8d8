"""The CUDA kernel of the style loss, emulated, against float64 products of what it multiplies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from emulator.device import ORDERS, Setting
from tolerances import TOLERANCES

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# channels and positions: one, odd, prime, an instruction's, a tile's, one more and one less
SHAPES = [(1, 1), (3, 5), (16, 16), (17, 31), (63, 33), (64, 32), (65, 49), (128, 8), (130, 20)]


def maps(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).relu().to(dtype)


def matrices(batch, channels, seed=1):
    spread = maps(batch, channels, channels + 3, seed=seed)
    products = spread @ spread.mT / (channels + 3)
    return torch.maximum(products, products.mT)


def multiplied(features):
    """What enters the products, in float64: TF32 has ten bits after the leading one."""
    if features.dtype != torch.float32:
        return features.double()
    bits = (features.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF
    return bits.view(torch.float32).double()


def check(found, features, target):
    loss, difference = found
    channels, positions = features.shape[1:]
    exact = multiplied(features)
    gram = exact @ exact.mT / positions
    expected = gram - target.double()
    size = gram.square().sum((1, 2)) + target.double().square().sum((1, 2))
    error = (difference - expected).abs().amax((1, 2))
    assert (error <= TOLERANCES["gram difference of max|G|"] * gram.amax((1, 2))).all()
    assert torch.equal(difference, difference.mT)
    error = (loss - expected.square().sum((1, 2)) / (4 * channels**2)).abs() * 4 * channels**2
    assert (error <= TOLERANCES["gram loss of its terms"] * size).all()


def channels_last(features):
    return features.mT.contiguous().mT


@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, channels_last])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
def test_equals_products_in_float64(emulated, shape, dtype, layout):
    features = layout(maps(2, *shape, dtype=dtype))
    target = matrices(2, shape[0])
    check(emulated.gram_difference(features, target), features, target)


@pytest.mark.parametrize("layout", [torch.Tensor.contiguous, channels_last])
def test_blocks_share_a_tile_where_positions_are_many(emulated, layout):
    features, target = layout(maps(2, 20, 2050)), matrices(2, 20)
    check(emulated.gram_difference(features, target), features, target)
    assert [run["blocks"] for run in emulated.log.launches] == [2 * 3]


def test_an_image_depends_on_no_other(emulated):
    features, target = maps(3, 33, 1030), matrices(3, 33)
    losses, differences = emulated.gram_difference(features, target)
    loss, difference = emulated.gram_difference(features[1:2], target[1:2])
    assert torch.equal(loss, losses[1:2])
    assert torch.equal(difference, differences[1:2])
    features[0, 3, 4] = torch.nan
    losses, differences = emulated.gram_difference(features, target)
    assert losses[0].isnan()
    assert torch.equal(loss, losses[1:2])
    assert torch.equal(difference, differences[1:2])


def test_the_upper_triangle_of_the_target_is_not_read(emulated):
    features, target = maps(1, 70, 9), matrices(1, 70)
    hidden = torch.where(torch.ones(70, 70).triu(1) == 1, torch.nan, target)
    for found, expected in zip(
        emulated.gram_difference(features, hidden),
        emulated.gram_difference(features, target),
        strict=True,
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_slices_that_are_not_aligned(emulated, dtype):
    features, target = maps(1, 20, 24, dtype=dtype), matrices(1, 20)
    found = emulated.gram_difference(features, target, shift=4)
    for one, other in zip(found, emulated.gram_difference(features, target), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "shape", [(1, 40, 1100), (1, 130, 9)], ids=["blocks share a tile", "several tiles"]
)
def test_the_order_of_threads_makes_no_difference(emulated, shape):
    features, target = maps(*shape), matrices(*shape[:2])
    loss, difference = emulated.gram_difference(features, target)
    for setting in ORDERS:
        found = emulated.gram_difference(features, target, setting=setting)
        assert torch.equal(found[0], loss)
        assert torch.equal(found[1], difference)


def test_no_images(emulated):
    loss, difference = emulated.gram_difference(torch.empty(0, 8, 8), torch.empty(0, 8, 8))
    assert loss.shape == (0,)
    assert difference.shape == (0, 8, 8)
    assert emulated.log.launches == []


def test_a_refused_launch_is_an_error_and_the_process_lives(emulated):
    features, target = maps(1, 65, 9), matrices(1, 65)
    small = replace(Setting(), shared_bytes=48 * 1024)
    with pytest.raises(RuntimeError, match="gram_difference: invalid argument"):
        emulated.gram_difference(features, target, setting=small)
    check(emulated.gram_difference(features, target), features, target)
