"""From tensors to the native module: the only code that touches a pointer or a stream.

Callers have checked shapes, dtypes and devices; every tensor here is dense.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict

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
    correction: int


class SradArrays(NamedTuple):
    """Images (N, H, W), regions (N, 4) int64, ranges (N, 2), output (scales, N, H, W)."""

    images: Tensor
    regions: Tensor | None
    ranges: Tensor | None
    output: Tensor

    def addresses(self) -> dict[str, Any]:
        """Arguments of the native functions."""
        return {
            "dtype": _dtype_name(self.images),
            "images": self.images.data_ptr(),
            "regions": _address(self.regions),
            "ranges": _address(self.ranges),
            "output": self.output.data_ptr(),
        }


def srad_cpu(
    arrays: SradArrays, options: SradOptions, *, threads: int | None = None, simd: str = "auto"
) -> None:
    """Fill the output. Uses torch's number of threads unless told otherwise."""
    native().srad_cpu(
        params=native().SradParams(shape=tuple(arrays.images.shape), **options),
        **arrays.addresses(),
        threads=_threads(threads),
        simd=simd,
    )


def srad_cuda(arrays: SradArrays, options: SradOptions) -> None:
    """Likewise on the tensors' device, queued on its current stream."""
    images = arrays.images
    params = native().SradParams(shape=tuple(images.shape), **options)
    size = native().srad_cuda_workspace(
        params=params, dtype=_dtype_name(images), device=images.device.index
    )
    workspace = torch.empty(size, dtype=torch.uint8, device=images.device)
    native().srad_cuda(
        params=params,
        **arrays.addresses(),
        workspace=workspace.data_ptr(),
        **_queue(images),
    )


def gram_difference_cuda(
    features: Tensor, target: Tensor, difference: Tensor, loss: Tensor
) -> None:
    """Fill ``difference`` (B, N, N) = F F^T / M - ``target`` and ``loss`` (B,) = its square / 4N^2.

    ``features`` F (B, N, M) are float32 (rounded to TF32 in products), float16 or bfloat16, with
    positions or channels innermost; the others are float32, the target symmetric. On their device,
    queued on its current stream.
    """
    by_position = features.mT.is_contiguous() and not features.is_contiguous()
    task = native().GramTask(
        shape=tuple(features.shape), dtype=_dtype_name(features), channels_innermost=by_position
    )
    size = native().gram_difference_cuda_workspace(task=task)
    workspace = torch.empty(size, dtype=torch.uint8, device=features.device)
    native().gram_difference_cuda(
        task=task,
        features=features.data_ptr(),
        target=target.data_ptr(),
        difference=difference.data_ptr(),
        loss=loss.data_ptr(),
        workspace=workspace.data_ptr(),
        **_queue(features),
    )


def quiet_regions_cpu(
    images: Tensor,
    ranges: Tensor | None,
    regions: Tensor,
    *,
    threads: int | None = None,
    simd: str = "auto",
) -> None:
    """Fill ``regions`` (N, 4) int64 from ``images`` (N, H, W) and ``ranges`` (N, 2)."""
    native().quiet_regions_cpu(
        shape=tuple(images.shape),
        dtype=_dtype_name(images),
        images=images.data_ptr(),
        ranges=_address(ranges),
        regions=regions.data_ptr(),
        threads=_threads(threads),
        simd=simd,
    )


def elementary_cpu(
    function: Literal["exp", "log"], values: Tensor, output: Tensor, *, simd: str = "auto"
) -> None:
    """Fill ``output`` with the kernels' own exponential or logarithm of ``values``."""
    native().elementary_cpu(
        function=function,
        count=values.numel(),
        dtype=_dtype_name(values),
        values=values.data_ptr(),
        output=output.data_ptr(),
        simd=simd,
    )


