"""Polynomial-kernel MMD between feature maps, as torch ops: in Gram form and in kernel form.

For features F (N channels, M positions) and a symmetric target T (N, N), which may be the Gram
matrix S S^T / M_s of target features, both forms give the same loss and gradient (Li et al. 2017,
arXiv 1701.01036; docs/method.md):

- Gram form: D = F F^T / M - T; loss ||D||^2 / 4N^2, gradient D F / (N^2 M). Needs N x N matrices.
- Kernel form: loss (||F^T F||^2 / M^2 - 2 <F, T F> / M + ||T||^2) / 4N^2, gradient
  (F (F^T F) / M - T F) / (N^2 M), with T F = S (S^T F) / M_s where features are given. Works
  through tiles of positions, so that no M x M matrix is stored.

Float32 and float64 on the CPU; float32, bfloat16 and float16 on CUDA, where half types are widened
to float32 (torch's TF32 switch rules products there). Features may be dense with positions or with
channels innermost; gradients have the same layout. Products are written to given tensors because
autocast leaves those alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from busaug.ops import _launch
from busaug.ops._backend import has_cuda_kernels
from busaug.ops._check import check

BLOCK = 128
"""Rows of F F^T computed at a time, up to the block's last diagonal entry."""

TILE = 256
"""Positions a step of the kernel form: few enough for a tile to stay in the cache."""

_library = torch.library.Library("busaug", "FRAGMENT")
_library.define("style_loss_gram(Tensor features, Tensor target) -> (Tensor, Tensor)")
_library.define(
    "style_loss_gram_backward(Tensor grad_loss, Tensor features, Tensor difference) -> Tensor"
)
_library.define(
    "style_loss_kernel(Tensor features, Tensor? matrix, Tensor? target_features, Tensor energy, "
    "bool differentiate) -> (Tensor, Tensor)"
)
_library.define(
    "style_loss_kernel_backward(Tensor grad_loss, Tensor features, Tensor gradient) -> Tensor"
)
style_loss_gram_op = torch.ops.busaug.style_loss_gram.default
"""(B, N, M), (B, N, N) to loss (B,) and difference D (B, N, N)."""
style_loss_kernel_op = torch.ops.busaug.style_loss_kernel.default
"""(B, N, M), one of (B, N, N) and (B, N, M_s), and ||T||^2 (B,) float64 to loss (B,) and its
gradient (B, N, M), empty unless ``differentiate``."""


def float_types(device: torch.device) -> tuple[torch.dtype, ...]:
    """Dtypes of features that the ops take on a device."""
    if device.type == "cuda":
        return torch.float32, torch.bfloat16, torch.float16
    return torch.float32, torch.float64


def gram(features: Tensor) -> Tensor:
    """G = F F^T / M of feature maps (B, N, M): (B, N, N), float32 for half types."""
    wide = widened(features)
    batch, channels, positions = wide.shape
    product = wide.new_empty(batch, channels, channels)
    return torch.bmm(wide, wide.mT, out=product).div_(positions)


def gram_energy(features: Tensor) -> Tensor:
    """||F F^T / M||_F^2 of each map (B, N, M), float64 (B,), by the smaller of F F^T and F^T F."""
    features = widened(features)
    channels, positions = features.shape[1:]
    if positions > channels:
        return gram(features).double().square().sum((1, 2))
    energy = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    for begin in range(0, positions, TILE):
        columns = features[:, :, begin : begin + TILE]
        kernel = features.new_empty(len(features), columns.shape[2], positions)
        torch.bmm(columns.mT, features, out=kernel)
        energy = energy + kernel.double().square().sum((1, 2))
    return energy / positions**2


# Gram form


