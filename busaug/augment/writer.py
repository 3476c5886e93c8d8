"""Writing the images and rows of work units."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from busaug.augment.engine import Outcome
from busaug.augment.manifest import Manifest, Row, manifest_row
from busaug.augment.plan import Unit
from busaug.augment.runlog import RunLog
from busaug.config import Config
from busaug.data.images import pixel_hash, to_gray, write_pixels
from busaug.trace import span

_TEXT_KEYS = ("id", "content", "references", "class", "seed", "loss_final", "style_left", "ssim")


class Writer:
    """Writes units into a run folder: images first, their manifest part last."""

    def __init__(self, folder: Path, manifest: Manifest, config: Config) -> None:
        self._folder = folder
        self._manifest = manifest
        self._seed = config.seed
        self._keep_rejected = config.output.keep_rejected

    def write(self, unit: Unit, outcomes: Sequence[Outcome]) -> list[Row]:
        with span("write"):
            rows = [self._write(outcome) for outcome in outcomes]
            self._manifest.add(unit, rows)
        return rows

    def _write(self, outcome: Outcome) -> Row:
        keep = outcome.accepted or self._keep_rejected
        if outcome.image is None or not keep:
            return manifest_row(outcome, None, None, self._seed)
        place = "images" if outcome.accepted else "rejected"
        file = f"{place}/{outcome.pair.label}/{outcome.pair.id}.png"
        pixels = to_gray(outcome.image, outcome.pair.content.bit_depth).pixels
        row = manifest_row(outcome, file, pixel_hash(pixels), self._seed)
        text = {f"busaug:{key}": json.dumps(row[key]) for key in _TEXT_KEYS}
        write_pixels(self._folder / file, pixels, text)
        return row


class WriteBehind:
    """Writes units on a thread of its own, so that encoding and disk overlap with computing.

    A context manager; one unit at most waits for the disk. Where writing fails, the next call or
    the end of the context raises the error. A context left by an error, or by a signal, still
    writes what was computed.
    """

    def __init__(self, writer: Writer, log: RunLog) -> None:
        self._writer = writer
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: Future[None] | None = None

    def submit(self, unit: Unit, outcomes: Sequence[Outcome], compute_s: float) -> None:
        """Have a unit written; ``compute_s``, the seconds that it took, go to the log."""
        self._settle()
        self._waiting = self._thread.submit(self._write, unit, outcomes, compute_s)

    def _write(self, unit: Unit, outcomes: Sequence[Outcome], compute_s: float) -> None:
        begin = time.perf_counter()
        rows = self._writer.write(unit, outcomes)
        self._log.add(
            unit=unit.index,
            images=len(rows),
            compute_s=round(compute_s, 4),
            write_s=round(time.perf_counter() - begin, 4),
        )

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self._settle()
