"""How much memory a piece of work holds at its peak, as the system counts it (Linux)."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

Result = TypeVar("Result")


def peak_bytes(work: Callable[[], Result]) -> tuple[int, Result]:
    """Resident bytes at the peak of ``work()`` over those before it, results included.

    Memory that was freed before is given back first, or work that takes it again would not count.
    Skips the test where the system does not tell.
    """
    ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5")  # the peak starts anew
    except OSError as error:
        pytest.skip(f"peak memory cannot be measured here: {error}")
    before = _resident("VmRSS")
    result = work()
    return _resident("VmHWM") - before, result


def _resident(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return 1024 * int(found[1])
