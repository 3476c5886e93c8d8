"""Output folders that know which run they belong to.

Every command that writes a folder keeps ``run.json`` in it: the command, the identity (resolved
configuration, hashes of inputs) and a summary. A folder of another identity is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from busaug import __version__
from busaug.config import canonical_hash
from busaug.console import warn
from busaug.errors import OutputError
from busaug.files import explain_write_errors, read_json, write_json

RUN_FILE = "run.json"

Resume = Literal["never", "if-possible", "always"]
"""What to do about a run that was stopped: start anew, continue where there is one, insist."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one command with one identity."""

    path: Path
    command: str
    identity: Mapping[str, Any]

    @property
    def hash(self) -> str:
        return canonical_hash({"command": self.command, **self.identity})

    def write(self, **summary: Any) -> None:
        """Write ``run.json``: command, hash, identity and what the run found out."""
        record = {
            "command": self.command,
            "hash": self.hash,
            "busaug": __version__,
            "identity": dict(self.identity),
            "summary": summary,
        }
        write_json(self.path / RUN_FILE, record)

    def summary(self) -> dict[str, Any]:
        """What ``write`` was given when the run was done; empty before."""
        found: dict[str, Any] = (read_run(self.path) or {}).get("summary", {})
        return found


def open_run(
    path: Path, command: str, identity: Mapping[str, Any], *, resume: Resume = "never"
) -> RunFolder:
    """Take ``path`` for this run: new or empty, or already of this identity.

    ``resume`` says which: ``never`` only a new one, ``always`` only an old one. Raises OutputError
    for all else.
    """
    run = RunFolder(path, command, identity)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file", remedy="Name an output folder")
    if not path.exists() or not any(path.iterdir()):
        if resume == "always":
            raise OutputError(
                f"{path} holds no run to continue", remedy="Say --resume if-possible, or never"
            )
        with explain_write_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        run.write()
        return run
    if not (path / RUN_FILE).is_file():
        raise OutputError(
            f"{path} is not empty and belongs to no busaug run", remedy="Choose an empty folder"
        )
    before = read_json(path / RUN_FILE)
    if before.get("command") != command:
        raise OutputError(
            f"{path} holds a run of 'busaug {before.get('command')}', not of 'busaug {command}'",
            remedy="Choose another output folder",
        )
    if before.get("hash") != run.hash:
        raise OutputError(
            f"{path} belongs to another run ({differences(before['identity'], identity)})",
            remedy="Choose another output folder, or repeat the old configuration",
        )
    if resume == "never":
        raise OutputError(
            f"{path} already holds this run",
            remedy="Say --resume if-possible, or choose another folder",
        )
    if (version := before.get("busaug")) != __version__:
        warn(
            f"{path} was begun by busaug {version}, this is {__version__}: what is there stays, "
            "what comes may differ"
        )
    return run


def read_run(path: Path) -> dict[str, Any] | None:
    """The run record of a folder, or None where it has none."""
    file = path / RUN_FILE
    return read_json(file) if file.is_file() else None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The leaves in which two identities differ, by dotted name, for a message."""
    return "; ".join(_leaves(before, now))


def _leaves(before: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found: list[str] = []
        for key in dict.fromkeys([*now, *before]):
            path = f"{name}.{key}" if name else str(key)
            found += _leaves(before.get(key), now.get(key), path)
        return found
    return [] if before == now else [f"{name}: {_short(before)} there, {_short(now)} here"]


def _short(value: Any) -> str:
    """A value for a message; hashes are known by their beginning."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:13]}..."
