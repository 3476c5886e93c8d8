"""The curvature that a batch of searches has met, and the directions that follow from it."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.style.metric import Metric

# The pixel change (root mean square) of a first step without curvature.
_FIRST_STEP_RMS = 0.005
# The scale of H0 is as a rule <s, y> / <y, H0 y> of the newest pair. Here it is the geometric mean
# over the pairs, with this memory from one to the next, times a factor: most of a change y of the
# gradient is not what the metric expects of the step s, which makes <y, H0 y> larger and so the
# quotient too small.
_SCALE_MEMORY = 0.7
_SCALE_FACTOR = 1.5


class Curvature:
    """The last pairs of steps s and gradient changes y of each image, and L-BFGS's -H g of them.

    The recursion of L-BFGS (Nocedal 1980) with H0 = a scale times the metric is, for pairs from
    the oldest to the newest, R_ij = s_i.y_j where i <= j (else 0) and D its diagonal:

        R a = S'g,  q = g - Y a,  r = H0 q,  R'c = D a - Y'r,  H g = r + S c

    (see Byrd, Nocedal & Schnabel 1994 for such forms). So a direction takes some products with all
    pairs at once in place of four with each.

    Slots are shared by the batch: an image that did not take a step leaves an empty one. All state
    stays where it is in memory, so that a CUDA graph may replay what is done here.
    """

    def __init__(self, slots: int, movable: Tensor) -> None:
        """``movable`` (B, C, H, W) is 1 where a pixel may move, else 0."""
        images, size = len(movable), movable[0].numel()
        self._first = _FIRST_STEP_RMS * movable.sum(dim=(1, 2, 3), keepdim=True).sqrt()
        self._steps = movable.new_zeros(images, slots, size)
        self._changes = torch.zeros_like(self._steps)
        self._known = movable.new_zeros(images, slots, dtype=torch.bool)
        self._products = movable.new_zeros(images, slots, slots)
        """s_i.y_j by slot, where pair j came after i; else out of date."""
        self._order = torch.arange(slots, device=movable.device)
        """Slots from the oldest to the newest pair."""
        self._scale = torch.zeros_like(self._first)
        """Zero where no pair is known."""

    def push(self, step: Tensor, change: Tensor, keep: Tensor, metric: Metric) -> None:
        """Add pairs (B, C, H, W) for the images ``keep`` (B, 1, 1, 1); others get an empty slot."""
        inner = dot(step, change)
        keep = keep & (inner > 1e-8 * norm(change) * norm(step))
        slot = self._order[:1].clone()
        self._order.copy_(self._order.roll(-1))
        for pairs, new in ((self._steps, step), (self._changes, change)):
            pairs.index_copy_(1, slot, torch.where(keep, new, 0.0).flatten(1)[:, None])
        self._known.index_copy_(1, slot, keep.flatten(1))
        newest = _rows(self._changes.index_select(1, slot))
        self._products.index_copy_(2, slot, _dots(self._steps, newest)[..., None])
        found = inner / metric.square(change).clamp_min(1e-30)
        mean = self._scale.pow(_SCALE_MEMORY) * found.clamp_min(0).pow(1 - _SCALE_MEMORY)
        mean = torch.where(self._scale > 0, mean, found)
        self._scale.copy_(torch.where(keep, mean, self._scale))

    def forget(self, images: Tensor) -> None:
        """Drop the pairs of the images marked in (B, 1, 1, 1)."""
        self._known.logical_and_(~images.flatten(1))
        self._scale.masked_fill_(images, 0.0)

    def direction(self, grad: Tensor, metric: Metric) -> Tensor:
        """-H grad of each image, (B, C, H, W); a short step where no pair is known."""
        known = self._known[:, self._order]
        upper = self._products[:, self._order][:, :, self._order].triu()
        upper = torch.where(known[:, :, None] & known[:, None, :], upper, 0.0)
        upper = upper + torch.diag_embed((~known).to(upper.dtype))
        lower, diagonal = upper.mT, upper.diagonal(dim1=1, dim2=2)

        right = torch.where(known, self._in_order(self._steps, grad), 0.0)
        first = torch.linalg.solve_triangular(upper, right[..., None], upper=True)[..., 0]
        q = grad - self._combined(self._changes, first, grad)
        r = metric(q)
        # The short step is only looked at where no pair has changed q.
        short = self._first / norm(r).clamp_min(1e-30)
        r = r * torch.where(self._scale > 0, _SCALE_FACTOR * self._scale, short)
        right = torch.where(known, diagonal * first - self._in_order(self._changes, r), 0.0)
        second = torch.linalg.solve_triangular(lower, right[..., None], upper=False)[..., 0]
        return -(r + self._combined(self._steps, second, grad))

    def _in_order(self, pairs: Tensor, image: Tensor) -> Tensor:
        """Inner products of each pair's part with (B, C, H, W), from the oldest on."""
        return _dots(pairs, _rows(image))[:, self._order]

    def _combined(self, pairs: Tensor, factors: Tensor, like: Tensor) -> Tensor:
        """The sum of the pairs' parts times their factors (B, slots), which are in order."""
        by_slot = torch.zeros_like(factors).index_copy_(1, self._order, factors)
        return torch.bmm(by_slot[:, None], pairs).view_as(like)


def _rows(images: Tensor) -> Tensor:
    """(B, ...) as (B, 1, N)."""
    return images.flatten(1)[:, None]


def _dots(pairs: Tensor, row: Tensor) -> Tensor:
    """Inner products (B, slots) of (B, slots, N) with (B, 1, N).

    The other way round, pairs times a column, the result of an image by itself is not that of the
    same image in a batch.
    """
    return torch.bmm(row, pairs.mT)[:, 0]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of images (B, C, H, W), (B, 1, 1, 1)."""
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)


def norm(a: Tensor) -> Tensor:
    """Euclidean norms of images (B, C, H, W), (B, 1, 1, 1)."""
    found: Tensor = torch.linalg.vector_norm(a, dim=(1, 2, 3), keepdim=True)
    return found
