"""Writing the images and rows of work units."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from typing_extensions import Self

from busaug.augment.engine import Outcome
from busaug.augment.manifest import Manifest, Row, manifest_row
from busaug.augment.plan import Unit
from busaug.augment.runlog import RunLog
from busaug.augment.store.base import Picture, Store
from busaug.config import Config
from busaug.data.images import encode_png, pixel_hash, to_gray
from busaug.files import atomic_file
from busaug.trace import span

_TEXT_KEYS = ("id", "content", "references", "class", "seed", "loss_final", "style_left", "ssim")


def encode(outcome: Outcome, file: str, seed: int) -> Picture:
    """An outcome that has an image: its PNG at the content's depth, and its row; ``seed`` is the
    run's.
    """
    assert outcome.image is not None
    pixels = to_gray(outcome.image, outcome.pair.content.bit_depth).pixels
    row = manifest_row(outcome, file, pixel_hash(pixels), seed)
    text = {f"busaug:{key}": json.dumps(row[key]) for key in _TEXT_KEYS}
    return Picture(row, encode_png(pixels, text))


class Writer:
    """Writes units into a run folder: images first, their manifest part last."""

    def __init__(self, manifest: Manifest, store: Store, config: Config) -> None:
        self._manifest = manifest
        self._store = store
        self._seed = config.seed
        self._keep_rejected = config.output.keep_rejected

    def write(self, unit: Unit, outcomes: Sequence[Outcome]) -> list[Row]:
        with span("write"):
            rows: list[Row] = []
            accepted: list[Picture] = []
            for outcome in outcomes:
                picture = self._picture(unit, outcome)
                if picture is None:
                    rows.append(manifest_row(outcome, None, None, self._seed))
                    continue
                rows.append(picture.row)
                if outcome.accepted:
                    accepted.append(picture)
                else:
                    self._write_rejected(picture)
            self._store.keep(unit, accepted)
            self._manifest.add(unit, rows)
        return rows

    def _picture(self, unit: Unit, outcome: Outcome) -> Picture | None:
        """The outcome's image, encoded; None where it has none that is kept."""
        if outcome.image is None or not (outcome.accepted or self._keep_rejected):
            return None
        pair = outcome.pair
        rejected = f"rejected/{pair.label}/{pair.id}.png"
        file = self._store.place(unit, pair) if outcome.accepted else rejected
        return encode(outcome, file, self._seed)

    def _write_rejected(self, picture: Picture) -> None:
        """As a file of its own in any format: they are few, and kept to be looked at."""
        with atomic_file(self._manifest.folder / picture.row["file"]) as temporary:
            temporary.write_bytes(picture.png)


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
