"""Progress and messages: live bars on a terminal, plain lines elsewhere. Nothing else prints.

Results go to standard output, progress and warnings to standard error, so that ``--json`` can be
piped. Of several processes rank 0 alone shows results and progress; a warning names its rank.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_PLAIN_INTERVAL_S = 10.0


_rank: int | None = None


def speak_for(rank: int) -> None:
    """Be the voice of one process among several: all but rank 0 only warn."""
    global _rank
    _rank = rank
    out.quiet = rank > 0


def say(message: str) -> None:
    """A line for the user on standard output; the text is shown as it is (no markup)."""
    out.print(message, markup=False)


def warn(message: str) -> None:
    """A warning line on standard error."""
    who = "" if _rank is None else f"rank {_rank}: "
    err.print(f"{who}warning: {message}", markup=False, style="yellow")


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, there are neither results nor progress, only warnings: for a step within a step."""
    before, out.quiet = out.quiet, True
    try:
        yield
    finally:
        out.quiet = before


class Advance(Protocol):
    def __call__(self, count: int = 1, *, note: str = "") -> None: ...


def _silent(count: int = 1, *, note: str = "") -> None:
    pass


@contextmanager
def progress(what: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """A progress display for ``total`` steps; call what it yields after each finished step.

    ``done`` steps were taken before: they are shown, and do not count for the time left.
    """
    if out.quiet:
        yield _silent
        return
    if err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=err) as display:
            task = display.add_task(what, total=total, completed=done, note="")

            def advance(count: int = 1, *, note: str = "") -> None:
                display.update(task, advance=count, note=note)

            yield advance
        return

    start = last = time.monotonic()
    before = done

    def advance_plain(count: int = 1, *, note: str = "") -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if not count or (done < total and now - last < _PLAIN_INTERVAL_S):
            return
        last = now
        left = (now - start) / max(done - before, 1) * (total - done)
        tail = f", about {left:.0f} s left" if done < total else f", {now - start:.1f} s"
        note_tail = f"  {note}" if note else ""
        err.print(f"{what}: {done}/{total}{tail}{note_tail}", markup=False)

    yield advance_plain