def gram_difference_cpu(
    products: Tensor,
    target: Tensor,
    difference: Tensor,
    loss: Tensor,
    *,
    positions: int,
    block: int,
    threads: int | None = None,
    simd: str = "auto",
) -> None:
    """Fill ``difference`` (B, N, N) and ``loss`` (B,) from ``target`` (B, N, N) and ``products``.

    Those are the lower triangles of F F^T, in blocks of rows: see csrc/include/busaug/mmd.hpp.
    """
    native().gram_difference_cpu(
        products=products.data_ptr(),
        target=target.data_ptr(),
        difference=difference.data_ptr(),
        loss=loss.data_ptr(),
        dtype=_dtype_name(products),
        shape=(*target.shape[:2], positions),
        block=block,
        threads=_threads(threads),
        simd=simd,
    )


def inner_products_cpu(
    x: Tensor, y: Tensor, output: Tensor, *, threads: int | None = None, simd: str = "auto"
) -> None:
    """Fill ``output`` (B,) float64 with the inner products of x and y (B, ...), in one layout."""
    native().inner_products_cpu(
        x=x.data_ptr(),
        y=y.data_ptr(),
        output=output.data_ptr(),
        dtype=_dtype_name(x),
        shape=(len(x), x[:1].numel()),
        threads=_threads(threads),
        simd=simd,
    )


def pack(weight: Tensor, packed: Tensor, *, transposed: bool) -> None:
    """Fill ``packed`` from ``weight`` (N, C, k, k), k 3 or 1: see csrc/include/busaug/api.hpp."""
    packing = native().winograd_pack if weight.shape[-1] == 3 else native().pointwise_pack
    packing(
        weight=weight.data_ptr(),
        packed=packed.data_ptr(),
        extent=tuple(weight.shape[:2]),
        transposed=transposed,
    )


class Gated(NamedTuple):
    """Values that count as zero where the gate, of the same shape, is not positive."""

    values: Tensor
    gate: Tensor | None = None


def winograd_cpu(
    images: Gated,
    packed: Tensor,
    bias: Tensor | None,
    output: Tensor,
    rectify: bool,
    *,
    threads: int | None = None,
    simd: str = "auto",
) -> None:
    """Fill ``output`` (B, N, H, W) from ``images`` (B, C, H, W), channels last."""
    batch, channels, height, width = images.values.shape
    native().winograd_cpu(
        images=images.values.data_ptr(),
        gate=_address(images.gate),
        packed=packed.data_ptr(),
        bias=_address(bias),
        output=output.data_ptr(),
        shape=(batch, height, width, channels, output.shape[1]),
        rectify=rectify,
        threads=_threads(threads),
        simd=simd,
    )


def pointwise_cpu(
    images: Gated,
    packed: Tensor,
    bias: Tensor | None,
    addend: Gated | None,
    output: Tensor,
    rectify: bool,
    *,
    threads: int | None = None,
    simd: str = "auto",
) -> None:
    """Likewise, and from ``addend`` of the shape of ``output``."""
    batch, channels, height, width = images.values.shape
    native().pointwise_cpu(
        images=images.values.data_ptr(),
        gate=_address(images.gate),
        packed=packed.data_ptr(),
        bias=_address(bias),
        addend=0 if addend is None else addend.values.data_ptr(),
        addend_gate=0 if addend is None else _address(addend.gate),
        output=output.data_ptr(),
        shape=(batch * height * width, channels, output.shape[1]),
        rectify=rectify,
        threads=_threads(threads),
        simd=simd,
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
        place = _queue(tensor)
    else:
        function = getattr(native(), f"{name}_cpu")
        place = {"threads": torch.get_num_threads(), "simd": "auto", **place}
    return functools.partial(function, dtype=_dtype_name(tensor), **place)


def _units(tensor: Tensor) -> tuple[int, int, int]:
    """Outer, channels and inner extent of a contiguous or else channels-last (B, N, ...)."""
    batch, channels = tensor.shape[:2]
    inner = tensor.shape[2:].numel()
    return (batch, channels, inner) if tensor.is_contiguous() else (batch * inner, channels, 1)


def _queue(tensor: Tensor) -> dict[str, int]:
    """The tensor's device and its current stream."""
    device = tensor.device
    return {"device": device.index, "stream": torch.cuda.current_stream(device).cuda_stream}


def _threads(asked: int | None) -> int:
    return torch.get_num_threads() if asked is None else asked


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
