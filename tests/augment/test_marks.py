"""Marks over a styled picture: against what is drawn on tissue that is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busaug.augment.marks import laid_over
from busaug.seeding import draw

Image = npt.NDArray[np.float32]
SIDE = 112
LINE = np.s_[30:80, 56]
MASK = np.s_[27:83, 53:60]


def tissue(level: float, texture: float = 0.0) -> Image:
    noise = draw("tissue", "marks").normal(size=(SIDE, SIDE))
    return np.clip(level + texture * noise, 0, 1).astype(np.float32)


def lined(background: Image, level: float) -> tuple[Image, npt.NDArray[np.bool_]]:
    """A line of one pixel, and a mask that is wider by three on each side."""
    content, mask = background.copy(), np.zeros((SIDE, SIDE), bool)
    content[LINE] = level
    mask[MASK] = True
    return content, mask


def pinned(content: Image, mask: npt.NDArray[np.bool_], change: float) -> Image:
    """As the optimiser leaves it: what is masked does not move."""
    return np.where(mask, content, np.clip(content + change, 0, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("ground", "level", "change"),
    [(0.2, 0.9, 0.3), (0.6, 0.95, -0.4), (0.7, 0.0, -0.3), (0.1, 0.35, 0.4)],
    ids=["brighter", "darker", "dark line", "faint line"],
)
def test_a_line_stays_to_the_bit_and_the_tissue_in_its_mask_follows(
    ground: float, level: float, change: float
) -> None:
    content, mask = lined(tissue(ground), level)
    found = laid_over(pinned(content, mask, change), content, mask)
    assert np.array_equal(found[LINE], content[LINE])
    rest = mask.copy()
    rest[LINE] = False
    # what the line's own pixels lend to the averages is left out of them: they are masked
    np.testing.assert_allclose(found[rest], ground + change, atol=1e-6)
    assert found.dtype == np.float32


def test_texture_follows_as_a_whole_and_keeps_its_grain() -> None:
    ground = tissue(0.3, texture=0.02)
    content, mask = lined(ground, 0.9)
    found = laid_over(pinned(content, mask, 0.3), content, mask)
    rest = mask.copy()
    rest[LINE] = False
    apart = found[rest] - (ground[rest] + 0.3)
    assert abs(apart.mean()) < 0.01
    assert np.abs(apart).max() < 0.03
    assert np.corrcoef(found[rest], ground[rest])[0, 1] > 0.9


def test_pixels_away_from_the_mask_keep_their_bits() -> None:
    content, mask = lined(tissue(0.3, texture=0.05), 0.9)
    image = pinned(content, mask, 0.2)
    image += np.where(mask, 0, tissue(0.0, texture=0.01)).astype(np.float32)
    found = laid_over(image, content, mask)
    near = np.zeros_like(mask)
    near[26:84, 52:61] = True
    assert np.array_equal(found[~near], image[~near])


def test_what_the_optimiser_does_beside_the_mask_is_replaced() -> None:
    content, mask = lined(tissue(0.2), 0.9)
    image = pinned(content, mask, 0.3)
    image[26, 53:60], image[83, 53:60] = 1.0, 0.0  # ringing
    found = laid_over(image, content, mask)
    np.testing.assert_allclose(found[[26, 83], 53:60], 0.5, atol=1e-6)


def test_the_black_surround_stays_black_and_no_mark_brightens_it() -> None:
    content, mask = lined(tissue(0.3), 0.9)
    content[:, :20], mask[:, :20] = 0.0, True
    content[5:9, 4:16] = 0.9  # a caption in it
    image = pinned(content, mask, 0.3)
    found = laid_over(image, content, mask)
    assert np.array_equal(found[:, :20], content[:, :20])
    assert np.array_equal(found[:, 20:40], image[:, 20:40])
    assert found[50, 54] == pytest.approx(0.6, abs=1e-6)


def test_a_dark_outline_is_part_of_a_bright_mark() -> None:
    content, mask = lined(tissue(0.5), 0.95)
    content[30:80, [55, 57]] = 0.0
    found = laid_over(pinned(content, mask, 0.2), content, mask)
    assert np.array_equal(found[30:80, 55:58], content[30:80, 55:58])
    np.testing.assert_allclose(found[30:80, [53, 54, 58, 59]], 0.7, atol=1e-6)


def test_without_masks_or_with_hardly_anything_free_nothing_is_made_up() -> None:
    content, mask = lined(tissue(0.3), 0.9)
    image = pinned(content, mask, 0.3)
    assert np.array_equal(laid_over(image, content, np.zeros_like(mask)), image)
    nearly = np.ones_like(mask)
    nearly[40, 40] = False
    assert np.array_equal(laid_over(image, content, nearly), np.where(nearly, content, image))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.6))
def test_whatever_the_mask_levels_stay_in_range_and_unchanged_pictures_unchanged(
    seed: int, part: float
) -> None:
    random = draw("masks", seed)
    mask = random.random((40, 56)) < part
    mask[:12, :12] = False
    content, image = random.random((2, 40, 56)).astype(np.float32)
    found = laid_over(image, content, mask)
    assert np.isfinite(found).all()
    assert 0 <= found.min() <= found.max() <= 1
    assert np.array_equal(laid_over(content, content, mask), content)
