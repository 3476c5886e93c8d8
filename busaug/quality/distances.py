"""Distances between sets of images in a feature space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def kernel_distance(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float:
    """KID: unbiased squared MMD of features (n, D) and (m, D), kernel (x.y / D + 1)^3.

    Binkowski et al. 2018. Zero on average for sets of one distribution, so that it may be below
    zero. Raises ValueError for sets of fewer than two.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"sets of {len(x)} and {len(y)}: each needs two images")
    a, b = x.astype(np.float64), y.astype(np.float64)
    within = [_others(_kernel(side, side)) for side in (a, b)]
    return float(sum(within) - 2 * _kernel(a, b).mean())


def _kernel(x: Floats, y: Floats) -> Floats:
    kernel: Floats = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _others(kernel: Floats) -> float:
    """Mean over pairs of different rows."""
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def frechet_distance(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float | None:
    """Squared Frechet distance of Gaussians fitted to features (n, D) and (m, D), in float64.

    |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)). None where a set has no more images than
    features: its covariance is then singular and the distance says more of n than of the images.
    """
    if min(len(x), len(y)) <= x.shape[1]:
        return None
    a, b = x.astype(np.float64), y.astype(np.float64)
    cov_a, cov_b = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (a, b))
    root = _root(cov_a)
    cross = np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)
    mean = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(mean + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(cross).sum())


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
