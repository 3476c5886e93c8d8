"""Which process makes which work units."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from busaug.errors import InputError
from busaug.files import explain_write_errors

Schedule = Literal["static", "dynamic"]
"""``static``: every process takes each p-th unit; nothing is said between them. ``dynamic``: a
process claims its next unit when it is free, so that a slow one does not hold the others."""


def parse_schedule(text: str) -> Schedule:
    """The schedule of that name, or InputError."""
    for choice in get_args(Schedule):
        if text == choice:
            return choice  # type: ignore[no-any-return]
    allowed = ", ".join(get_args(Schedule))
    raise InputError(f"unknown --schedule {text!r}", remedy=f"Use one of {allowed}")


class Claims:
    """Units that are taken: an empty file each, in a folder on the disk that all share.

    The file system makes one process the first: a file is created or was there (O_EXCL, atomic on
    local disks and on NFS from version 3). Claims of a run that was stopped mean nothing: they are
    cleared before the next one starts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def clear(self) -> None:
        """Forget all claims; for one process, before the others start."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with explain_write_errors(self._folder):
            self._folder.mkdir(parents=True)

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def take(self, units: Sequence[int]) -> Iterator[int]:
        """Those of ``units`` that no other process has claimed, each claimed when it is yielded."""
        taken: set[int] = set()
        for unit in units:
            if unit in taken:
                continue
            if self._claim(unit):
                yield unit
            else:  # others are ahead: see how far, rather than try one by one
                taken = {int(name) for name in os.listdir(self._folder)}

    def _claim(self, unit: int) -> bool:
        file = self._folder / f"{unit:06d}"
        with explain_write_errors(file):
            try:
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                return False
        return True
