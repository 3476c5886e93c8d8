"""Accept or reject an output, with the reason."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from busaug.config import GateConfig

FloatImage = npt.NDArray[np.float32]


def ssim(image: FloatImage, reference: FloatImage) -> float:
    """Structural similarity of images (H, W) in [0, 1] (Wang et al. 2004: Gaussian, sigma 1.5)."""
    value = structural_similarity(
        image,
        reference,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def newly_saturated(image: FloatImage, content: FloatImage) -> float:
    """Share of pixels within half an 8-bit level of black or white, but not so in the content."""
    level = 0.5 / 255
    extreme = (image <= level) | (image >= 1 - level)
    before = (content <= 2 * level) | (content >= 1 - 2 * level)
    return float((extreme & ~before).mean())


def reject_reason(
    *, initial: float, final: float, similarity: float, saturated: float, config: GateConfig
) -> str | None:
    """Why an output is rejected, or None: the first that holds, worst first."""
    if not (math.isfinite(initial) and math.isfinite(final)):
        return "not finite"
    if final >= initial:
        return "loss not below initial"
    if similarity > config.ssim_max:
        return "near-copy of its content"
    if saturated > config.saturated_max:
        return "saturated"
    return None
