"""Levels of a pyramid: their sizes and evaluations, and what is carried between them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from busaug.config import StyleConfig, load_config
from busaug.errors import InputError
from busaug.style.pyramid import (
    carried,
    level_evaluations,
    level_extents,
    reduced,
    reduced_overlays,
)


def test_every_level_halves_the_next_down_to_the_least_side() -> None:
    assert level_extents((224, 160), 1) == ((224, 160),)
    assert level_extents((224, 160), 3) == ((56, 40), (112, 80), (224, 160))
    assert level_extents((256, 72), 3) == ((64, 32), (128, 36), (256, 72))


@given(st.integers(1, 2000), st.integers(2, 6), st.floats(0.01, 0.99))
def test_levels_share_the_evaluations(iterations: int, levels: int, coarse: float) -> None:
    counts = level_evaluations(StyleConfig(iterations=iterations, levels=levels, coarse=coarse))
    assert len(counts) == levels
    assert min(counts) >= 1
    assert len(set(counts[:-1])) <= 1
    if iterations > 4 * levels:
        assert abs(sum(counts[:-1]) - coarse * iterations) <= levels
        assert sum(counts) == iterations or counts[-1] == 1


def test_a_coarse_level_holds_the_means_of_squares() -> None:
    images = torch.rand(2, 3, 24, 16)
    expected = images.double().numpy().reshape(2, 3, 6, 4, 4, 4).mean(axis=(3, 5))
    np.testing.assert_allclose(reduced(images, (6, 4)), expected, rtol=1e-6)
    assert reduced(images, (24, 16)) is images


def test_a_coarse_pixel_is_an_overlay_where_a_tenth_of_it_is() -> None:
    overlays = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    overlays[0, 0, 0, :2] = True  # an eighth of a square of 16
    overlays[0, 0, 4, 4] = True  # a sixteenth
    assert reduced_overlays(overlays, (2, 2)).tolist() == [[[[True, False], [False, False]]]]


def test_what_changed_is_added_to_the_finer_level_and_nothing_else() -> None:
    start = torch.rand(2, 1, 32, 48)
    coarse = reduced(start, (16, 24))
    assert torch.equal(carried(start, coarse, coarse), start)
    lifted = carried(start, coarse, coarse + 0.125)
    torch.testing.assert_close(lifted, (start + 0.125).clamp(0, 1))


def test_a_pyramid_that_begins_too_small_is_refused() -> None:
    assert load_config(overrides=["style.levels=3"]).style.levels == 3
    with pytest.raises(InputError, match=r"style.levels=4 of style.size=224 begin at 28 px"):
        load_config(overrides=["style.levels=4"])
