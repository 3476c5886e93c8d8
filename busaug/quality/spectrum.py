"""Power over spatial frequency, direction left out: the texture of an image set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def radial_spectrum(image: npt.NDArray[np.floating], bins: int = 32) -> Floats:
    """Mean power of a square image (S, S) in rings of frequency up to Nyquist, (bins,).

    The mean is taken off and a Hann window put over the image, so that its edges are no texture.
    Power is per pixel of a unit window: white noise of variance v has v in every ring. NaN in a
    ring without a frequency.
    """
    side = image.shape[0]
    if image.shape != (side, side):
        raise ValueError(f"{image.shape} is no square")
    window = np.hanning(side + 2)[1:-1]
    window = np.outer(window, window)
    centred = image.astype(np.float64) - image.mean()
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / (window**2).sum()
    frequency = np.fft.fftfreq(side)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    ring = np.minimum((radius * 2 * bins).astype(np.int64), bins)  # beyond Nyquist: not kept
    counts = np.bincount(ring.ravel(), minlength=bins + 1)[:bins].astype(np.float64)
    sums = np.bincount(ring.ravel(), power.ravel(), minlength=bins + 1)[:bins]
    means: Floats = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    return means


def spectral_distance(one: Floats, other: Floats) -> float:
    """Mean absolute difference of two spectra in decibels, over the rings that both have."""
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(10 * np.log10(one / other))
    kept = apart[np.isfinite(apart)]
    return float(kept.mean()) if len(kept) else float("nan")
