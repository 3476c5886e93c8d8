"""Writing files so that a reader sees the whole of one or none of it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from busaug.errors import InputError, OutputError


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write at ``path`` into an OutputError."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "Free space on that disk or write to another one",
            errno.EDQUOT: "Free space within the quota or write elsewhere",
            errno.EROFS: "Write to a place that is not read-only",
            errno.EACCES: "Give write permission or write elsewhere",
            errno.ENOTDIR: "Name a folder, not a file",
            errno.EEXIST: "A file is where a folder is needed: write elsewhere",
            errno.EISDIR: "Name a file, not a folder",
        }
        if error.errno not in remedies:
            raise
        raise OutputError(
            f"cannot write {path}: {error.strerror}", remedy=remedies[error.errno]
        ) from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` on success and vanishes on failure."""
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that becomes ``path`` on success only.

    ``path`` must be absent or an empty folder.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(
            f"{path} exists and is not an empty folder",
            remedy="Choose another output folder or remove it first",
        )
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            if path.exists():
                path.rmdir()
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left behind; call it when no process writes there any more."""
    for leftover in folder.rglob(".*.part"):
        if leftover.is_file():
            leftover.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One compact JSON object a line, keys in the order given."""
    write_text(path, "".join(map(json_line, rows)))


def json_line(row: Mapping[str, Any]) -> str:
    """The row as ``write_jsonl`` writes it, line end included."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy="Check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as JSON: {error}", remedy="Restore or rebuild the file"
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return list(iterate_jsonl(path))


def iterate_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines, read as they are asked for."""
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy="Check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as JSON lines: {error}", remedy="Restore or rebuild the file"
        ) from error
