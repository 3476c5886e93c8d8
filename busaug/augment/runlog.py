"""What a run took: volatile facts, apart from everything that equal runs share."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from busaug.distributed.communicator import Communicator
from busaug.files import explain_write_errors

FOLDER = "runlog"


class RunLog:
    """``runlog/rank-R.jsonl``: a line for every phase and unit of one process, runs appended."""

    def __init__(self, run_folder: Path, comm: Communicator) -> None:
        self._file = run_folder / FOLDER / f"rank-{comm.rank}.jsonl"
        self._facts = {"rank": comm.rank, "processes": comm.size, "host": socket.gethostname()}

    def add(self, **values: Any) -> None:
        """Append a line: these values, who and when."""
        stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        entry = {**values, **self._facts, "finished": stamp}
        with explain_write_errors(self._file):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a part of the run that is no unit; logged if it succeeds."""
        begin = time.perf_counter()
        yield
        self.add(phase=name, seconds=round(time.perf_counter() - begin, 4))
