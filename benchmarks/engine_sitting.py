"""All bars of docs/engine.md measured one after the other in one sitting, on the processor.

    python benchmarks/engine_sitting.py CATALOG FOLDER --weights FILE

Nothing else should run meanwhile. Two cores take some two hours, without plain arms of
``loss_curves.py`` that it can keep half an hour less. FOLDER, which must not be there yet, gets the
run on 200 contents and pytest-benchmark's files. Speed is measured at the beginning, between the
other measurements and at the end. Results go to docs, with what was run when and how long it took
(``sitting.json``), and the tables of docs/engine.md and docs/real-images.md are made anew.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bars import DOCS

from busaug.files import write_json

HERE = Path(__file__).parent
CONTENTS = 200
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
BUSAUG = ("-m", "busaug")


class Sitting:
    """Commands one after the other, and what is told of them."""

    def __init__(self, weights: str) -> None:
        self._environment = os.environ | {"BUSAUG_WEIGHTS": weights}
        self._begin = datetime.datetime.now(datetime.UTC)
        self._steps: list[dict[str, Any]] = []

    def run(self, what: str, *arguments: str | Path) -> None:
        """Python with these arguments; a failure ends the sitting."""
        words = [sys.executable, *map(str, arguments)]
        print("$", shlex.join(words), flush=True)
        begin = time.perf_counter()
        subprocess.run(words, env=self._environment, check=True)
        minutes = (time.perf_counter() - begin) / 60
        self._steps.append({"what": what, "minutes": round(minutes, 1)})

    def save(self, file: Path) -> None:
        times = {"begin": self._begin, "end": datetime.datetime.now(datetime.UTC)}
        shown = {name: f"{moment:%Y-%m-%d %H:%M} UTC" for name, moment in times.items()}
        write_json(file, {**shown, "steps": self._steps})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    given = parser.parse_args()
    # Said now and not after the first measurement.
    for file in (given.catalog, given.weights):
        if not file.exists():
            parser.error(f"{file} is not there")
    if given.folder.exists():
        parser.error(f"{given.folder} is there already: name a new folder")
    given.folder.mkdir(parents=True)
    measure(given.catalog, given.folder, given.weights.absolute())


def measure(catalog: Path, folder: Path, weights: Path) -> None:
    sitting = Sitting(str(weights))
    speeds = [folder / f"speed-{turn}.json" for turn in (1, 2, 3)]
    augmented, real = folder / "augmented", DOCS / "real-images.md"
    common = (catalog, "--weights", weights)
    curves = ("--threads", "1", "--out", DOCS / "loss-curves")
    settings = (f"plan.contents={CONTENTS}", "compute.threads=1")
    changes = [part for setting in settings for part in ("--set", setting)]

    sitting.run("speed", *speed(speeds[0]))
    sitting.run("loss against evaluations", *TORCHRUN, HERE / "loss_curves.py", *common, *curves)
    sitting.run("speed", *speed(speeds[1]))
    levels = ("--out", DOCS / "resolution")
    sitting.run("levels, large image", HERE / "resolution.py", *common, *levels)
    run = (*BUSAUG, "augment", catalog, augmented, "--weights", weights)
    sitting.run(f"{CONTENTS} contents", *TORCHRUN, *run, *changes)
    quality = (*BUSAUG, "experiment", "quality", catalog, augmented, "--size", "224")
    sitting.run("their quality", *quality, "--save", DOCS / "results/augmented.json")
    sitting.run("speed", *speed(speeds[2]))
    sitting.save(DOCS / "sitting.json")

    sitting.run("page", *BUSAUG, "experiment", "table", real, "--update")
    sitting.run("page", HERE / "engine_bars.py", "--speed", *speeds)


def speed(file: Path) -> tuple[str | Path, ...]:
    """The step, the plain loop and the convolutions."""
    tests = (HERE / "test_engine.py", HERE / "test_convolution.py")
    chosen = ("-k", "single or convolution or float64")
    return ("-m", "pytest", "-q", *tests, "--benchmark-enable", "--benchmark-json", file, *chosen)


if __name__ == "__main__":
    main()
