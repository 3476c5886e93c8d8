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

# The following are there only where nvcc was found at build time.
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
