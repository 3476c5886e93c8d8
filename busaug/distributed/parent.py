"""Ending with the launcher: a rank that outlives it would work beside the run that comes next.

torchrun gives its workers sessions of their own, so that a signal that ends the launcher alone, as
SIGKILL does, never reaches them.
"""

from __future__ import annotations

import os
import sys
import threading
import time

_LOOK_S = 1.0
_parent: int | None = None


def note_parent() -> None:
    """Note who started this process. Late, it would miss a launcher that died meanwhile."""
    global _parent
    _parent = os.getppid()


def end_with_parent() -> None:
    """Have this process end, with 1 and without clean-up, soon after the one that started it.

    Whatever is under way, a collective that waits too: files are written so that this is safe.
    """
    if _parent is None:
        note_parent()
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    while os.getppid() == _parent:  # an orphan has another parent (POSIX)
        time.sleep(_LOOK_S)
    sys.stderr.write("stopped, since the launcher has gone\n")
    sys.stderr.flush()
    os._exit(1)
