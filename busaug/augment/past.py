"""A finished run of ``augment``, found again from its folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from busaug.augment.job import Job
from busaug.augment.manifest import Manifest
from busaug.augment.run import COMMAND
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.explain.predictor import Predictor
from busaug.models.weights import Weights
from busaug.runfolder import RUN_FILE, read_run


@dataclasses.dataclass(frozen=True)
class PastRun:
    """What a run's own files say of it."""

    folder: Path
    identity: Mapping[str, Any]
    hash: str
    """As ``run.json`` has it."""
    summary: Mapping[str, Any]
    config: Config
    catalog: Catalog
    """That the run was made from, or the one named in its place."""
    styles: Catalog | None = None
    """Likewise, where another gave the styles."""

    @classmethod
    def open(cls, folder: Path, catalog: Path | None = None, styles: Path | None = None) -> PastRun:
        """The run in ``folder``. InputError where there is none, or none that is finished.

        ``catalog`` is where the Catalog lies now, ``styles`` that of the styles where it is
        another; by default where they lay then, seen from ``folder``.
        """
        record = read_run(folder) if folder.is_dir() else None
        if record is None or record.get("command") != COMMAND:
            raise InputError(
                f"{folder} holds no run of 'busaug {COMMAND}'",
                remedy=f"Name an output folder of 'busaug {COMMAND}'",
            )
        if not record["summary"]:
            raise InputError(
                f"the run in {folder} is not finished", remedy="Give its command again"
            )
        try:
            config = Config.model_validate(record["identity"]["config"])
        except (ValidationError, KeyError) as error:
            raise InputError(
                f"{folder / RUN_FILE} has settings that this version does not know",
                remedy=f"Use busaug {record['busaug']}, which wrote it",
            ) from error
        place = catalog or folder / record["summary"]["catalog"]
        lent = record["summary"].get("styles")
        styled = None if lent is None else Catalog.load(styles or folder / lent)
        return cls(
            folder,
            record["identity"],
            record["hash"],
            record["summary"],
            config,
            Catalog.load(place),
            styled,
        )

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.folder)

    @property
    def balance(self) -> float:
        """The weight between the losses that the run was made with."""
        return float(self.summary["balance"])

    def job(self, weights: Weights, explainer: Predictor | None) -> Job:
        """The run's job, to be done again with the same networks."""
        return Job(self.catalog, self.config, weights, explainer, self.styles, self.allows_leak)

    @property
    def allows_leak(self) -> bool:
        return bool(self.identity.get("styles", {}).get("allow_leak", False))

    @functools.cached_property
    def sources(self) -> Sources:
        """Contents and styles, all leaks let pass: they are told where they are asked for."""
        if self.styles is None:
            return Sources.of(self.catalog.split("train"))
        return Sources.between(self.catalog, self.styles, allow_leak=True)
