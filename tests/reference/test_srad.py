"""The reference diffusion against the published algorithms, transcribed pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCES

from busaug.reference import srad as reference


def published_iteration(j, q0_squared, time_step, form=1):
    """One SRAD iteration as Rodinia's srad writes it, with its divisions by the pixel."""
    rows, columns = j.shape
    one = j.dtype.type
    north, south, west, east, c = (np.empty_like(j) for _ in range(5))
    for y in range(rows):
        for x in range(columns):
            here = j[y, x]
            north[y, x] = j[max(y - 1, 0), x] - here
            south[y, x] = j[min(y + 1, rows - 1), x] - here
            west[y, x] = j[y, max(x - 1, 0)] - here
            east[y, x] = j[y, min(x + 1, columns - 1)] - here
            squares = (
                north[y, x] ** 2 + south[y, x] ** 2 + west[y, x] ** 2 + east[y, x] ** 2
            ) / here**2
            relative = (north[y, x] + south[y, x] + west[y, x] + east[y, x]) / here
            variation = (one(0.5) * squares - relative**2 / one(16)) / (
                one(1) + one(0.25) * relative
            ) ** 2
            ratio = (variation - q0_squared) / (q0_squared * (one(1) + q0_squared))
            value = one(1) / (one(1) + ratio) if form == 1 else np.exp(-ratio)
            c[y, x] = min(max(value, one(0)), one(1))
    result = np.empty_like(j)
    for y in range(rows):
        for x in range(columns):
            divergence = (
                c[y, x] * north[y, x]
                + c[min(y + 1, rows - 1), x] * south[y, x]
                + c[y, x] * west[y, x]
                + c[y, min(x + 1, columns - 1)] * east[y, x]
            )
            result[y, x] = j[y, x] + one(time_step) / one(4) * divergence
    return result


def region_q0_squared(j, region, correction=0):
    row, column, height, width = region
    values = j[row : row + height, column : column + width]
    return j.dtype.type(values.var(ddof=correction) / values.mean() ** 2)


def published(j, iterations, time_step, *, region, form=1, correction=0):
    for _ in range(iterations):
        j = published_iteration(j, region_q0_squared(j, region, correction), time_step, form)
    return j


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rodinia_v1_is_reproduced(dtype):
    pixels = np.random.default_rng(1).integers(0, 256, (19, 23)).astype(dtype)
    expected = np.exp(pixels / dtype(255))
    expected = dtype(255) * np.log(published(expected, 12, 0.5, region=(0, 0, 19, 23)))
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
    scaled = np.exp((pixels - pixels.min()) / (pixels.max() - pixels.min()))
    expected = np.log(published(scaled, 6, 0.2, region=region, correction=1))
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


@settings(max_examples=50, deadline=None)
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
    low, high = np.percentile([mean for mean, *_ in found], [20, 80])
    _, row, column = min(entry[1:] for entry in found if low <= entry[0] <= high)
    return [row, column, height, width]


@pytest.mark.parametrize("shape", [(97, 130), (64, 40), (32, 200), (20, 50), (5, 7)])
def test_quiet_region_is_the_least_varying_middling_window(shape):
    rng = np.random.default_rng(6)
    ramp = np.linspace(0.2, 1.0, shape[1])
    images = rng.gamma(9, 1 / 9, (2, *shape)) * ramp
    found = reference.quiet_regions(torch.from_numpy(images))
    assert found.tolist() == [brute_force_quiet_region(image) for image in images]


def test_quiet_region_passes_over_padding():
    image = np.random.default_rng(7).gamma(9, 1 / 9, (96, 96))
    image[:, :40] = 0.5  # a flat bar whose mean is middling
    row, column, height, width = reference.quiet_regions(torch.from_numpy(image)[None])[0].tolist()
    assert image[row : row + height, column : column + width].std() > 0
    flat = torch.full((1, 40, 40), 0.5, dtype=torch.float64)
    assert reference.quiet_regions(flat).tolist() == [[0, 0, 32, 32]]
