"""The metric of steps: what the gradient of a style loss is preconditioned by.

Curvature differs between frequencies and between parts of a picture by far more than the pairs of
L-BFGS can learn in a hundred evaluations (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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


def band_limit(images: Tensor, parts: Sequence[Tensor | float]) -> Tensor:
    """Binomial smoothing [1 2 1]/4 along both axes of (B, C, H, W), a pass for each of ``parts``.

    It has a zero at the highest frequency. A network that samples every second pixel cannot tell
    patterns there from others, and steps along the plain gradient print a fine checkerboard into
    dark regions. Scanners are band-limited too. With replicated borders the operator is symmetric,
    as a preconditioner has to be. The part f of a pass (0 to 1) is [f, 4 - 2f, f]/4, which leaves
    1 - f of the highest frequency.
    """
    for part in parts:
        side, middle = 0.25 * part, 1 - 0.5 * part
        padded = functional.pad(images, (1, 1, 0, 0), mode="replicate")
        images = side * (padded[..., :-2] + padded[..., 2:]) + middle * images
        padded = functional.pad(images, (0, 0, 1, 1), mode="replicate")
        images = side * (padded[..., :-2, :] + padded[..., 2:, :]) + middle * images
    return images


def smoothing_at(config: StyleConfig, progress: Tensor) -> Tensor:
    """Parts of passes of the filter after the share ``progress`` (1,) of the evaluations.

    They fall with the cube of what is left to do. As many as there are at the start, later some of
    zero, so that what is done with them never depends on a value.
    """
    left = config.smoothing_left
    passes = config.smoothing * (left + (1 - left) * (1 - progress) ** 3)
    whole = torch.arange(math.ceil(config.smoothing), device=progress.device)
    return (passes - whole).clamp(0.0, 1.0)


class _Filter:
    """A symmetric filter along both axes, zero outside the image, as products with two matrices.

    On the CPU, pooling takes ten times as long.
    """

    def __init__(self, kernel: Callable[[Tensor], Tensor], like: Tensor) -> None:
        """``kernel`` of the distance in pixels, for images as ``like`` (B, C, H, W)."""
        self._rows, self._columns = (
            kernel(_distances(size, like)).to(like.dtype) for size in like.shape[-2:]
        )

    def __call__(self, images: Tensor) -> Tensor:
        planes = images.flatten(0, 1)
        # A product a plane: what an image gets does not depend on how many there are.
        rows, columns = (m.expand(len(planes), -1, -1) for m in (self._rows, self._columns))
        return torch.bmm(torch.bmm(rows, planes), columns).view(images.shape)


def _distances(size: int, like: Tensor) -> Tensor:
    places = torch.arange(size, device=like.device)
    return (places[:, None] - places).abs()


class Broadening:
    """Adds to a step more of its low frequencies: symmetric, with eigenvalues of one and more."""

    def __init__(self, like: Tensor) -> None:
        """For images of the shape, device and dtype of ``like`` (B, C, H, W)."""
        self._parts = [(weight, _Filter(_tent(side), like)) for side, weight in _BROAD]

    def __call__(self, values: Tensor) -> Tensor:
        out = values
        for weight, means in self._parts:
            out = out + weight * means(values)
        return out


def _tent(side: int) -> Callable[[Tensor], Tensor]:
    """Means over windows of means over windows of ``side`` pixels."""
    return lambda distance: (side - distance).clamp_min(0) / side**2


def _window(distance: Tensor) -> Tensor:
    """Means over windows of _WINDOW pixels."""
    return (distance <= _WINDOW // 2) / _WINDOW


class Metric:
    """H0 = S B D B S, the guess of the inverse Hessian that curvature pairs are laid over.

    S = ``band_limit``, B = ``Broadening``. D is diagonal: a power of the mean square of the
    band-limited gradient, over a window of pixels and the last evaluations; zero where a pixel may
    not move. Gradients of a style loss differ by orders of magnitude between echo-free and bright
    parts of a picture.
    """

    def __init__(self, grad: Tensor, movable: Tensor, config: StyleConfig) -> None:
        """From the gradient (B, C, H, W) at the start; pixels that may not move count nowhere."""
        self._config = config
        self._movable = movable
        self._broadened = Broadening(grad)
        self._around = _Filter(_window, grad)
        self._neighbours = self._around(movable).clamp_min(1e-30)
        self._parts = smoothing_at(config, torch.zeros(1, dtype=torch.float64, device=grad.device))
        self._square = self._smooth(grad).square()
        self._diagonal = self._equaliser()

    def update(self, grad: Tensor, taken: Tensor, progress: Tensor) -> None:
        """Learn from the gradients of the images ``taken`` (B, 1, 1, 1).

        ``progress`` (1,) is the share of the evaluations that is done. All state stays where it is
        in memory, so that a CUDA graph may replay this.
        """
        self._parts.copy_(smoothing_at(self._config, progress))
        square = _MEMORY * self._square + (1 - _MEMORY) * self._smooth(grad).square()
        self._square.copy_(torch.where(taken, square, self._square))
        self._diagonal.copy_(self._equaliser())

    def __call__(self, values: Tensor) -> Tensor:
        """H0 values, (B, C, H, W); of both, what is where a pixel may move."""
        inner = self._diagonal * self._inner(values)
        return self._movable * self._smooth(self._broadened(inner))

    def square(self, values: Tensor) -> Tensor:
        """Inner products <values, H0 values>, (B, 1, 1, 1), for half the cost of H0 values."""
        return (self._diagonal * self._inner(values).square()).sum(dim=(1, 2, 3), keepdim=True)

    def _inner(self, values: Tensor) -> Tensor:
        return self._broadened(self._smooth(values * self._movable))

    def _equaliser(self) -> Tensor:
        local = self._movable * self._around(self._movable * self._square) / self._neighbours
        count = self._movable.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1.0)
        mean = (local.sum(dim=(1, 2, 3), keepdim=True) / count).clamp_min(1e-30)
        equaliser: Tensor = self._movable * (local / mean + _QUIETEST) ** -_EQUALISE
        return equaliser

    def _smooth(self, values: Tensor) -> Tensor:
        return band_limit(values, self._parts.unbind())
