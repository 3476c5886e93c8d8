"""Finding runs on disk and reading their files; what is missing becomes a note, not a crash."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.files import read_json, read_jsonl
from busaug.runfolder import RUN_FILE, read_run

ORDER = ("prepare", "despeckle", "train", "explain", "augment")
"""Commands in the order in which runs are shown."""

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
        self._notes: dict[str, list[str]] = {}

    def add(self, run: Run, what: str) -> None:
        found = self._notes.setdefault(run.name, [])
        if what not in found:
            found.append(what)

    def items(self) -> list[tuple[str, list[str]]]:
        return list(self._notes.items())


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


def rows_of(run: Run, name: str, notes: Notes) -> list[Row]:
    """The rows of a JSON-lines file of the run; a note and none where it cannot be read."""
    try:
        return read_jsonl(run.folder / name)
    except InputError as error:
        notes.add(run, _without_folder(run, error.what))
        return []


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
    named = run.summary.get("catalog")
    places = [run.folder / named] if isinstance(named, str) else []
    places += [other.folder for other in runs if other.command == "prepare"]
    wanted = run.identity.get("catalog")
    for place in places:
        try:
            catalog = Catalog.load(place)
        except InputError:
            continue
        if wanted in (None, catalog.hash):
            return catalog
    notes.add(run, "its Catalog was not found, so that source images are not shown")
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
