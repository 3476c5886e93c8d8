"""From tensors to the native module: the only code that touches a pointer or a stream.

Callers have checked shapes, dtypes and devices; every tensor here is dense.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch import Tensor

from busaug.ops._backend import native


class SradOptions(TypedDict):
    scales: int
    iterations: int
    time_step: float
    q0: float
    decay: float
    form: int


def srad_cpu(
    images: Tensor,
    regions: Tensor | None,
    output: Tensor,
    options: SradOptions,
    *,
    threads: int | None = None,
    simd: str = "auto",
) -> None:
    """Fill ``output`` (scales, N, H, W) from ``images`` (N, H, W) and ``regions`` (N, 4) int64.

    Uses torch's number of threads unless told otherwise.
    """
    native().srad_cpu(
        images=images.data_ptr(),
        regions=_address(regions),
        output=output.data_ptr(),
        dtype=_dtype_name(images),
        shape=tuple(images.shape),
        threads=torch.get_num_threads() if threads is None else threads,
        simd=simd,
        **options,
    )


def srad_cuda(images: Tensor, regions: Tensor | None, output: Tensor, options: SradOptions) -> None:
    """Likewise on the tensors' device, queued on its current stream."""
    shape = tuple(images.shape)
    size = native().srad_cuda_workspace(dtype=_dtype_name(images), shape=shape)
    workspace = torch.empty(size, dtype=torch.uint8, device=images.device)
    native().srad_cuda(
        images=images.data_ptr(),
        regions=_address(regions),
        output=output.data_ptr(),
        workspace=workspace.data_ptr(),
        dtype=_dtype_name(images),
        shape=shape,
        device=images.device.index,
        stream=torch.cuda.current_stream(images.device).cuda_stream,
        **options,
    )


class LrpOptions(TypedDict):
    alpha: float
    beta: float
    rounding: float
    zero_part: bool
    absorb_bias: bool
    factor_kind: int
    parts: int


def lrp_quotients(
    positive: Tensor,
    linear: Tensor,
    bias: Tensor,
    factor: Tensor,
    quotients: Tensor,
    options: LrpOptions,
    **place: Any,
) -> int:
    """Fill ``quotients`` (B, parts N, ...) from tensors (B, N, ...) in one memory format.

    Returns how many quotients were left out for want of a part. ``place`` (here and below): threads
    and simd, on the CPU; torch's number of threads by default.
    """
    step = _step("lrp_quotients", linear, place)
    tensors = (positive, linear, bias, factor, quotients)
    names = ("positive", "linear", "bias", "factor", "quotients")
    omitted: int = step(
        **dict(zip(names, map(_address, tensors), strict=True)),
        extents=_units(linear),
        **options,
    )
    return omitted


def lrp_rectified_sum(
    left: Tensor, right: Tensor | None, bias: Tensor, output: Tensor, **place: Any
) -> None:
    """Fill ``output`` (B, N, ...), of the memory format of ``left`` and ``right``."""
    _step("lrp_rectified_sum", left, place)(
        left=left.data_ptr(),
        right=_address(right),
        bias=bias.data_ptr(),
        output=output.data_ptr(),
        extents=_units(left),
    )


def lrp_split(inputs: Tensor, split: Tensor, **place: Any) -> None:
    """Fill ``split`` (B, 2 C, ...) from ``inputs`` (B, C, ...), both of one memory format."""
    _step("lrp_split", inputs, place)(
        inputs=inputs.data_ptr(), split=split.data_ptr(), extents=_units(inputs)
    )


def lrp_merge(inputs: Tensor, back: Tensor, merged: Tensor, **place: Any) -> None:
    """Fill ``merged`` (B, C, ...) from ``back`` (B, 2 C, ...), all of one memory format."""
    _step("lrp_merge", inputs, place)(
        inputs=inputs.data_ptr(),
        back=back.data_ptr(),
        merged=merged.data_ptr(),
        extents=_units(inputs),
    )


def lrp_product(left: Tensor, right: Tensor, product: Tensor, sums: Tensor, **place: Any) -> None:
    """Fill ``product`` (B, ...), all of one memory format, and ``sums`` (B, blocks, 2) float64."""
    images, blocks, _ = sums.shape
    _step("lrp_product", left, place)(
        left=left.data_ptr(),
        right=right.data_ptr(),
        product=product.data_ptr(),
        sums=sums.data_ptr(),
        extents=(images, left.shape[1:].numel(), blocks),
    )


def _step(name: str, tensor: Tensor, place: dict[str, Any]) -> Callable[..., Any]:
    """The native function for the tensor's device and dtype, on its current stream."""
    if tensor.is_cuda:
        function = getattr(native(), f"{name}_cuda")
        place = {
            "device": tensor.device.index,
            "stream": torch.cuda.current_stream(tensor.device).cuda_stream,
        }
    else:
        function = getattr(native(), f"{name}_cpu")
        place = {"threads": torch.get_num_threads(), "simd": "auto", **place}
    return functools.partial(function, dtype=_dtype_name(tensor), **place)


def _units(tensor: Tensor) -> tuple[int, int, int]:
    """Outer, channels and inner extent of a contiguous or else channels-last (B, N, ...)."""
    batch, channels = tensor.shape[:2]
    inner = tensor.shape[2:].numel()
    return (batch, channels, inner) if tensor.is_contiguous() else (batch * inner, channels, 1)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
