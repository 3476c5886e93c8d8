"""The metric of steps: what the gradient of a style loss is preconditioned by.

Curvature differs between frequencies and between parts of a picture by far more than the pairs of
L-BFGS can learn in a hundred evaluations. docs/method.md has the figures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from busaug.config import StyleConfig

# The diagonal: side of its window, memory from one evaluation to the next, power of the mean
# square, and what is added to that, relative to its mean.
_WINDOW = 9
_MEMORY = 0.9
_EQUALISE = 0.75
_QUIETEST = 1e-3
# Sides of the windows whose means are added to a step, and how often. The first layers hardly see
# what varies over more than some ten pixels: there the loss curves a fortieth as much as where it
# curves most.
_BROAD = ((5, 1.0), (13, 1.5))


def band_limit(images: Tensor, passes: float) -> Tensor:
    """Binomial smoothing [1 2 1]/4 along both axes of (B, C, H, W), ``passes`` times.

    It has a zero at the highest frequency. A network that samples every second pixel cannot tell
    patterns there from others, and steps along the plain gradient print a fine checkerboard into
    dark regions. Scanners are band-limited too. With replicated borders the operator is symmetric,
    as a preconditioner has to be. The fraction f of a pass is [f, 4 - 2f, f]/4, which leaves
    1 - f of the highest frequency.
    """
    whole = int(passes)
    for part in (*(1.0 for _ in range(whole)), passes - whole):
        if part > 0:
            side, middle = 0.25 * part, 1 - 0.5 * part
            padded = functional.pad(images, (1, 1, 0, 0), mode="replicate")
            images = side * (padded[..., :-2] + padded[..., 2:]) + middle * images
            padded = functional.pad(images, (0, 0, 1, 1), mode="replicate")
            images = side * (padded[..., :-2, :] + padded[..., 2:, :]) + middle * images
    return images


def smoothing_at(config: StyleConfig, progress: float) -> float:
    """Passes of the filter after the share ``progress`` (0 to 1) of the evaluations."""
    return config.smoothing * (1 - progress * (1 - config.smoothing_left))


def broadened(values: Tensor) -> Tensor:
    """(B, C, H, W) with more of its low frequencies: symmetric, eigenvalues of one and more."""
    out = values
    for side, weight in _BROAD:
        # Pooled on beyond the border: means of means are then one product with a Toeplitz matrix.
        wide = functional.pad(values, (side - 1,) * 4)
        out = out + weight * _window_mean(_window_mean(wide, side), side)
    return out


def _window_mean(values: Tensor, side: int) -> Tensor:
    """The mean over each whole window of ``side``² pixels, (B, C, H - side + 1, W - side + 1)."""
    rows = functional.avg_pool2d(values, (1, side), stride=1)
    found: Tensor = functional.avg_pool2d(rows, (side, 1), stride=1)
    return found


class Metric:
    """H0 = S B D B S, the guess of the inverse Hessian that curvature pairs are laid over.

    S = ``band_limit``, B = ``broadened``. D is diagonal: a power of the mean square of the
    band-limited gradient, over a window of pixels and the last evaluations; zero where a pixel may
    not move. Gradients of a style loss differ by orders of magnitude between echo-free and bright
    parts of a picture.
    """

    def __init__(self, grad: Tensor, movable: Tensor, config: StyleConfig) -> None:
        """From the gradient (B, C, H, W) at the start; pixels that may not move count nowhere."""
        self._config = config
        self._movable = movable
        self._neighbours = self._around(movable).clamp_min(1e-30)
        self._passes = config.smoothing
        self._square = self._smooth(grad).square()
        self._diagonal = self._equaliser()

    def update(self, grad: Tensor, taken: Tensor, progress: float) -> None:
        """Learn from the gradients of the images ``taken`` (B, 1, 1, 1)."""
        self._passes = smoothing_at(self._config, progress)
        square = _MEMORY * self._square + (1 - _MEMORY) * self._smooth(grad).square()
        self._square = torch.where(taken, square, self._square)
        self._diagonal = self._equaliser()

    def __call__(self, values: Tensor) -> Tensor:
        """H0 values, (B, C, H, W); of both, what is where a pixel may move."""
        inner = self._diagonal * broadened(self._smooth(values * self._movable))
        return self._movable * self._smooth(broadened(inner))

    def _equaliser(self) -> Tensor:
        local = self._movable * self._around(self._movable * self._square) / self._neighbours
        count = self._movable.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1.0)
        mean = (local.sum(dim=(1, 2, 3), keepdim=True) / count).clamp_min(1e-30)
        equaliser: Tensor = self._movable * (local / mean + _QUIETEST) ** -_EQUALISE
        return equaliser

    def _smooth(self, values: Tensor) -> Tensor:
        return band_limit(values, self._passes)

    @staticmethod
    def _around(values: Tensor) -> Tensor:
        """The mean over the window about each pixel, zero outside the image."""
        return _window_mean(functional.pad(values, (_WINDOW // 2,) * 4), _WINDOW)
