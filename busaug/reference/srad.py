"""SRAD in plain torch: the readable, differentiable twin of the native op.

Speckle-reducing anisotropic diffusion after Yu & Acton, IEEE Trans. Image Processing 11(11):1260,
2002. Equation numbers are the paper's, as its public implementations cite them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WINDOW_PX = 32
"""Side of the windows among which the quietest is sought (less in a smaller image)."""
STRIDE_PX = 8

_NO_SPECKLE = 1e-6  # a window of smaller variation is clipped or padding, not tissue


def diffuse(
    images: Tensor,
    regions: Tensor | None,
    *,
    scales: int,
    iterations: int,
    time_step: float,
    q0: float = 1.0,
    decay: float = 0.0,
    form: int = 1,
    correction: int = 0,
    ranges: Tensor | None = None,
) -> Tensor:
    """The diffusion alone.

    Args:
        images: (N, H, W), floating point: intensities, or log-compressed pixels with ``ranges``.
        regions: Where q0 is measured at the start of every iteration, (N, 4) integers row, column,
            height, width; None for ``q0 exp(-decay t)`` (Eq. 37) with t = iteration x time_step.
        scales: Number of images kept, one after every ``iterations`` iterations.
        iterations: Iterations between two scales.
        time_step: An iteration adds time_step/4 times the divergence (Eq. 61); stable up to 1.
        q0: Speckle scale at t = 0 where ``regions`` is None.
        decay: Its rate.
        form: Diffusion coefficient, 1 rational (Eq. 33) or 2 exponential (Eq. 34).
        correction: Measured variances divide by the number of pixels less this (0 or 1).
        ranges: Lowest and highest log-compressed pixel of each image, (N, 2). Diffused is
            J = exp((I - low) / (high - low)); the result is taken back and limited to the range,
            which diffusion does not leave but for rounding.

    Returns:
        (scales, N, H, W), dtype of ``images``, differentiable.
    """
    compression = None if ranges is None else LogCompression(ranges)
    if compression is not None:
        images = compression.intensities(images)
    kept = []
    for iteration in range(scales * iterations):
        if regions is None:
            now = q0 * math.exp(-decay * time_step * iteration)
            q0_squared = images.new_full((len(images), 1, 1), now**2)
        else:
            q0_squared = measured_q0_squared(images, regions, correction).view(-1, 1, 1)
        images = _iterate(images, q0_squared, time_step, form)
        if (iteration + 1) % iterations == 0:
            kept.append(images if compression is None else compression.pixels(images))
    return torch.stack(kept)


def measured_q0_squared(images: Tensor, regions: Tensor, correction: int = 0) -> Tensor:
    """Variance over squared mean of a region of each image, (N,); 0 where the mean is not positive
    or the region is one pixel.

    Summed in float64, in the dtype of ``images``.
    """
    found = []
    for image, (row, column, height, width) in zip(images, regions.tolist(), strict=True):
        region = image[row : row + height, column : column + width].double()
        mean = region.mean()
        variance = ((region - mean) ** 2).sum() / max(region.numel() - correction, 1)
        found.append(torch.where(mean > 0, variance / mean**2, torch.zeros_like(mean)))
    return torch.stack(found).to(images.dtype) if found else images.new_zeros(0)


def _iterate(j: Tensor, q0_squared: Tensor, time_step: float, form: int) -> Tensor:
    north, south = _neighbour(j, 1, -1) - j, _neighbour(j, 1, +1) - j
    west, east = _neighbour(j, 2, -1) - j, _neighbour(j, 2, +1) - j
    c = _coefficient(j, (north, south, west, east), q0_squared, form)
    divergence = (
        c * north + _neighbour(c, 1, +1) * south + c * west + _neighbour(c, 2, +1) * east
    )  # Eq. 58
    return j + time_step / 4 * divergence


def _coefficient(
    j: Tensor, differences: tuple[Tensor, ...], q0_squared: Tensor, form: int
) -> Tensor:
    """Diffusion coefficient in [0, 1].

    q^2 = (G/2 - L^2/16) / (1 + L/4)^2 (Eq. 35) with G and L relative to the pixel and its square;
    both sides of the fraction are kept multiplied by the squared pixel, which may be zero. By
    Cauchy's inequality q^2 is not negative. Where it does not exceed q0^2 the coefficient is 1.
    """
    laplacian = sum(differences, torch.zeros_like(j))
    gradient = sum((d**2 for d in differences), torch.zeros_like(j))
    numerator = gradient / 2 - laplacian**2 / 16
    denominator = (j + laplacian / 4) ** 2

    excess = numerator - q0_squared * denominator  # q^2 - q0^2, times the denominator
    rough = excess > 0
    scale = q0_squared * (1 + q0_squared) * denominator
    ratio = excess / torch.where(rough, scale, torch.ones_like(scale))
    falling = 1 / (1 + ratio) if form == 1 else torch.exp(-ratio)
    return torch.where(rough, falling, torch.ones_like(falling))


def _neighbour(values: Tensor, axis: int, step: int) -> Tensor:
    """The neighbour ``step`` (-1 or +1) along ``axis``; at the border the pixel itself."""
    last = values.shape[axis] - 1
    index = torch.arange(last + 1, device=values.device).add(step).clamp(0, last)
    return values.index_select(axis, index)


def whole_regions(images: Tensor) -> Tensor:
    """Regions (N, 4) that cover each image of (N, H, W)."""
    count, height, width = images.shape
    return torch.tensor([0, 0, height, width], device=images.device).expand(count, 4)


def quiet_regions(images: Tensor, ranges: Tensor | None = None) -> Tensor:
    """The window of least variation of each image, (N, 4): row, column, height, width.

    Windows of 32x32 pixels (less where the image is smaller) start at every eighth row and column.
    Of those whose mean intensity lies between the 20th and the 80th percentile of all window means
    (rounded outwards to windows), the one with the smallest ratio of standard deviation to mean is
    taken, the first one in reading order. Windows without any variation (padding, clipped shadow)
    count only where there are no others. ``images`` and ``ranges`` as in ``diffuse``.
    """
    if not len(images):
        return torch.zeros((0, 4), dtype=torch.int64, device=images.device)
    if ranges is not None:
        images = LogCompression(ranges).intensities(images)
    height, width = (min(WINDOW_PX, extent) for extent in images.shape[1:])
    windows = images.detach().double().unfold(1, height, STRIDE_PX).unfold(2, width, STRIDE_PX)
    columns = windows.shape[2]
    means = windows.mean(dim=(-2, -1)).flatten(1)
    deviations = windows.std(dim=(-2, -1), correction=0).flatten(1)
    variation = deviations / means.clamp(min=1e-300)
    ordered = means.sort(dim=1).values
    last = means.shape[1] - 1
    low, high = ordered[:, last // 5, None], ordered[:, last - last // 5, None]
    middling = (means >= low) & (means <= high)
    speckled = middling & (variation > _NO_SPECKLE)
    allowed = torch.where(speckled.any(dim=1, keepdim=True), speckled, middling)
    best = torch.where(allowed, variation, torch.inf).argmin(dim=1)
    row, column = best // columns * STRIDE_PX, best % columns * STRIDE_PX
    extent = (torch.full_like(row, height), torch.full_like(row, width))
    return torch.stack([row, column, *extent], dim=1)


def pixel_ranges(images: Tensor) -> Tensor:
    """Lowest and highest pixel of each image (N, H, W), as (N, 2)."""
    return torch.stack([images.amin(dim=(-2, -1)), images.amax(dim=(-2, -1))], dim=1)


class LogCompression:
    """Between log-compressed pixels of ranges (N, 2) and intensities J = exp((I - low) / span)."""

    def __init__(self, ranges: Tensor) -> None:
        self._low, self._high = ranges[:, 0, None, None], ranges[:, 1, None, None]
        span = self._high - self._low
        self._span = torch.where(span > 0, span, torch.ones_like(span))

    def intensities(self, images: Tensor) -> Tensor:
        """From 1 to e; a constant image becomes 1."""
        return torch.exp((images - self._low) / self._span)

    def pixels(self, intensities: Tensor) -> Tensor:
        """Back, limited to the range."""
        pixels = self._low + self._span * torch.log(intensities)
        return pixels.clamp(self._low, self._high)


def rodinia_v1(images: Tensor, *, iterations: int, time_step: float = 0.5) -> Tensor:
    """As the Rodinia benchmark srad_v1: pixels 0-255 as exp(I/255), q0 of the whole image.

    (N, H, W) to (N, H, W), both in gray levels 0-255.
    """
    intensities = torch.exp(images / 255)
    regions = whole_regions(images)
    (result,) = diffuse(intensities, regions, scales=1, iterations=iterations, time_step=time_step)
    return 255 * torch.log(result)


def uva(
    images: Tensor, region: tuple[int, int, int, int], *, iterations: int, time_step: float
) -> Tensor:
    """As the University of Virginia's program: q0 from a region's sample variance.

    (N, H, W) of any range to (N, H, W) on the image's own range scaled to [0, 1].
    """
    intensities = LogCompression(pixel_ranges(images)).intensities(images)
    regions = torch.tensor(region, device=images.device).expand(len(images), 4)
    (result,) = diffuse(
        intensities, regions, scales=1, iterations=iterations, time_step=time_step, correction=1
    )
    return torch.log(result)
