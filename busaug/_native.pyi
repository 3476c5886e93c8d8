"""Kernels of busaug on raw pointers; call them through busaug.ops."""

from typing import Any

def build_info() -> dict[str, Any]: ...
def srad_cpu(
    *,
    images: int,
    regions: int,
    output: int,
    dtype: str,
    shape: tuple[int, int, int],
    scales: int,
    iterations: int,
    time_step: float,
    q0: float,
    decay: float,
    form: int,
    threads: int,
    simd: str,
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

# The next two are there only where nvcc was found at build time.
def srad_cuda_workspace(*, dtype: str, shape: tuple[int, int, int]) -> int: ...
def srad_cuda(
    *,
    images: int,
    regions: int,
    output: int,
    workspace: int,
    dtype: str,
    shape: tuple[int, int, int],
    scales: int,
    iterations: int,
    time_step: float,
    q0: float,
    decay: float,
    form: int,
    device: int,
    stream: int,
) -> None: ...
