"""The gate: every reason, and the figures behind it."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity
from tolerances import TOLERANCES

from busaug.augment.gate import Difference, compare, newly_saturated, reject_reason, ssim_map
from busaug.config import GateConfig

GOOD = {"initial": 10.0, "final": 5.0}
DIFFERENCE = {"change": 0.1, "ssim": 0.8, "saturated": 0.0, "lesion_ssim": None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"final": float("nan")}, "not finite"),
        ({"initial": float("inf")}, "not finite"),
        ({"final": 10.0}, "loss not below initial"),
        ({"ssim": 0.996}, "near-copy of its content"),
        ({"saturated": 0.03}, "saturated"),
        ({"lesion_ssim": 0.01}, "lesion changed"),
        ({"lesion_ssim": 0.99}, None),
    ],
)
def test_reasons(change: dict[str, float], reason: str | None) -> None:
    losses = {key: change.get(key, value) for key, value in GOOD.items()}
    difference = Difference(**{key: change.get(key, DIFFERENCE[key]) for key in DIFFERENCE})
    assert reject_reason(**losses, difference=difference, config=GateConfig()) == reason


def test_saturation_counts_only_new_extremes() -> None:
    content = np.full((10, 10), 0.5, np.float32)
    content[:5] = 0.0  # the black surround of a scan
    image = content.copy()
    image[:5] = 0.0
    image[9] = 1.0
    assert newly_saturated(image, content).mean() == pytest.approx(0.1)


def test_ssim_of_a_constant_shift_follows_the_formula() -> None:
    """For flat images SSIM is its luminance term (2ab + c1) / (a^2 + b^2 + c1), c1 = 1e-4."""
    a, b = np.full((32, 32), 0.2, np.float32), np.full((32, 32), 0.6, np.float32)
    assert ssim_map(a, b) == pytest.approx(
        (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=TOLERANCES["ssim of flat images"]
    )
    assert ssim_map(a, a) == pytest.approx(1.0)


def _images() -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(0).random((2, 40, 40), dtype=np.float32))  # type: ignore[return-value]


def test_what_is_not_free_is_not_looked_at() -> None:
    content, noise = _images()
    overlay = np.zeros((40, 40), bool)
    overlay[:, :20] = True
    image = np.where(overlay, noise, content)
    found = compare(image, content, ~overlay)
    assert found.change == found.saturated == 0
    assert compare(image, content, overlay).change == pytest.approx(
        np.abs(noise - content)[:, :20].mean()
    )
    # windows centred five columns and more from the overlay see none of it
    far = np.zeros((40, 40), bool)
    far[:, 25:] = True
    assert compare(image, content, far).ssim == pytest.approx(1.0)
    assert compare(image, content, ~overlay).ssim < 0.99


def test_similarity_is_the_libraries_where_everything_is_free() -> None:
    content, noise = _images()
    expected = structural_similarity(
        content, noise, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
    )
    assert compare(content, noise, np.ones((40, 40), bool)).ssim == pytest.approx(expected)


def test_lesion_drift_is_seen_at_its_margin_and_not_beyond() -> None:
    content, noise = _images()
    lesion = np.zeros((40, 40), bool)
    lesion[15:25, 15:25] = True
    free = np.ones((40, 40), bool)
    beside = np.zeros((40, 40), bool)
    for distance, same in ((12, True), (3, False), (-4, False)):
        beside[:] = False
        beside[:, 25 + distance :] = True
        image = np.where(beside, noise, content)
        value = compare(image, content, free, lesion).lesion_ssim
        assert value is not None
        assert (value == pytest.approx(1.0)) == same
    assert compare(content, content, free).lesion_ssim is None
    assert compare(content, content, ~free | (np.arange(40) < 5), lesion).lesion_ssim is None
