"""What a training needs to go on after it was stopped: one file beside the output folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from busaug.errors import InputError, OutputError
from busaug.files import atomic_file
from busaug.runfolder import Resume, RunFolder, differences

_HEADER = "busaug_training"


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """A training after some epoch."""

    facts: Mapping[str, Any]
    """Plain values."""
    tensors: Mapping[str, Tensor]

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors called ``name.KEY``, by KEY."""
        start = f"{name}."
        return {
            key.removeprefix(start): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(start)
        }


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The one snapshot of a run, replaced after every epoch and removed at the end."""

    run: RunFolder
    """Whose ``path`` is the output folder that will appear when training is done."""

    @property
    def path(self) -> Path:
        return self.run.path.with_name(f".{self.run.path.name}.checkpoint")

    def save(self, snapshot: Snapshot) -> None:
        header = {"identity": self.run.identity, "hash": self.run.hash, "facts": snapshot.facts}
        tensors = {
            key: value.detach().cpu().contiguous() for key, value in snapshot.tensors.items()
        }
        with atomic_file(self.path) as temporary:
            save_file(tensors, temporary, metadata={_HEADER: json.dumps(header)})

    def load(self, resume: Resume) -> Snapshot | None:
        """The snapshot to continue from, or None to start anew.

        Raises OutputError for one of another run, InputError for one that cannot be read, and with
        ``always`` where there is none.
        """
        if resume == "never":
            self.remove()
        if not self.path.exists():
            if resume == "always":
                raise InputError(
                    f"there is no interrupted training of {self.run.path} to resume",
                    remedy="Start it with --resume if-possible",
                )
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError) as error:
            raise InputError(
                f"checkpoint {self.path} cannot be read: {error}",
                remedy="Discard it with --resume never",
            ) from error
        if header["hash"] != self.run.hash:
            raise OutputError(
                f"{self.path} belongs to another run "
                f"({differences(header['identity'], self.run.identity)})",
                remedy="Repeat the old configuration, or discard it with --resume never",
            )
        return Snapshot(header["facts"], tensors)

    def remove(self) -> None:
        """Remove it, and what was half-written of it when a process was killed."""
        self.path.unlink(missing_ok=True)
        for leftover in self.path.parent.glob(f".{self.path.name}.*.part"):
            leftover.unlink()
