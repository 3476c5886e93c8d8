"""The reference diffusion against the published algorithms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_srad import published, published_iteration, rodinia_v1, uva
from tolerances import TOLERANCES

from busaug.reference import srad as reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rodinia_v1_is_reproduced(dtype):
    pixels = np.random.default_rng(1).integers(0, 256, (19, 23)).astype(dtype)
    expected = rodinia_v1(pixels, 12)
    (found,) = reference.rodinia_v1(torch.from_numpy(pixels)[None], iterations=12)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCES["srad parity, float32"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rodinia_v2_is_reproduced(dtype):
    # random exp(U[0, 1]) with the region of its command line, linear in and out
    pixels = np.exp(np.random.default_rng(2).random((32, 16))).astype(dtype)
    region = (0, 0, 16, 16)
    expected = published(pixels, 10, 0.5, region=region)
    (found,) = reference.diffuse(
        torch.from_numpy(pixels)[None],
        torch.tensor([region]),
        scales=1,
        iterations=10,
        time_step=0.5,
    )[0]
    np.testing.assert_allclose(found, expected, rtol=TOLERANCES["srad parity, float32"])


def test_uva_is_reproduced():
    pixels = np.random.default_rng(3).uniform(20, 200, (17, 13))
    region = (2, 3, 8, 6)
    expected = uva(pixels, region, 6, 0.2)
    (found,) = reference.uva(torch.from_numpy(pixels)[None], region, iterations=6, time_step=0.2)
    np.testing.assert_allclose(found, expected, atol=TOLERANCES["srad twin, float64 absolute"])


@pytest.mark.parametrize("form", [1, 2])
def test_decaying_q0(form):
    pixels = np.random.default_rng(4).uniform(0.2, 1.0, (9, 11))
    expected = pixels
    for iteration in range(4):
        q0 = 0.6 * math.exp(-0.5 * iteration * 0.3)
        expected = published_iteration(expected, q0**2, 0.3, form)
    (found,) = reference.diffuse(
        torch.from_numpy(pixels)[None],
        None,
        scales=2,
        iterations=2,
        time_step=0.3,
        q0=0.6,
        decay=0.5,
        form=form,
    )[1]
    np.testing.assert_allclose(found, expected, atol=TOLERANCES["srad twin, float64 absolute"])


@pytest.mark.gradcheck
@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("regions", [None, torch.tensor([[1, 1, 3, 3]])])
def test_gradients(form, regions):
    # away from the kink where q equals q0: no pixel's coefficient may be about to saturate
    images = torch.from_numpy(np.random.default_rng(5).uniform(0.2, 1.0, (1, 5, 6)))
    images.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: reference.diffuse(
            x, regions, scales=2, iterations=1, time_step=0.5, q0=0.25, form=form
        ),
        images,
    )


@settings(max_examples=50)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12),
    st.sampled_from([1, 2]),
    st.floats(0, 2),
)
def test_variation_is_never_negative_and_the_result_stays_in_range(values, form, q0):
    images = torch.tensor(values, dtype=torch.float64).reshape(1, 3, 4)
    result = reference.diffuse(
        images, None, scales=3, iterations=2, time_step=1.0, q0=q0, form=form
    )
    # with time_step <= 1 and 0 <= c <= 1 a pixel becomes a weighted mean of its neighbourhood
    slack = TOLERANCES["srad twin, float64 absolute"]
    assert result.min() >= images.min() - slack
    assert result.max() <= images.max() + slack


def brute_force_quiet_region(image):
    height, width = min(32, image.shape[0]), min(32, image.shape[1])
    found = []
    for row in range(0, image.shape[0] - height + 1, 8):
        for column in range(0, image.shape[1] - width + 1, 8):
            window = image[row : row + height, column : column + width]
            found.append((window.mean(), window.std() / window.mean(), row, column))
    means = [mean for mean, *_ in found]
    low, high = np.percentile(means, 20, method="lower"), np.percentile(means, 80, method="higher")
    _, row, column = min(entry[1:] for entry in found if low <= entry[0] <= high)
    return [row, column, height, width]


QUIET_SHAPES = [(97, 130), (64, 40), (32, 200), (20, 50), (5, 7), (40, 40), (1, 39), (31, 32)]


@pytest.mark.parametrize("shape", QUIET_SHAPES)
def test_quiet_region_is_the_least_varying_middling_window(shape):
    rng = np.random.default_rng(6)
    ramp = np.linspace(0.2, 1.0, shape[1])
    images = torch.from_numpy(rng.gamma(9, 1 / 9, (2, *shape)) * ramp)
    expected = [brute_force_quiet_region(image) for image in images.numpy()]
    assert reference.quiet_regions(images).tolist() == expected
    # the same windows where the intensities come log-compressed
    ranges = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    assert reference.quiet_regions(images.log(), ranges).tolist() == expected


def test_quiet_region_passes_over_padding():
    image = np.random.default_rng(7).gamma(9, 1 / 9, (96, 96))
    image[:, :40] = 0.5  # a flat bar whose mean is middling
    row, column, height, width = reference.quiet_regions(torch.from_numpy(image)[None])[0].tolist()
    assert image[row : row + height, column : column + width].std() > 0
    flat = torch.full((1, 40, 40), 0.5, dtype=torch.float64)
    assert reference.quiet_regions(flat).tolist() == [[0, 0, 32, 32]]
    assert reference.quiet_regions(flat[:0]).shape == (0, 4)


def test_log_compression_goes_there_and_back():
    images = torch.from_numpy(np.random.default_rng(8).uniform(0.2, 0.9, (3, 9, 9)))
    images[2] = 0.4
    compression = reference.LogCompression(reference.pixel_ranges(images))
    intensities = compression.intensities(images)
    assert intensities[:2].amin((-2, -1)).tolist() == [1.0, 1.0]
    torch.testing.assert_close(intensities[:2].amax((-2, -1)), torch.full((2,), math.e).double())
    assert (intensities[2] == 1).all()
    torch.testing.assert_close(compression.pixels(intensities), images)
    beyond = torch.tensor([0.5, 5.0], dtype=torch.float64).view(1, 1, 2).expand(3, 1, 2)
    limits = compression.pixels(beyond)[:, 0]
    assert torch.equal(limits, reference.pixel_ranges(images))
