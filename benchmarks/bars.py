"""What the pages that set figures beside their bars have in common.

Ratios come from files of pytest-benchmark, one for each run of the same tests, and are kept in a
file of docs; a page has its table between two marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Results = Mapping[str, Any]
Row = tuple[str, str, str]
"""Figure, bar, measured."""

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"(<!-- bars -->\n).*?(<!-- end of bars -->)", re.DOTALL)


def kept(files: Sequence[Path]) -> dict[str, Any]:
    """Of every test its ``extra_info``, key by key a list over the runs; processor and date."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    names = [[test["name"] for test in run["benchmarks"]] for run in runs]
    if any(others != names[0] for others in names):
        raise SystemExit("the files are of different tests: repeat the same command")
    tests: dict[str, dict[str, list[Any]]] = {name: {} for name in names[0]}
    for run in runs:
        for test in run["benchmarks"]:
            for key, value in test["extra_info"].items():
                tests[test["name"]].setdefault(key, []).append(value)
    return {
        "processor": runs[0]["machine_info"]["cpu"].get("brand_raw", "unknown"),
        "date": runs[0]["datetime"][:10],
        "tests": tests,
    }


def table(rows: Sequence[Row]) -> list[str]:
    """As Markdown."""
    cells = [("figure", "bar", "measured; bold where the bar is missed"), ("---",) * 3, *rows]
    return ["| " + " | ".join(row) + " |" for row in cells]


def updated(document: str, lines: Sequence[str]) -> str:
    """The page with ``lines`` between its marks."""
    text = "\n".join(lines)
    made, count = _BLOCK.subn(lambda block: f"{block[1]}\n{text}\n\n{block[2]}", document)
    if count != 1:
        raise SystemExit("the page has lost its marks <!-- bars --> and <!-- end of bars -->")
    return made


def marked(values: Sequence[float], met: Callable[[float], bool], form: str = ".2f") -> str:
    """The values, bold where the bar is not met."""
    return ", ".join(bold(format(value, form), met(value)) for value in values)


def bold(text: str, met: bool) -> str:
    return text if met else f"**{text}**"
