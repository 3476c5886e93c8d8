"""Finding runs on disk and reading their files; what is missing becomes a note, not a crash."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.files import iterate_jsonl, read_json
from busaug.runfolder import RUN_FILE, read_run

ORDER = ("prepare", "despeckle", "train", "explain", "augment")
"""Commands in the order in which runs are shown."""

NOTES_MAX = 100
"""Lines of a run."""

Row = dict[str, Any]

_FOLDERS = re.compile(r"(?<![\w./])/(?:[^/\n]+/)+(?=\S)")
"""The folders of an absolute path."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One output folder of a command."""

    name: str
    """The folder's name, with its parent's where two runs share it."""
    folder: Path
    command: str
    hash: str
    identity: Mapping[str, Any]
    summary: Mapping[str, Any]

    def setting(self, *path: str) -> Any:
        """A value of ``identity.config``, or None."""
        value: Any = self.identity.get("config")
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


class Notes:
    """What was left out or could not be found, by run, in the order of finding."""

    def __init__(self) -> None:
        self._notes: dict[str, dict[str, None]] = {}

    def add(self, run: Run, what: str) -> None:
        self._notes.setdefault(run.name, {})[what] = None

    def items(self) -> list[tuple[str, list[str]]]:
        """The first notes of each run, and how many there are more."""
        return [(name, _shortened(list(found))) for name, found in self._notes.items()]


def _shortened(lines: list[str]) -> list[str]:
    rest = len(lines) - NOTES_MAX
    return [*lines[:NOTES_MAX], f"and {rest:,} more, in the run's own files"] if rest > 0 else lines


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs at ``paths`` or up to two folders below them, each once, in the order of the work.

    Raises InputError for a path that is no folder or holds no run.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is no folder", remedy="Name output folders of busaug")
        found = [path] if (path / RUN_FILE).is_file() else _below(path, levels=2)
        if not found:
            raise InputError(
                f"{path} holds no run: no {RUN_FILE} in it or two folders down",
                remedy="Name output folders of busaug",
            )
        folders.update((folder.resolve(), folder) for folder in found)
    names = Counter(folder.name for folder in folders)
    runs = []
    for resolved, folder in folders.items():
        record = read_run(folder) or {}
        shared = names[resolved.name] > 1
        runs.append(
            Run(
                name=f"{resolved.parent.name}/{resolved.name}" if shared else resolved.name,
                folder=folder,
                command=str(record.get("command", "unknown")),
                hash=str(record.get("hash", "")),
                identity=record.get("identity") or {},
                summary=record.get("summary") or {},
            )
        )
    rank = {command: index for index, command in enumerate(ORDER)}
    return sorted(runs, key=lambda run: rank.get(run.command, len(rank)))


def rows_of(run: Run, name: str, notes: Notes) -> Iterator[Row]:
    """The rows of a JSON-lines file of the run, one at a time; a note where reading fails."""
    try:
        rows: Iterator[Any] = iterate_jsonl(run.folder / name)
        yield from (row for row in rows if isinstance(row, dict))
    except InputError as error:
        notes.add(run, _without_folder(run, error.what))


def file_of(run: Run, name: str) -> Path:
    """A file that a row of the run names. Raises InputError for one outside of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(
            f"{name!r} is outside of the run's folder", remedy="Make the run's rows again"
        )
    return run.folder / path


def number(row: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a row, or None."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def reason_of(row: Mapping[str, Any]) -> str | None:
    """The kind of rejection of a manifest row, without its details; None for an accepted one."""
    if row.get("accepted"):
        return None
    return _clipped(str(row.get("reason") or "no reason").split(":")[0])


def _clipped(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def json_of(run: Run, name: str, notes: Notes) -> Row | None:
    """A JSON file of the run, None where there is none; a note where it cannot be read."""
    if not (run.folder / name).is_file():
        return None
    try:
        value: Row = read_json(run.folder / name)
    except InputError as error:
        notes.add(run, _without_folder(run, error.what))
        return None
    return value


def source_catalog(run: Run, runs: Iterable[Run], notes: Notes) -> Catalog | None:
    """The Catalog a run was made from: where ``summary.catalog`` points, else among ``runs``.

    Only one with the hash that the run recorded is taken.
    """
    catalog = _find(run, runs, run.summary.get("catalog"), run.identity.get("catalog"))
    if catalog is None:
        notes.add(run, "its Catalog was not found, so that source images are not shown")
    return catalog


def style_catalog(run: Run, runs: Iterable[Run], notes: Notes) -> Catalog | None:
    """Likewise the Catalog of a run's styles, where it is another; None where it is the same."""
    lent = run.identity.get("styles")
    if not isinstance(lent, Mapping):
        return None
    catalog = _find(run, runs, run.summary.get("styles"), lent.get("catalog"))
    if catalog is None:
        notes.add(run, "the Catalog of its styles was not found, so that they are not shown")
    return catalog


def _find(run: Run, runs: Iterable[Run], named: object, wanted: object) -> Catalog | None:
    places = [run.folder / named] if isinstance(named, str) else []
    places += [other.folder for other in runs if other.command == "prepare"]
    for place in places:
        try:
            catalog = Catalog.load(place)
        except InputError:
            continue
        if wanted in (None, catalog.hash):
            return catalog
    return None


def note_skipped(run: Run, rows: Iterable[Mapping[str, Any]], notes: Notes) -> None:
    """A note for every image that the run skipped."""
    for row in rows:
        name = row.get("id") or row.get("file") or "an image"
        notes.add(run, _without_folder(run, f"skipped {name}: {row.get('reason', 'no reason')}"))


def skipped_rows(run: Run) -> list[Mapping[str, Any]]:
    """``summary.skipped`` where it is a list of rows."""
    found = run.summary.get("skipped")
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _below(path: Path, levels: int) -> list[Path]:
    found: list[Path] = []
    for child in sorted(path.iterdir()):
        if not child.is_dir() or child.name.startswith("."):
            continue
        if (child / RUN_FILE).is_file():
            found.append(child)
        elif levels > 1:
            found += _below(child, levels - 1)
    return found


def _without_folder(run: Run, text: str) -> str:
    """A message without the paths of this machine: in the run's folder relative, else the name."""
    for folder in {str(run.folder), str(run.folder.resolve())}:
        text = text.replace(f"{folder}/", "")
    return _FOLDERS.sub("", text)
