"""Progress and messages: live bars on a terminal, plain lines elsewhere. Nothing else prints.

Results go to standard output, progress and warnings to standard error, so that results can be
piped. Of several processes rank 0 alone shows results and progress; a warning names its rank.
``speaking`` says how much of that is wanted, and keeps a log of it.
"""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from busaug.files import explain_write_errors, json_line

_PLAIN_INTERVAL_S = 10.0
_FILE_WIDTH = 160


@dataclasses.dataclass
class _Voice:
    """What this process says, and where."""

    rank: int | None = None
    """Among several processes."""
    hushed: bool = False
    quiet: bool = False
    as_json: bool = False
    log: TextIO | None = None

    @property
    def speaks(self) -> bool:
        """Whether results and progress are this process's to tell."""
        return not self.hushed and not self.rank

    @property
    def shows(self) -> bool:
        """Whether results for people go to standard output."""
        return self.speaks and not self.quiet and not self.as_json


_voice = _Voice()


class _Results(Console):
    """Standard output, for people; what is shown goes into the log as well."""

    def print(self, *objects: Any, **options: Any) -> None:
        if _voice.shows:
            super().print(*objects, **options)
        if _voice.speaks:
            _write_log(*objects, **options)


def _width() -> int | None:
    """Of standard output: a terminal tells its own, a file has room for wide tables."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH


out = _Results(width=_width(), highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def speak_for(rank: int) -> None:
    """Be the voice of one process among several: all but rank 0 only warn."""
    _voice.rank = rank


@contextmanager
def speaking(
    *, quiet: bool = False, as_json: bool = False, log_file: Path | None = None
) -> Iterator[None]:
    """Inside, speak as the user asked.

    ``quiet``: warnings only. ``as_json``: the ``result`` in place of results for people.
    ``log_file``: every line, also those that are not shown, with the time, at the end of this file;
    OutputError where it cannot be written.
    """
    before = dataclasses.replace(_voice)
    with ExitStack() as stack:
        if log_file is not None:
            with explain_write_errors(log_file):
                log_file.parent.mkdir(parents=True, exist_ok=True)
                log = log_file.open("a", encoding="utf-8")
            _voice.log = stack.enter_context(log)
        _voice.quiet, _voice.as_json = quiet, as_json
        try:
            yield
        finally:
            _voice.quiet, _voice.as_json, _voice.log = before.quiet, before.as_json, before.log


def say(message: str) -> None:
    """A line for the user on standard output; the text is shown as it is (no markup)."""
    out.print(message, markup=False)


def result(values: Mapping[str, Any]) -> None:
    """What a command found out, for machines: one line of JSON where that was asked for."""
    if _voice.as_json and _voice.speaks:
        out.file.write(json_line(values))
        out.file.flush()


def warn(message: str) -> None:
    """A warning line on standard error."""
    who = "" if _voice.rank is None else f"rank {_voice.rank}: "
    err.print(f"{who}warning: {message}", markup=False, style="yellow")
    note(f"{who}warning: {message}")


def note(message: str) -> None:
    """A line for the log alone."""
    _write_log(message, markup=False)


def _write_log(*objects: Any, **options: Any) -> None:
    if _voice.log is None:
        return
    page = Console(
        file=io.StringIO(), width=_FILE_WIDTH, color_system=None, highlight=False, soft_wrap=True
    )
    page.print(*objects, **options)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    for line in page.file.getvalue().splitlines():  # type: ignore[attr-defined]
        _voice.log.write(f"{now} {line}".rstrip() + "\n")
    _voice.log.flush()


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, there are neither results nor progress, only warnings: for a step within a step."""
    before, _voice.hushed = _voice.hushed, True
    try:
        yield
    finally:
        _voice.hushed = before


class Advance(Protocol):
    def __call__(self, count: int = 1, *, note: str = "") -> None: ...


def _silent(count: int = 1, *, note: str = "") -> None:
    pass


@contextmanager
def progress(what: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """A progress display for ``total`` steps; call what it yields after each finished step.

    ``done`` steps were taken before: they are shown, and do not count for rate and time left.
    """
    if not _voice.speaks or (_voice.quiet and _voice.log is None):
        yield _silent
        return
    live = err.is_terminal and not _voice.quiet
    lines = _Lines(what, total, done)
    bar: AbstractContextManager[Advance] = _bar(what, total, done) if live else nullcontext(_silent)
    with bar as show:

        def advance(count: int = 1, *, note: str = "") -> None:
            show(count, note=note)
            line = lines.after(count, note)
            if line is None:
                return
            _write_log(line, markup=False)
            if not live and not _voice.quiet:
                err.print(line, markup=False)

        yield advance


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.3g}/s" if task.speed else "")


@contextmanager
def _bar(what: str, total: int, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
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


class _Lines:
    """Progress as lines: one every some seconds, and the last."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._before, self._done = what, total, done, done
        self._start = self._last = time.monotonic()

    def after(self, count: int, note: str) -> str | None:
        """The line that is due after ``count`` more steps, if one is."""
        self._done += count
        now = time.monotonic()
        ended = self._done >= self._total
        if not count or (not ended and now - self._last < _PLAIN_INTERVAL_S):
            return None
        self._last = now
        spent, taken = now - self._start, max(self._done - self._before, 1)
        left = spent / taken * (self._total - self._done)
        time_tail = f"{spent:.1f} s" if ended else f"about {left:.0f} s left"
        rate = f", {taken / spent:.3g}/s" if spent > 0 else ""
        note_tail = f"  {note}" if note else ""
        return f"{self._what}: {self._done}/{self._total}{rate}, {time_tail}{note_tail}"
