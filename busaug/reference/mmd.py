"""Style statistics as they are defined: readable, float64-clean, differentiable, slow.

Columns of features F (N, M) are samples x_k in R^N, one a position. Formulas: Li et al. 2017
(arXiv 1701.01036), with the cross term that the paper's Eq. 6 leaves out.
"""

from __future__ import annotations

import torch
from torch import Tensor


def polynomial_kernel(x: Tensor, y: Tensor, offset: float = 0.0) -> Tensor:
    """k(x, y) = (x^T y + c)^2 for columns: (N, M), (N, K) to (M, K)."""
    return (x.mT @ y + offset) ** 2


def mmd2_polynomial(x: Tensor, y: Tensor, offset: float = 0.0) -> Tensor:
    """MMD^2 of the column sets, biased V-statistic, by the kernel double sums (scalar)."""
    within_x = polynomial_kernel(x, x, offset).mean()
    within_y = polynomial_kernel(y, y, offset).mean()
    return within_x + within_y - 2 * polynomial_kernel(x, y, offset).mean()


def mmd2_gaussian(x: Tensor, y: Tensor) -> Tensor:
    """MMD^2 of the column sets under exp(-||a - b||^2 / 2 sigma^2), unbiased U-statistic (scalar).

    sigma^2 is the mean squared distance of the columns within x, within y and twice across.
    """
    m, k = x.shape[1], y.shape[1]
    within_x, within_y, across = (torch.cdist(a.mT, b.mT) ** 2 for a, b in ((x, x), (y, y), (x, y)))
    mean_x, mean_y = within_x.sum() / (m * (m - 1)), within_y.sum() / (k * (k - 1))
    variance = (mean_x + mean_y + 2 * across.mean()) / 4
    kernel_x, kernel_y, cross = (
        torch.exp(-d / (2 * variance)) for d in (within_x, within_y, across)
    )
    distinct_x = (kernel_x.sum() - m) / (m * (m - 1))  # a column against itself counts 1
    distinct_y = (kernel_y.sum() - k) / (k * (k - 1))
    return distinct_x + distinct_y - 2 * cross.mean()


def gram(features: Tensor) -> Tensor:
    """G = F F^T / M: (..., N, M) to (..., N, N)."""
    return features @ features.mT / features.shape[-1]


def style_loss_kernel(features: Tensor, target: Tensor, offset: float = 0.0) -> Tensor:
    """(1/4N^2) MMD^2 with the polynomial kernel against target features, for (N, M), (N, K)."""
    return mmd2_polynomial(features, target, offset) / (4 * features.shape[0] ** 2)


def style_loss_gram(features: Tensor, target: Tensor) -> Tensor:
    """(1/4N^2) ||F F^T / M - T||_F^2: the same value for T = Gram of the target features, c = 0.

    (..., N, M) and (..., N, N) to (...).
    """
    n = features.shape[-2]
    return ((gram(features) - target) ** 2).sum(dim=(-2, -1)) / (4 * n**2)


def style_loss_gram_gradient(features: Tensor, target: Tensor) -> Tensor:
    """d/dF of ``style_loss_gram``: (1/(N^2 M)) (G - T) F."""
    n, m = features.shape[-2:]
    return (gram(features) - target) @ features / (n**2 * m)


def histogram_specification(values: Tensor, quantiles: Tensor) -> Tensor:
    """Give ``values`` (..., M) the distribution of the sorted ``quantiles`` (..., M).

    The element of rank r takes the r-th quantile; tied elements take the mean of theirs.
    """
    flat, q = values.reshape(-1, values.shape[-1]), quantiles.reshape(-1, quantiles.shape[-1])
    out = torch.empty_like(flat)
    for row in range(flat.shape[0]):
        unique, inverse = torch.unique(flat[row], return_inverse=True)
        order = torch.argsort(flat[row], stable=True)
        sums = torch.zeros(len(unique), dtype=flat.dtype, device=flat.device)
        counts = torch.zeros_like(sums)
        sums.index_add_(0, inverse[order], q[row])
        counts.index_add_(0, inverse, torch.ones_like(flat[row]))
        out[row] = (sums / counts)[inverse]
    return out.reshape(values.shape)
