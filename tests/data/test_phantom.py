"""Simulated images: speckle statistics of theory, lesion signs of the textbooks, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from tolerances import TOLERANCES

from busaug.data.bmode import FIELD_MM, Scanner, envelope
from busaug.data.ingest import prepare
from busaug.data.phantom import phantom, write_phantoms
from busaug.seeding import draw

PLAIN = Scanner(
    axial_mm=0.5,
    lateral_mm=0.8,
    focus_mm=15.0,
    looks=1,
    noise_db=-90.0,
    gain_db=0.0,
    tgc_db=0.0,
    dynamic_range_db=60.0,
    gamma=1.0,
)


@pytest.mark.parametrize("size", [96, 256])
def test_speckle_of_even_tissue_is_rayleigh(size):
    """Mean over deviation is sqrt(pi / (4 - pi)) = 1.913, the mean square that of the tissue."""
    looks = [envelope(np.full((size, size), 3.0), PLAIN, draw("looks", n)) for n in range(6)]
    values = np.stack(looks)
    rayleigh = np.sqrt(np.pi / (4 - np.pi))
    assert values.mean() / values.std() == pytest.approx(
        rayleigh, rel=TOLERANCES["speckle statistics"]
    )
    assert (values**2).mean() == pytest.approx(9.0, rel=TOLERANCES["speckle statistics"])
    # the whole distribution: quantiles of a Rayleigh variable of mean square 9
    levels = np.array([0.1, 0.5, 0.9])
    theory = 3 * np.sqrt(-np.log(1 - levels))
    assert np.quantile(values, levels) == pytest.approx(
        theory, rel=TOLERANCES["speckle statistics"]
    )


def test_power_does_not_depend_on_depth():
    power = np.mean([envelope(np.ones((96, 96)), PLAIN, draw(n)) ** 2 for n in range(40)], (0, 2))
    assert np.abs(power.reshape(8, 12).mean(1) - 1).max() < TOLERANCES["speckle power by depth"]


def test_resolution_is_the_scanners_at_the_focus():
    """A point target's echo is as wide as the beam, in mm, and half as bright at its edge."""
    size = 256
    points = np.zeros((size, size))
    points[96, size // 2] = 1.0  # 15.1 mm, at the focus
    echo = np.mean([envelope(points, PLAIN, draw("point", n)) for n in range(20)], 0)
    profile = echo.max(0)
    width_mm = (profile > profile.max() / 2).sum() * FIELD_MM / size
    assert width_mm == pytest.approx(PLAIN.lateral_mm, abs=2 * FIELD_MM / size)


def ring(lesion):
    return binary_dilation(lesion, iterations=8) & ~binary_dilation(lesion, iterations=2)


@pytest.mark.parametrize("label", ["benign", "malignant"])
def test_lesions_are_darker_than_their_surroundings(label):
    for seed in range(20):
        image, lesion = phantom(label, seed, 96)
        assert image.dtype == np.float32
        assert 0.0 <= image.min() < image.max() <= 1.0
        assert 40 < lesion.sum() < 96 * 96 / 3
        assert image[lesion].mean() < image[ring(lesion)].mean()


def behind(image, lesion):
    """Mean gray just behind the lesion less that at the same depth beside it."""
    rows, columns = np.flatnonzero(lesion.any(1)), np.flatnonzero(lesion.any(0))
    depth = slice(rows[-1] + 3, rows[-1] + 23)
    quarter = len(columns) // 4
    centre = columns[quarter : len(columns) - quarter]
    beside = np.ones(image.shape[1], bool)
    beside[max(columns[0] - 4, 0) : columns[-1] + 5] = False
    return image[depth][:, centre].mean() - image[depth][:, beside].mean()


def test_malignant_lesions_shadow_and_benign_ones_enhance():
    shadow = [behind(*phantom("malignant", seed, 96)) for seed in range(30)]
    enhancement = [behind(*phantom("benign", seed, 96)) for seed in range(30)]
    assert np.mean(np.array(shadow) < 0) > 0.9
    assert np.mean(np.array(enhancement) > 0) > 0.8
    assert np.median(shadow) < -0.05
    assert np.median(enhancement) > 0.05


def roughness(lesion):
    """Boundary pixels over those of a disc of the same area."""
    boundary = (lesion & ~(~binary_dilation(~lesion))).sum()
    return boundary / np.sqrt(4 * np.pi * lesion.sum())


def test_shapes_are_those_of_their_class():
    benign = [phantom("benign", seed, 128)[1] for seed in range(15)]
    malignant = [phantom("malignant", seed, 128)[1] for seed in range(15)]

    def tallness(lesion):
        return lesion.any(1).sum() / lesion.any(0).sum()

    assert max(map(roughness, benign)) < np.median(list(map(roughness, malignant)))
    assert all(tallness(lesion) < 1 for lesion in benign)
    assert np.median(list(map(tallness, malignant))) > 1


def test_content_is_keyed_by_label_and_seed_alone():
    image, lesion = phantom("benign", 3, 64)
    phantom("malignant", 9, 64)
    again, lesion_again = phantom("benign", 3, 64)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(lesion, lesion_again)
    assert np.abs(image - phantom("benign", 4, 64)[0]).mean() > 0.05
    assert np.abs(image - phantom("malignant", 3, 64)[0]).mean() > 0.05


def test_anatomy_does_not_depend_on_the_size():
    for label in ("benign", "malignant"):
        small, large = phantom(label, 5, 64)[1], phantom(label, 5, 128)[1]
        halved = large.reshape(64, 2, 64, 2).mean((1, 3)) > 0.5
        union = (small | halved).sum()
        assert (small & halved).sum() / union > 0.9


def test_scanners_differ():
    """Style transfer needs styles: gain and speckle differ from image to image."""
    images = [phantom("benign", seed, 64)[0] for seed in range(12)]
    assert np.std([image.mean() for image in images]) > 0.02
    fine = [np.abs(np.diff(image, axis=1)).mean() / image.std() for image in images]
    assert max(fine) / min(fine) > 1.3


def test_another_label_is_refused():
    with pytest.raises(ValueError, match="benign or malignant, not 'normal'"):
        phantom("normal", 0, 64)


def test_a_written_set_is_what_prepare_reads(tmp_path):
    write_phantoms(tmp_path / "phantoms", per_class=5, size=48, seed=0)
    names = sorted(p.name for p in (tmp_path / "phantoms" / "benign").iterdir())
    assert names[:2] == ["benign (1).png", "benign (1)_mask.png"]
    summary = prepare([tmp_path / "phantoms"], tmp_path / "catalog")
    assert sum(sum(counts.values()) for counts in summary.images.values()) == 10
    assert summary.skipped_images == summary.dropped_images == 0
