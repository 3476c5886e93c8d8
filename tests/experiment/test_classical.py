"""The usual augmentations, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from tolerances import TOLERANCES

from busaug.data.images import FloatImage
from busaug.experiment.classical import (
    COPIES,
    TRANSFORMS,
    flips,
    match_mean_std,
    rotations,
    scalings,
)
from busaug.experiment.trivial import OPERATIONS
from busaug.seeding import draw


@pytest.fixture
def image() -> FloatImage:
    noise = gaussian_filter(draw("classical").random((41, 41)), 2)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_copies_are_images_that_depend_on_the_draws_alone(name: str, image: FloatImage) -> None:
    made = TRANSFORMS[name](image, draw("a"))
    again = TRANSFORMS[name](image, draw("a"))
    assert len(made) == COPIES
    for variant, same in zip(made, again, strict=True):
        assert variant.shape == image.shape
        assert variant.min() >= 0
        assert variant.max() <= 1
        np.testing.assert_array_equal(variant, same)
    if name in ("generator", "trivialaugment"):
        assert any(
            not np.array_equal(a, b)
            for a, b in zip(made, TRANSFORMS[name](image, draw("b")), strict=True)
        )


def test_flips_are_four_and_undo_themselves(image: FloatImage) -> None:
    made = flips(image, draw(0))
    assert len({variant.tobytes() for variant in made} | {image.tobytes()}) == 5
    for number, variant in enumerate(made):
        np.testing.assert_array_equal(flips(variant, draw(0))[number], image)


def test_rotations_turn_a_bright_spot_about_the_centre() -> None:
    spot = np.zeros((41, 41), np.float32)
    spot[18:23, 33:38] = 1  # fifteen pixels right of the centre
    for angle, turned in zip((-20, -10, 10, 20), rotations(spot, draw(0)), strict=True):
        rows, columns = np.indices(spot.shape) - 20
        row, column = (float((axis * turned).sum() / turned.sum()) for axis in (rows, columns))
        assert np.hypot(row, column) == pytest.approx(15, abs=TOLERANCES["moved spot, pixels"])
        found = np.rad2deg(np.arctan2(row, column))
        assert found == pytest.approx(angle, abs=TOLERANCES["turned spot, degrees"])


def test_scalings_widen_a_disc_about_the_centre() -> None:
    rows, columns = np.indices((81, 81)) - 40
    disc = (np.hypot(rows, columns) < 20).astype(np.float32)
    for factor, scaled in zip((0.8, 0.9, 1.1, 1.2), scalings(disc, draw(0)), strict=True):
        area = float(scaled.sum() / disc.sum())
        assert area == pytest.approx(factor**2, rel=TOLERANCES["scaled area"])


def test_mean_and_deviation_become_the_references(image: FloatImage) -> None:
    reference = 0.4 + 0.1 * image.T
    matched = match_mean_std(image, reference.astype(np.float32))
    assert float(matched.mean()) == pytest.approx(float(reference.mean()), rel=1e-5)
    assert float(matched.std()) == pytest.approx(float(reference.std()), rel=1e-5)
    flat = match_mean_std(np.full_like(image, 0.3), image)
    np.testing.assert_allclose(flat, image.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_at_no_strength_leave_the_image(name: str, image: FloatImage) -> None:
    levels = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    made = np.asarray(OPERATIONS[name](levels, 0.0))
    if name not in ("autocontrast", "equalise"):  # these have no strength
        np.testing.assert_array_equal(made, levels)
    assert OPERATIONS[name](levels, 1.0).size == levels.size
