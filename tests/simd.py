"""Which SIMD levels of the kernels this machine can run."""

from __future__ import annotations

from busaug.ops._backend import build_info


def supported_simd() -> list[str]:
    """From the plainest to the best."""
    levels: list[str] = build_info()["simd"]
    return levels[: levels.index(build_info()["simd_in_use"]) + 1]
