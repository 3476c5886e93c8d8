"""Writing tar archives whose bytes are decided by what is put in."""

from __future__ import annotations

import tarfile
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

BLOCK = 512
END = bytes(2 * BLOCK)
"""Ends every whole archive. No PNG or JSON file holds so many zeros in a row, so that an archive
which was cut anywhere ends otherwise."""


class TarWriter:
    """A new archive at ``path``. A context manager: one that is left by an error has no end.

    Members belong to nobody and have no date. POSIX (pax) format: names may be of any length.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._file.write(member.tobuf(tarfile.PAX_FORMAT, "utf-8"))
        self._file.write(data)
        self._file.write(bytes(-len(data) % BLOCK))

    def close(self) -> None:
        """Write the end; nothing more can be added."""
        with self._file:
            self._file.write(END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()


def is_whole(path: Path) -> bool:
    """Whether an archive of ``TarWriter`` is there to its end; told from its last bytes."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - len(END), 0))
            return size % BLOCK == 0 and file.read() == END
    except FileNotFoundError:
        return False
