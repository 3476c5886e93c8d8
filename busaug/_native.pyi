"""Kernels of busaug on raw pointers; call them through busaug.ops."""

from typing import Any, final

def build_info() -> dict[str, Any]: ...

@final
class SradParams:
    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        scales: int,
        iterations: int,
        time_step: float,
        q0: float,
        decay: float,
        form: int,
        correction: int,
    ) -> None: ...

def srad_cpu(
    *,
    params: SradParams,
    dtype: str,
    images: int,
    regions: int,
    ranges: int,
    output: int,
    threads: int,
    simd: str,
) -> None: ...
def quiet_regions_cpu(
    *,
    shape: tuple[int, int, int],
    dtype: str,
    images: int,
    ranges: int,
    regions: int,
    threads: int,
    simd: str,
) -> None: ...
def elementary_cpu(
    *, function: str, count: int, dtype: str, values: int, output: int, simd: str
) -> None: ...
def gram_difference_cpu(
    *,
    products: int,
    target: int,
    difference: int,
    loss: int,
    dtype: str,
    shape: tuple[int, int, int],
    block: int,
    threads: int,
    simd: str,
) -> None: ...
def inner_products_cpu(
    *,
    x: int,
    y: int,
    output: int,
    dtype: str,
    shape: tuple[int, int],
    threads: int,
    simd: str,
) -> None: ...
def has_convolutions(*, simd: str) -> bool: ...
def winograd_pack(
    *, weight: int, packed: int, extent: tuple[int, int], transposed: bool
) -> None: ...
def pointwise_pack(
    *, weight: int, packed: int, extent: tuple[int, int], transposed: bool
) -> None: ...
def winograd_cpu(
    *,
    images: int,
    gate: int,
    packed: int,
    bias: int,
    output: int,
    shape: tuple[int, int, int, int, int],
    rectify: bool,
    threads: int,
    simd: str,
) -> None: ...
def pointwise_cpu(
    *,
    images: int,
    gate: int,
    packed: int,
    bias: int,
    addend: int,
    addend_gate: int,
    output: int,
    shape: tuple[int, int, int],
    rectify: bool,
    threads: int,
    simd: str,
) -> None: ...
def lrp_quotients_cpu(
    *,
    positive: int,
    linear: int,
    bias: int,
    factor: int,
    quotients: int,
    dtype: str,
    extents: tuple[int, int, int],
    alpha: float,
    beta: float,
    rounding: float,
    zero_part: bool,
    absorb_bias: bool,
    factor_kind: int,
    parts: int,
    threads: int,
    simd: str,
) -> int: ...
def lrp_rectified_sum_cpu(
    *,
    left: int,
    right: int,
    bias: int,
    output: int,
    dtype: str,
    extents: tuple[int, int, int],
    threads: int,
    simd: str,
) -> None: ...
def lrp_split_cpu(
    *,
    inputs: int,
    split: int,
    dtype: str,
    extents: tuple[int, int, int],
    threads: int,
    simd: str,
) -> None: ...
def lrp_merge_cpu(
    *,
    inputs: int,
    back: int,
    merged: int,
    dtype: str,
    extents: tuple[int, int, int],
    threads: int,
    simd: str,
) -> None: ...
def lrp_product_cpu(
    *,
    left: int,
    right: int,
    product: int,
    sums: int,
    dtype: str,
    extents: tuple[int, int, int],
    threads: int,
    simd: str,
) -> None: ...

# What follows is there only where nvcc was found at build time.
def lrp_quotients_cuda(
    *,
    positive: int,
    linear: int,
    bias: int,
    factor: int,
    quotients: int,
    dtype: str,
    extents: tuple[int, int, int],
    alpha: float,
    beta: float,
    rounding: float,
    zero_part: bool,
    absorb_bias: bool,
    factor_kind: int,
    parts: int,
    device: int,
    stream: int,
) -> int: ...
def lrp_rectified_sum_cuda(
    *,
    left: int,
    right: int,
    bias: int,
    output: int,
    dtype: str,
    extents: tuple[int, int, int],
    device: int,
    stream: int,
) -> None: ...
def lrp_split_cuda(
    *,
    inputs: int,
    split: int,
    dtype: str,
    extents: tuple[int, int, int],
    device: int,
    stream: int,
) -> None: ...
def lrp_merge_cuda(
    *,
    inputs: int,
    back: int,
    merged: int,
    dtype: str,
    extents: tuple[int, int, int],
    device: int,
    stream: int,
) -> None: ...
def lrp_product_cuda(
    *,
    left: int,
    right: int,
    product: int,
    sums: int,
    dtype: str,
    extents: tuple[int, int, int],
    device: int,
    stream: int,
) -> None: ...

class GramTask:
    def __init__(
        self, *, shape: tuple[int, int, int], dtype: str, channels_innermost: bool
    ) -> None: ...

def gram_difference_cuda_workspace(*, task: GramTask) -> int: ...
def gram_difference_cuda(
    *,
    task: GramTask,
    features: int,
    target: int,
    difference: int,
    loss: int,
    workspace: int,
    device: int,
    stream: int,
) -> None: ...
def srad_cuda_workspace(*, params: SradParams, dtype: str, device: int) -> int: ...
def srad_cuda(
    *,
    params: SradParams,
    dtype: str,
    images: int,
    regions: int,
    ranges: int,
    output: int,
    workspace: int,
    device: int,
    stream: int,
) -> None: ...
