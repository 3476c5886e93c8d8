"""How far speckle fell and what stayed: figures of one image through its scales.

All are of pixel values as they are shown (log-compressed in B-mode), in areas that are chosen once,
on the original.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_laplace
from skimage.filters import threshold_otsu

from busaug.config import Region

Stack = npt.NDArray[np.float32]
"""An image and its scales (1 + L, H, W), the original first."""
Mask = npt.NDArray[np.bool_]

_SMOOTH = 0.02  # of the shorter side: what is wider than speckle
_BAND = (2.0, 0.1)  # around a lesion: from so many pixels to that part of the shorter side
_EDGE_PX = 2.0


@dataclasses.dataclass(frozen=True)
class Figures:
    """One value for the original and each scale; None where it is not defined."""

    looks: tuple[float | None, ...]
    """Equivalent number of looks, (mean / standard deviation)^2, in the quietest window."""
    contrast: tuple[float | None, ...]
    """Contrast-to-noise ratio |m1 - m2| / sqrt(s1^2 + s2^2) of two areas."""
    edges: tuple[float | None, ...]
    """Edge preservation: correlation with the original behind a Laplacian of a Gaussian of 2 px
    (after Sattar et al., IEEE Trans. Image Process. 6:888, 1997, whose Laplacian is not smoothed
    and takes speckle for edges); 1 for the original."""


def measure(stack: Stack, window: Region, areas: tuple[Mask, Mask]) -> Figures:
    """The figures of a stack; ``window`` is that of ``quiet_window``, ``areas`` that of the
    contrast (``lesion_and_band`` or ``dark_and_bright``).
    """
    images = stack.astype(np.float64)
    first = _edges(images[0])
    return Figures(
        looks=tuple(1 / v**2 if v > 0 else None for v in variation(stack, window)),
        contrast=tuple(_contrast(image, areas) for image in images),
        edges=tuple(_correlation(first, _edges(image)) for image in images),
    )


def variation(stack: Stack, window: Region) -> list[float]:
    """Standard deviation over mean in a window, of each image; 0 where it is black."""
    row, column, height, width = window
    inside = stack[:, row : row + height, column : column + width].astype(np.float64)
    means, deviations = inside.mean(axis=(1, 2)), inside.std(axis=(1, 2))
    found: list[float] = np.divide(
        deviations, means, out=np.zeros_like(means), where=means > 0
    ).tolist()
    return found


def lesion_and_band(lesion: Mask) -> tuple[Mask, Mask]:
    """The lesion, and the tissue around it up to a tenth of the image's shorter side."""
    away = distance_transform_edt(~lesion)
    nearest, share = _BAND
    return lesion, (away > nearest) & (away <= max(share * min(lesion.shape), nearest + 2))


def dark_and_bright(image: npt.NDArray[np.float32]) -> tuple[Mask, Mask]:
    """What lies below and above Otsu's threshold of the smoothed image."""
    smooth = gaussian_filter(image.astype(np.float64), _SMOOTH * min(image.shape))
    dark = smooth <= threshold_otsu(smooth)
    return dark, ~dark


def _contrast(image: npt.NDArray[np.float64], areas: tuple[Mask, Mask]) -> float | None:
    one, other = (image[area] for area in areas)
    if not one.size or not other.size:
        return None
    noise = float(np.sqrt(one.var() + other.var()))
    return abs(float(one.mean() - other.mean())) / noise if noise > 0 else None


def _edges(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = gaussian_laplace(image, _EDGE_PX)
    found -= found.mean()
    return found


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float | None:
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / norm if norm > 0 else None
