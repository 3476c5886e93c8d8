"""The style loss: squared maximum mean discrepancy between the positions of two feature maps.

Positions are samples in R^N. Formulas: Li et al. 2017 (arXiv 1701.01036) with the cross term that
the paper's Eq. 6 leaves out; docs/method.md.
"""

from __future__ import annotations

import math
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from busaug.errors import InputError
from busaug.ops.mmd import (
    float_types,
    gram,
    gram_energy,
    style_loss_gram_op,
    style_loss_kernel_op,
    widened,
)
from busaug.ops.style_target import (
    FeatureTarget,
    GramTarget,
    StyleTarget,
    check_map,
    gram_operations,
    kernel_operations,
)
from busaug.seeding import torch_draw

Kernel = Literal["polynomial", "linear", "gaussian", "batchnorm"]


def style_loss(
    features: Tensor,
    target: StyleTarget | Tensor,
    *,
    kernel: Kernel = "polynomial",
    offset: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Style loss of each image of a batch, (1/4N^2) MMD^2 under a kernel k.

    With the polynomial kernel k(x, y) = (x^T y + c)^2, c = ``offset``, it equals
    (1/4N^2) (||F F^T / M - T||_F^2 + 2c ||mean(F) - mean(S)||^2), T = S S^T / M_s: for c = 0 the
    style loss of Gatys et al. 2016. It is computed exactly, over N x N matrices or over kernels of
    positions, whichever takes fewer operations. Formulas: Li et al. 2017, arXiv 1701.01036.

    Args:
        features: Feature maps F (B, N, M): batch, channels, positions. Float32 or float64 on the
            CPU; float32, bfloat16 or float16 on CUDA. Any strides; free of a copy where rows or
            columns are dense, as in ``maps.flatten(2)`` of either memory format.
        target: A ``GramTarget`` (matrices (B, N, N)) or a ``FeatureTarget`` (features
            S (B, N, M_s)). A plain tensor (B, N, M_s) with M_s != N stands for target features; a
            square one is refused, since it could be either. Matrices are of the dtype of
            ``features``, float32 for half types. No gradient flows to targets.
        kernel: ``"polynomial"``, or, by plain torch operations:
            ``"linear"``, k(x, y) = x^T y: MMD^2 = ||mean(F) - mean(S)||^2;
            ``"gaussian"``, exp(-||x - y||^2 / 2 sigma^2): the unbiased estimate of MMD^2 from
            min(M, M_s) // 2 pairs of positions on each side, which may be negative. sigma^2 is the
            mean squared distance of the pairs and constant in the backward pass;
            ``"batchnorm"``: (1/N) sum of squared differences of the channels' means and standard
            deviations in place of (1/4N^2) MMD^2.
        offset: c >= 0, for the polynomial kernel. Needs the target's means: those of a
            ``GramTarget`` have to be given.
        seed: Keys the pairing of the Gaussian kernel; draw anew for every evaluation.

    Returns:
        (B,) in the dtype of ``features``, float32 for half types; differentiable once in
        ``features``. NaN in an image or its target makes the loss and gradient of that image NaN
        and no other.

    Raises:
        InputError: device, dtype, rank or extents; an offset without means; an unknown kernel.
    """
    _check_options(kernel, offset)
    _check_features(features)
    target = _checked_target(features, target)
    if kernel == "gaussian":
        return _gaussian(features, _features_of(target, kernel), seed)
    if kernel == "batchnorm":
        return _batchnorm(features, _features_of(target, kernel))
    scale = 4 * features.shape[1] ** 2
    if kernel == "linear":
        return _mean_distance(features, target, "the linear kernel") / scale
    loss = _polynomial(features, target)
    if offset:
        loss = loss + 2 * offset / scale * _mean_distance(features, target, f"offset={offset:g}")
    return loss


def _polynomial(features: Tensor, target: StyleTarget) -> Tensor:
    """The loss without an offset, in the form with fewer operations."""
    channels, positions = features.shape[1:]
    by_gram = gram_operations(channels, positions)
    if isinstance(target, GramTarget):
        if by_gram <= kernel_operations(channels, positions, None):
            return _gram_form(features, target.matrix)
        return _kernel_form(features, target.matrix, None, target.energy)
    count = target.features.shape[2]
    by_gram += channels**2 * count  # for the target's matrix
    by_kernel = kernel_operations(channels, positions, count)
    if target.energy is None:
        by_kernel += min(channels, count) * channels * count
    if by_gram <= by_kernel:
        return _gram_form(features, gram(target.features))
    energy = gram_energy(target.features) if target.energy is None else target.energy
    return _kernel_form(features, None, target.features, energy)


def _gram_form(features: Tensor, matrix: Tensor) -> Tensor:
    loss, _ = style_loss_gram_op(features, matrix)
    return cast(Tensor, loss)


def _kernel_form(
    features: Tensor, matrix: Tensor | None, maps: Tensor | None, energy: Tensor
) -> Tensor:
    differentiate = torch.is_grad_enabled() and features.requires_grad
    loss, _ = style_loss_kernel_op(features, matrix, maps, energy, differentiate)
    return cast(Tensor, loss)


def _mean_distance(features: Tensor, target: StyleTarget, what: str) -> Tensor:
    """||mean(F) - mean(S)||^2, (B,)."""
    if target.mean is None:
        raise InputError(
            f"style_loss: {what} needs the target's means, and its GramTarget has none",
            remedy="Give GramTarget(matrix, mean) with the means over positions, (B, N)",
        )
    return (widened(features).mean(dim=2) - target.mean).square().sum(dim=1)


def _gaussian(features: Tensor, maps: Tensor, seed: int) -> Tensor:
    channels = features.shape[1]
    pairs = min(features.shape[2], maps.shape[2]) // 2
    if pairs == 0:
        raise InputError(
            f"style_loss: the Gaussian kernel pairs positions, and there are {features.shape[2]} "
            f"of the image and {maps.shape[2]} of the target",
            remedy="Give two positions or more of both",
        )
    x0, x1 = _drawn(features, pairs, seed, "image")
    y0, y1 = _drawn(maps, pairs, seed, "target")
    couples = ((x0, x1), (y0, y1), (x0, y1), (x1, y0))
    squares = torch.stack([(a - b).square().sum(dim=1) for a, b in couples])  # (4, B, pairs)
    variance = squares.detach().mean(dim=(0, 2))
    variance = torch.where(variance == 0, 1.0, variance)  # all positions equal: every kernel is 1
    kernel = torch.exp(-squares / (2 * variance[:, None]))
    return (kernel[0] + kernel[1] - kernel[2] - kernel[3]).mean(dim=1) / (4 * channels**2)


def _drawn(maps: Tensor, pairs: int, seed: int, side: str) -> tuple[Tensor, Tensor]:
    """Two sets of positions without repetition, (B, N, pairs) each; the same for every image."""
    count = maps.shape[2]
    order = torch.randperm(count, generator=torch_draw(seed, "style-pairs", side, count))
    drawn = widened(maps)[:, :, order[: 2 * pairs].to(maps.device)]
    return drawn[:, :, :pairs], drawn[:, :, pairs:]


def _batchnorm(features: Tensor, maps: Tensor) -> Tensor:
    image, target = widened(features), widened(maps)
    means = image.mean(dim=2) - target.mean(dim=2)
    deviations = image.std(dim=2, correction=0) - target.std(dim=2, correction=0)
    return (means.square() + deviations.square()).mean(dim=1)


def _check_options(kernel: str, offset: float) -> None:
    if kernel not in get_args(Kernel):
        raise InputError(
            f"style_loss: kernel={kernel!r}", remedy=f"Choose one of {', '.join(get_args(Kernel))}"
        )
    if not (offset >= 0 and math.isfinite(offset)):
        raise InputError(f"style_loss: offset={offset!r}", remedy="Give a number, 0 or more")
    if offset and kernel != "polynomial":
        raise InputError(
            f"style_loss: offset={offset:g} with the {kernel} kernel",
            remedy="Only the polynomial kernel has an offset",
        )


def _check_features(features: Tensor) -> None:
    check_map("features", features)
    if features.dtype not in float_types(features.device):
        allowed = ", ".join(str(dtype)[6:] for dtype in float_types(features.device))
        raise InputError(
            f"style_loss: features have the dtype {str(features.dtype)[6:]} on the device "
            f"{features.device}",
            remedy=f"Convert them; the device takes {allowed}",
        )


def _checked_target(features: Tensor, target: StyleTarget | Tensor) -> StyleTarget:
    """As a target that fits the features, or InputError."""
    if isinstance(target, Tensor):
        if target.ndim == 3 and target.shape[1] == target.shape[2]:
            raise InputError(
                f"style_loss: the target is a square tensor {tuple(target.shape)}, which can be "
                "a Gram matrix or features of N positions",
                remedy="Say which: busaug.GramTarget(matrix) or busaug.FeatureTarget(features)",
            )
        target = FeatureTarget(target)
    if not isinstance(target, StyleTarget):
        raise InputError(
            f"style_loss: the target is of the type {type(target).__name__}",
            remedy="Give a busaug.GramTarget, a busaug.FeatureTarget or a tensor of features",
        )
    given = target.matrix if isinstance(target, GramTarget) else target.features
    if given.shape[:2] != features.shape[:2]:
        raise InputError(
            f"style_loss: the target has the shape {tuple(given.shape)}, features "
            f"{tuple(features.shape)}",
            remedy="Give as many images and channels in both",
        )
    dtype = widened(features[:0]).dtype if isinstance(target, GramTarget) else features.dtype
    for tensor in (given, target.mean):
        if tensor is not None and (tensor.dtype != dtype or tensor.device != features.device):
            raise InputError(
                f"style_loss: the target is of the dtype {str(tensor.dtype)[6:]} on the device "
                f"{tensor.device}, for features of {str(features.dtype)[6:]} on {features.device}",
                remedy=f"Move it: target.to({str(features.device)!r}, {dtype})",
            )
    if given.requires_grad:
        raise InputError(
            "style_loss: the target requires a gradient, and none flows to targets",
            remedy="Detach it",
        )
    return target


def _features_of(target: StyleTarget, kernel: str) -> Tensor:
    if isinstance(target, GramTarget):
        raise InputError(
            f"style_loss: the {kernel} kernel against a GramTarget",
            remedy="Give the target's features, as a FeatureTarget",
        )
    return target.features
