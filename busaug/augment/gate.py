"""Accept or reject an output, with the reason."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter
from skimage.metrics import structural_similarity

from busaug.config import GateConfig

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_REACH = 5
"""Pixels that a window of SSIM reaches to all sides of its centre."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How an output differs from its content where it was free to."""

    change: float
    """Mean absolute pixel change."""
    ssim: float
    saturated: float
    """``newly_saturated``."""
    lesion_ssim: float | None
    """SSIM on the lesion and around it; None without a mask, or where overlays cover it."""


def compare(
    image: FloatImage, content: FloatImage, free: Mask, lesion: Mask | None = None
) -> Difference:
    """Compare images (H, W) in [0, 1] over the pixels ``free`` of overlays, at least one.

    The lesion is looked at through every window of SSIM that sees a pixel of it, so that its
    margin counts, not its inside alone.
    """
    windows = ssim_map(image, content)
    lesion_ssim = None
    if lesion is not None:
        around = maximum_filter(lesion, 2 * _REACH + 1, mode="constant") & free
        lesion_ssim = float(windows[around].mean()) if around.any() else None
    # Windows cut by the border are left out as usual, unless nothing else is free.
    inside = np.zeros_like(free)
    inside[_REACH:-_REACH, _REACH:-_REACH] = free[_REACH:-_REACH, _REACH:-_REACH]
    return Difference(
        change=float(np.abs(image - content)[free].mean()),
        ssim=float(windows[inside if inside.any() else free].mean()),
        saturated=float(newly_saturated(image, content)[free].mean()),
        lesion_ssim=lesion_ssim,
    )


def ssim_map(image: FloatImage, reference: FloatImage) -> npt.NDArray[np.float64]:
    """Structural similarity of images (H, W) in [0, 1] about every pixel.

    Wang et al. 2004: Gaussian windows of sigma 1.5, 11 pixels wide.
    """
    _, windows = structural_similarity(
        image,
        reference,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(windows, np.float64)


def newly_saturated(image: FloatImage, content: FloatImage) -> Mask:
    """Pixels within half an 8-bit level of black or white, but not so in the content."""
    level = 0.5 / 255
    extreme = (image <= level) | (image >= 1 - level)
    before = (content <= 2 * level) | (content >= 1 - 2 * level)
    return np.asarray(extreme & ~before)


def reject_reason(
    *, initial: float, final: float, difference: Difference, config: GateConfig
) -> str | None:
    """Why an output is rejected, or None: the first that holds, worst first."""
    if not (math.isfinite(initial) and math.isfinite(final)):
        return "not finite"
    if final >= initial:
        return "loss not below initial"
    if difference.ssim > config.ssim_max:
        return "near-copy of its content"
    if difference.saturated > config.saturated_max:
        return "saturated"
    if difference.lesion_ssim is not None and difference.lesion_ssim < config.lesion_ssim_min:
        return "lesion changed"
    return None
