"""The native module and what it was built with."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from busaug.errors import BusaugError


@functools.cache
def native() -> ModuleType:
    """The native module. BusaugError where the package was copied rather than installed."""
    try:
        from busaug import _native
    except ImportError as error:
        raise BusaugError(
            f"the native module of busaug cannot be loaded ({error})",
            remedy="Build it with 'pip install .', and run busaug outside its source folder",
        ) from error
    return _native


@functools.cache
def build_info() -> dict[str, Any]:
    """Facts of the build.

    ``cpu`` (true), ``compiler``, ``simd`` (instruction sets compiled in), ``simd_in_use``,
    ``cuda_architectures`` (empty without nvcc) and ``cuda_compiler``.
    """
    info: dict[str, Any] = native().build_info()
    return info


def has_cuda_kernels() -> bool:
    return bool(build_info()["cuda_architectures"])
