"""What ``busaug prepare`` makes of a miniature of every data set: writes docs/readers.md.

python docs/reader_table.py
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/readers.md"
sys.path.insert(0, str(ROOT / "tests"))

from data import miniatures  # noqa: E402

from busaug.cli import app  # noqa: E402
from busaug.data.catalog import Catalog  # noqa: E402
from busaug.data.readers import choose_reader  # noqa: E402
from busaug.files import read_jsonl  # noqa: E402

_HEAD = """\
# What each reader makes of its data set

Made by `docs/reader_table.py`, and compared by the tests. The data sets are miniatures:
`tests/data/miniatures.py` builds each small, with its names, separators, encodings and mask
conventions, and pixels made up. Of the data sets themselves BUSI alone was at hand.
[datasets.md](datasets.md) tells what each layout is known by.

Groups are of patients, cases and near-duplicates, and never part. Masks are counted by image.
"Left out" are classes not asked for: only `benign` and `malignant` are taken unless `--classes`
says otherwise.
"""

_REAL = """\
## Real images

BUSI's images are not in this repository; a test that has them compares these counts. `busi_256` is
437 benign, 210 malignant and 20 of the normal images squashed to 256 x 256 pixels, with masks for
some; `busi_native` is 20 images as published. Near-duplicates that carry different classes are
dropped.
"""

_COLUMNS = ("data set", "images", "kept", "groups", "masks", "left out", "dropped or skipped")

REAL: Mapping[str, tuple[str, ...]] = {
    "busi_256": (
        *("`busi_256`", "667", "benign 428, malignant 204", "497", "84", "normal 20"),
        "near-duplicates carry the classes benign, malignant: 15",
    ),
    "busi_native": ("`busi_native`", "20", "benign 10, malignant 10", "14", "20", "none", "none"),
}
"""Rows for real images, by their folder."""


def render() -> str:
    with _inside_a_new_folder():
        outputs = {name: _prepare(make(Path(name))) for name, make in miniatures.ALL.items()}
        rows = [counts(Path(name), Path("catalog") / name) for name in miniatures.ALL]
    parts = [_HEAD, _table(rows), _REAL, _table(list(REAL.values()))]
    for name, output in outputs.items():
        parts.append(f"## {name}\n\n```text\n$ busaug prepare {name} catalog/{name}\n{output}```\n")
    return "\n".join(parts)


def counts(source: Path, catalog: Path) -> tuple[str, ...]:
    """A row of the table, from the reader's list and the finished Catalog."""
    found = choose_reader(source).read(source)
    made = Catalog.load(catalog)
    lost = [
        row["reason"].removesuffix(", says the data set")
        for name in ("dropped.jsonl", "skipped.jsonl")
        if (catalog / name).exists()
        for row in read_jsonl(catalog / name)
    ]
    unasked = Counter(f.label.lower() for f in found if f.label.lower() not in made.labels)
    return (
        f"`{source.name}`",
        str(len(found)),
        _list(Counter(record.label for record in made.records)),
        str(len({record.group for record in made.records})),
        str(sum(record.mask is not None for record in made.records)),
        _list(unasked),
        "; ".join(f"{reason}: {count}" for reason, count in sorted(Counter(lost).items()))
        or "none",
    )


def _prepare(source: Path) -> str:
    """What the command prints, without its progress."""
    words = ["busaug", "prepare", source.name, f"catalog/{source.name}"]
    said = io.StringIO()
    with (
        patch.object(sys, "argv", words),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        contextlib.suppress(SystemExit),
    ):
        app.main()
    lines = (line.rstrip() for line in said.getvalue().splitlines())
    return "".join(f"{line}\n" for line in lines if not line.startswith("decoding: "))


@contextlib.contextmanager
def _inside_a_new_folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _list(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items())) or "none"


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = (_COLUMNS, ("---",) * len(_COLUMNS), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