def _gram_forward(features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    _check_gram(features, target)
    loss, difference = _gram_outputs(features)
    fill = _fill_difference_cuda if features.is_cuda else _fill_difference_cpu
    fill(_dense(features), target.contiguous(), difference, loss)
    return loss, difference


def _fill_difference_cpu(
    features: Tensor, target: Tensor, difference: Tensor, loss: Tensor
) -> None:
    """The products' lower triangle by BLAS in blocks of rows, the rest in one native pass."""
    batch, channels, _ = features.shape
    blocks = [(begin, min(begin + BLOCK, channels)) for begin in range(0, channels, BLOCK)]
    products = features.new_empty(sum(batch * (end - begin) * end for begin, end in blocks))
    at = 0
    for begin, end in blocks:
        rows = products[at : at + batch * (end - begin) * end].view(batch, end - begin, end)
        torch.bmm(features[:, begin:end], features[:, :end].mT, out=rows)
        at += rows.numel()
    _launch.gram_difference_cpu(
        products, target, difference, loss, positions=features.shape[2], block=BLOCK
    )


def _fill_difference_cuda(
    features: Tensor, target: Tensor, difference: Tensor, loss: Tensor
) -> None:
    """Our tensor-core kernel for half types, and for float32 where torch may use TF32.

    Full float32 and float64 go through cuBLAS. Which is faster for a shape has not been measured.
    """
    rounded = features.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest"
    half = features.dtype in (torch.float16, torch.bfloat16)
    fill = (
        _launch.gram_difference_cuda
        if has_cuda_kernels() and (half or rounded)
        else _fill_difference_torch
    )
    fill(features, target, difference, loss)


def _fill_difference_torch(
    features: Tensor, target: Tensor, difference: Tensor, loss: Tensor
) -> None:
    channels, positions = features.shape[1:]
    wide = widened(features)
    torch.baddbmm(target, wide, wide.mT, beta=-1.0, alpha=1.0 / positions, out=difference)
    loss.copy_(difference.square().sum((1, 2)) / (4 * channels**2))


def _gram_backward(grad_loss: Tensor, features: Tensor, difference: Tensor) -> Tensor:
    """(grad_loss / (N^2 M)) D F, the scale applied to the smaller matrix."""
    wide = _dense(widened(features))
    channels, positions = wide.shape[1:]
    scale = (grad_loss / (channels**2 * positions)).view(-1, 1, 1)
    grad_features = torch.empty_like(wide)
    if channels <= positions:
        _multiply(grad_features, difference * scale, wide)
    else:
        _multiply(grad_features, difference, wide)
        grad_features.mul_(scale)
    return grad_features.to(features.dtype)


def _gram_outputs(features: Tensor) -> tuple[Tensor, Tensor]:
    batch, channels, _ = features.shape
    options: dict[str, Any] = {"dtype": _wide_dtype(features), "device": features.device}
    return torch.empty(batch, **options), torch.empty(batch, channels, channels, **options)


def _gram_fake(features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    _check_gram(features, target)
    return _gram_outputs(features)


def _backward_fake(grad_loss: Tensor, features: Tensor, saved: Tensor) -> Tensor:
    return torch.empty_like(_dense(features))


def _check_gram(features: Tensor, target: Tensor) -> None:
    _check_features(features)
    batch, channels, _ = features.shape
    check(
        target.shape == (batch, channels, channels)
        and target.dtype == _wide_dtype(features)
        and target.device == features.device,
        lambda: (
            f"style loss: target matrix {tuple(target.shape)} of {target.dtype} on {target.device}"
        ),
    )


def _gram_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    difference = output[1]
    ctx.mark_non_differentiable(difference)
    ctx.save_for_backward(inputs[0], difference)


def _gram_gradient(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise _no_target_gradient()
    return torch.ops.busaug.style_loss_gram_backward(grad_loss, *ctx.saved_tensors), None


# Kernel form


def _kernel_forward(
    features: Tensor,
    matrix: Tensor | None,
    target_features: Tensor | None,
    energy: Tensor,
    differentiate: bool,
) -> tuple[Tensor, Tensor]:
    _check_kernel(features, matrix, target_features, energy)
    wide = _dense(widened(features))
    batch, channels, positions = wide.shape
    scale = 1.0 / (channels**2 * positions)  # of the gradient
    gradient = torch.zeros_like(wide)
    # Terms w X X^T F of the gradient; each adds its share v ||X^T F||^2 to the squared distance.
    terms = [(wide, 1.0 / positions, 1.0 / positions**2)]
    if matrix is not None:
        _multiply(gradient, matrix, wide)  # T F
        square = energy - 2.0 / positions * _inner_products(wide, gradient)
        gradient.mul_(-scale)
    else:
        assert target_features is not None
        sources = _dense(widened(target_features))
        count = sources.shape[2]
        terms.append((sources, -1.0 / count, -2.0 / (positions * count)))
        square = energy
    for begin in range(0, positions, TILE):
        columns = wide[:, :, begin : begin + TILE]
        grad_columns = gradient[:, :, begin : begin + TILE]
        for sources, weight, share in terms:
            kernel = wide.new_empty(batch, columns.shape[2], sources.shape[2])
            torch.bmm(columns.mT, sources, out=kernel)
            square = square + share * _inner_products(kernel, kernel)
            if differentiate:
                _multiply(grad_columns, sources, kernel.mT, alpha=scale * weight, beta=1.0)
    # The distance of equal features may come out below zero by a rounding.
    loss = (square.clamp_min(0.0) / (4 * channels**2)).to(wide.dtype)
    return loss, gradient if differentiate else wide.new_empty(0)


def _kernel_backward(grad_loss: Tensor, features: Tensor, gradient: Tensor) -> Tensor:
    """Features are there for their dtype, and so that a second gradient meets its refusal."""
    return (gradient * grad_loss.view(-1, 1, 1)).to(features.dtype)


def _kernel_fake(
    features: Tensor,
    matrix: Tensor | None,
    target_features: Tensor | None,
    energy: Tensor,
    differentiate: bool,
) -> tuple[Tensor, Tensor]:
    _check_kernel(features, matrix, target_features, energy)
    loss = torch.empty(len(features), dtype=_wide_dtype(features), device=features.device)
    gradient = torch.empty_like(_dense(features), dtype=loss.dtype)
    return loss, gradient if differentiate else loss.new_empty(0)


def _check_kernel(
    features: Tensor, matrix: Tensor | None, target_features: Tensor | None, energy: Tensor
) -> None:
    _check_features(features)
    batch, channels, _ = features.shape
    check(
        (matrix is None) != (target_features is None),
        lambda: "style_loss_kernel takes a matrix or target features, one of them",
    )
    if matrix is not None:
        _check_gram(features, matrix)
    if target_features is not None:
        check(
            target_features.ndim == 3
            and target_features.shape[:2] == (batch, channels)
            and target_features.dtype == features.dtype
            and target_features.device == features.device,
            lambda: (
                f"style loss: target features {tuple(target_features.shape)} of "
                f"{target_features.dtype} on {target_features.device}"
            ),
        )
    check(
        energy.shape == (batch,)
        and energy.dtype == torch.float64
        and energy.device == features.device,
        lambda: f"style loss: energy {tuple(energy.shape)} of {energy.dtype} on {energy.device}",
    )


def _kernel_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(inputs[0], output[1])
    ctx.differentiate = inputs[4]


def _kernel_gradient(ctx: Any, grad_loss: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if any(ctx.needs_input_grad[1:]):
        raise _no_target_gradient()
    if not ctx.differentiate:
        raise NotImplementedError("busaug::style_loss_kernel was called with differentiate=False")
    grad_features = torch.ops.busaug.style_loss_kernel_backward(grad_loss, *ctx.saved_tensors)
    return grad_features, None, None, None, None


# Both forms


def _check_features(features: Tensor) -> None:
    check(
        features.ndim == 3 and features.dtype in float_types(features.device),
        lambda: f"style loss of features {tuple(features.shape)} of {features.dtype}",
    )


def _wide_dtype(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def widened(features: Tensor) -> Tensor:
    """Half types as float32, others as they are."""
    return features.to(_wide_dtype(features))


def _dense(maps: Tensor) -> Tensor:
    """Itself where rows or columns lie one after the other, else a copy with dense rows."""
    return maps if maps.mT.is_contiguous() else maps.contiguous()


def _multiply(out: Tensor, a: Tensor, b: Tensor, *, alpha: float = 1.0, beta: float = 0.0) -> None:
    """``out`` = beta out + alpha a b, turned over where that makes ``out`` contiguous.

    BLAS takes a batch in one call only where the result is contiguous.
    """
    if out.mT.is_contiguous():
        out, a, b = out.mT, b.mT, a.mT
    out.baddbmm_(a, b, alpha=alpha, beta=beta)


def _inner_products(x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_i> of two batches in one layout, float64 (B,), added in a fixed order."""
    if x.is_cuda:
        return (x * y).sum((1, 2), dtype=torch.float64)
    output = torch.empty(len(x), dtype=torch.float64)
    _launch.inner_products_cpu(x, y, output)
    return output


def _no_target_gradient() -> NotImplementedError:
    return NotImplementedError("the style loss has no gradient in its target: detach it")


def _no_second_gradient(ctx: Any, grad: Tensor) -> None:
    raise NotImplementedError(
        "the style loss is differentiable once: busaug.reference.mmd is so any number of times"
    )


for _device in ("CPU", "CUDA"):
    _library.impl("style_loss_gram", _gram_forward, _device)
    _library.impl("style_loss_gram_backward", _gram_backward, _device)
    _library.impl("style_loss_kernel", _kernel_forward, _device)
    _library.impl("style_loss_kernel_backward", _kernel_backward, _device)
torch.library.register_fake("busaug::style_loss_gram", _gram_fake, lib=_library)
torch.library.register_fake("busaug::style_loss_kernel", _kernel_fake, lib=_library)
torch.library.register_autograd(
    "busaug::style_loss_gram", _gram_gradient, setup_context=_gram_context, lib=_library
)
torch.library.register_autograd(
    "busaug::style_loss_kernel", _kernel_gradient, setup_context=_kernel_context, lib=_library
)
for _backward in ("style_loss_gram_backward", "style_loss_kernel_backward"):
    torch.library.register_fake(f"busaug::{_backward}", _backward_fake, lib=_library)
    torch.library.register_autograd(f"busaug::{_backward}", _no_second_gradient, lib=_library)
