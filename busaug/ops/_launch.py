"""From tensors to the native module: the only code that touches a pointer or a stream.

Callers have checked shapes, dtypes and devices; every tensor here is dense.
"""

from __future__ import annotations

from typing import TypedDict

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
        threads=torch.get_num_threads() if threads is None else threads,
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
        threads=torch.get_num_threads() if threads is None else threads,
        simd=simd,
    )


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
