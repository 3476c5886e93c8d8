"""The polynomial-kernel style loss with its gradient, batched.

(1/4N^2) MMD^2 with k(x, y) = (x^T y)^2 equals (1/4N^2) ||F F^T / M - T||_F^2 for T the Gram matrix
of the target's columns, so no M x M kernel matrix is formed (Li et al. 2017).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """G = F F^T / M for sample matrices (..., N, M): (..., N, N)."""
    return features @ features.mT / features.shape[-1]


class _GramLoss(torch.autograd.Function):
    """Keeps the difference matrix, so that the backward pass is one matrix product."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor) -> Tensor:
        n, m = features.shape[-2:]
        difference = torch.baddbmm(target, features, features.mT, beta=-1.0, alpha=1.0 / m)
        ctx.save_for_backward(features, difference)
        return difference.square().sum(dim=(-2, -1)) / (4 * n**2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None]:
        features, difference = ctx.saved_tensors
        n, m = features.shape[-2:]
        weight = grad_loss.view(-1, 1, 1) / (n**2 * m)
        return torch.bmm(difference * weight, features), None


def style_loss(features: Tensor, target: Tensor) -> Tensor:
    """Style loss of each image of a batch.

    Args:
        features: Sample matrices (B, N, M), float32 or float64.
        target: Symmetric target matrices (B, N, N), of the same dtype; no gradient flows to them.

    Returns:
        (B,), differentiable once in ``features``.
    """
    loss: Tensor = _GramLoss.apply(features, target)  # type: ignore[no-untyped-call]
    return loss
