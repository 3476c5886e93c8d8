"""Refusals of the operators."""

from __future__ import annotations

from collections.abc import Callable


def check(holds: bool, message: Callable[[], str]) -> None:
    """RuntimeError, as of torch's own operators, unless it holds.

    What ``torch._check`` does for extents that are known or guarded, which these are; that one
    loads torch's symbolic shapes and SymPy at its first call, for a second in every process.
    """
    if not holds:
        raise RuntimeError(message())
