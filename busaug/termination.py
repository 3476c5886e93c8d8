"""Ending in order when the operating system asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from busaug.errors import Terminated


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Inside, SIGTERM raises Terminated at the next Python instruction, once.

    For work between collectives only: a process that waits for another inside a library does not
    get there, and is better ended at once. Without effect outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers repeat it
    raise Terminated
