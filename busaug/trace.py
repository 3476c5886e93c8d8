"""NVTX ranges for Nsight; a no-op where the ``nvtx`` package is not installed."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

try:
    import nvtx
except ImportError:  # the profile extra is not installed
    nvtx = None


def span(name: str) -> AbstractContextManager[object]:
    """A range named ``busaug/<name>`` in the package's own NVTX domain (host side only)."""
    if nvtx is None:
        return contextlib.nullcontext()
    annotation: AbstractContextManager[object] = nvtx.annotate(name, domain="busaug")
    return annotation
