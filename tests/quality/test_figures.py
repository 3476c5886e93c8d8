"""Quality figures against closed forms and definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from tolerances import TOLERANCES
from torch import nn

from busaug.ops.srad import srad
from busaug.quality.distances import frechet_distance, kernel_distance
from busaug.quality.localisation import (
    gradient_times_input,
    points_at,
    random_map,
    relevance_mass,
)
from busaug.quality.memory import nearest
from busaug.quality.speckle import contrast_to_noise, edge_correlation, speckle
from busaug.quality.spectrum import radial_spectrum, spectral_distance


def test_kid_is_its_definition() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, 4)), rng.normal(1, 1, size=(5, 4))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 4 + 1) ** 3)

    expected = (
        np.mean([k(x[i], x[j]) for i in range(6) for j in range(6) if i != j])
        + np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
        - 2 * np.mean([k(a, b) for a in x for b in y])
    )
    assert kernel_distance(x, y) == pytest.approx(expected)
    with pytest.raises(ValueError, match="needs two"):
        kernel_distance(x[:1], y)


def test_kid_of_one_distribution_is_zero_on_average() -> None:
    rng = np.random.default_rng(2)
    found = [kernel_distance(*rng.normal(size=(2, 20, 8))) for _ in range(400)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    assert min(found) < 0
    shifted = kernel_distance(rng.normal(size=(20, 8)), rng.normal(1, 1, size=(20, 8)))
    assert shifted > np.mean(found) + 10 * np.std(found)


def test_frechet_of_scaled_and_moved_features() -> None:
    """y = 2 x + 1 has the covariance 4 A: the distance is D + tr A."""
    x = np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32)
    y = 2 * x + 1
    a = np.cov(x.astype(np.float64), rowvar=False)
    moved = ((x.astype(np.float64).mean(axis=0) + 1) ** 2).sum()
    found = frechet_distance(x, y)
    assert found == pytest.approx(moved + np.trace(a), rel=TOLERANCES["frechet, float32 features"])
    assert frechet_distance(x[:6], y) is None


def test_frechet_against_a_matrix_root() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    mean = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = mean + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected)


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    rng = np.random.default_rng(5)
    spectra = [radial_spectrum(rng.normal(0.5, 0.2, (64, 64)), bins=8) for _ in range(60)]
    np.testing.assert_allclose(
        np.mean(spectra, axis=0)[1:], 0.04, rtol=TOLERANCES["spectrum of white noise"]
    )
    doubled = spectral_distance(spectra[0], 4 * spectra[0])
    assert doubled == pytest.approx(10 * np.log10(4))
    with pytest.raises(ValueError, match="no square"):
        radial_spectrum(np.zeros((4, 5)))


def test_a_wave_lies_in_its_ring() -> None:
    wave = np.sin(2 * np.pi * 12 / 64 * np.arange(64))[None, :].repeat(64, axis=0)
    spectrum = radial_spectrum(wave, bins=16)
    assert spectrum.argmax() == int(12 / 64 * 2 * 16)


def test_speckle_before_and_after_despeckling() -> None:
    """Multiplied speckle on two plates: SNR as made, and despeckling raises SNR and CNR."""
    rng = np.random.default_rng(6)
    clean = np.full((96, 96), 0.25)
    lesion = np.zeros((96, 96), bool)
    lesion[30:60, 30:60] = True
    clean[lesion] = 0.5
    given = (clean * np.clip(rng.normal(1, 0.2, clean.shape), 0, 2)).clip(0, 1).astype(np.float32)
    before = speckle(given, given, lesion)
    assert before.snr == pytest.approx(1 / 0.2, rel=TOLERANCES["speckle snr of the quietest"])
    assert before.snr is not None
    assert before.enl == pytest.approx(before.snr**2)
    assert before.edges == pytest.approx(1.0)
    expected = 0.25 / np.hypot(0.2 * 0.5, 0.2 * 0.25)
    assert before.cnr == pytest.approx(expected, rel=TOLERANCES["contrast to noise"])
    after = speckle(srad(given, scales=1)[0], given, lesion)
    assert after.snr is not None
    assert after.cnr is not None
    assert after.edges is not None
    assert after.snr > 1.5 * before.snr
    assert before.cnr is not None
    assert after.cnr > before.cnr
    assert 0 < after.edges < 1


def test_flat_images_have_no_such_figures() -> None:
    flat = np.full((32, 32), 0.5, np.float32)
    assert edge_correlation(flat, flat) is None
    lesion = np.zeros((32, 32), bool)
    assert contrast_to_noise(flat, lesion) is None
    lesion[:] = True
    assert contrast_to_noise(flat, lesion) is None


def test_edges_turned_over_are_not_kept() -> None:
    image = np.random.default_rng(7).random((20, 20)).astype(np.float32)
    assert edge_correlation(1 - image, image) == pytest.approx(-1.0)


def test_a_copy_of_another_case_is_found() -> None:
    real = np.eye(4)
    made = np.array([[1, 0.1, 0, 0], [0.1, 0, 1, 0], [0, 0, 0, 1.0]])
    found = nearest(made, ["a", "b", "x"], real, ["a", "b", "c", "d"])
    assert found.other_index.tolist() == [1, 2, 3]
    assert found.own[0] > 0.99
    assert found.other[1] > 0.99
    assert np.isnan(found.own[2])
    assert found.nearer_to_another == 0.5


def test_relevance_inside_a_mask() -> None:
    relevance = torch.tensor([[4.0, -9.0], [1.0, 3.0]])
    lesion = torch.tensor([[True, True], [False, False]])
    assert relevance_mass(relevance, lesion) == 0.5
    assert points_at(relevance, lesion)
    assert not points_at(relevance, ~lesion)
    assert relevance_mass(-torch.ones(2, 2), lesion) is None


def test_gradient_times_input_of_a_linear_model_is_its_terms() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    images = torch.rand(3, 3, 2, 2)
    targets = torch.tensor([0, 1, 1])
    found = gradient_times_input(model, images, targets)
    weight = model[1].weight.view(2, 3, 2, 2)
    torch.testing.assert_close(found, (weight[targets] * images).sum(dim=1).detach())
    highest = gradient_times_input(model, images, None)
    torch.testing.assert_close(highest.sum(dim=(1, 2)), model(images).max(dim=1).values.detach())


def test_a_random_map_scores_the_share_of_the_area() -> None:
    lesion = torch.zeros(40, 40, dtype=torch.bool)
    lesion[:20, :20] = True
    masses = [relevance_mass(random_map(40, 40, index), lesion) for index in range(20)]
    assert np.mean(masses) == pytest.approx(0.25, rel=TOLERANCES["mass of a random map"])  # type: ignore[arg-type]
    assert torch.equal(random_map(4, 4, "a"), random_map(4, 4, "a"))
