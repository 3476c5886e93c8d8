"""Speckle and edges of B-mode images: what despeckling takes and what it leaves.

Figures are of the pixels as given: log-compressed ones have a higher SNR than the 1.91 of fully
developed speckle's amplitude.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, laplace

from busaug.ops.srad import quiet_window

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

RING = 0.15
"""Width of the ring about a lesion that it is contrasted with, over the root of its area."""


@dataclasses.dataclass(frozen=True)
class Speckle:
    """Figures of one image; None where undefined."""

    snr: float | None
    """Mean over standard deviation in the quietest window of the image as it was given."""
    enl: float | None
    """Equivalent number of looks, the square of it."""
    cnr: float | None
    """``contrast_to_noise``; None without a mask."""
    edges: float | None
    """``edge_correlation`` with the image as it was given."""


def speckle(image: Image, given: Image, lesion: Mask | None = None) -> Speckle:
    """Figures of a despeckled image (H, W) in [0, 1], ``given`` before; the two may be the same."""
    row, column, height, width = quiet_window(given)
    window = image[row : row + height, column : column + width].astype(np.float64)
    deviation = float(window.std())
    snr = float(window.mean()) / deviation if deviation > 0 else None
    return Speckle(
        snr,
        None if snr is None else snr**2,
        None if lesion is None else contrast_to_noise(image, lesion),
        edge_correlation(image, given),
    )


def contrast_to_noise(image: Image, lesion: Mask) -> float | None:
    """|difference of means| / root of the sum of variances, lesion against the ring about it.

    None where either is empty or nothing varies.
    """
    steps = max(1, round(RING * float(np.sqrt(lesion.sum()))))
    ring = binary_dilation(lesion, iterations=steps) & ~lesion
    if not lesion.any() or not ring.any():
        return None
    inside, outside = image[lesion].astype(np.float64), image[ring].astype(np.float64)
    noise = float(np.sqrt(inside.var() + outside.var()))
    return float(abs(inside.mean() - outside.mean())) / noise if noise > 0 else None


def edge_correlation(image: Image, given: Image) -> float | None:
    """Correlation of the Laplacians of two images (Sattar et al. 1997): 1 where all edges are kept.

    None where either has none.
    """
    a, b = (laplace(x.astype(np.float64)) for x in (image, given))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else None
