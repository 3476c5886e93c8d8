"""What pages with tables of benchmarks' figures have in common.

Figures come from files of pytest-benchmark, one for each run of the same tests, and are kept in a
file of docs; a page has each of its tables between two marks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from busaug.files import write_json, write_text

Results = Mapping[str, Any]
Row = tuple[str, str, str]
"""Figure, bar, measured."""

DOCS = Path(__file__).parents[1] / "docs"


def command(
    document: str | None, name: str, updated: Callable[[str, Path], str], *, others: bool = False
) -> None:
    """A script that keeps runs in docs/NAME.json and makes the tables of docs/NAME.md anew.

    ``updated`` takes the page and the folder of the results. With ``others`` it shows runs on other
    processors too, which are kept in docs/NAME-PROCESSOR.json.
    """
    parser = argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speed", type=Path, nargs="+", help="of pytest-benchmark, one a run")
    if others:
        parser.add_argument("--beside", metavar="PROCESSOR", help="they are of another processor")
    arguments = parser.parse_args()
    if arguments.speed:
        beside = f"-{arguments.beside}" if others and arguments.beside else ""
        write_json(DOCS / f"{name}{beside}.json", kept(arguments.speed))
    page = DOCS / f"{name}.md"
    write_text(page, updated(page.read_text(encoding="utf-8"), DOCS))


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
        "processor": _processor(runs[0]["machine_info"]["cpu"]),
        "date": runs[0]["datetime"][:10],
        "tests": tests,
    }


def _processor(cpu: Results) -> str:
    """Its name, and the most of the vector instructions that it has."""
    name = cpu.get("brand_raw", "unknown")
    kinds = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "avx512f": "AVX-512", "avx2": "AVX2"}
    most = next((kind for flag, kind in kinds.items() if flag in cpu.get("flags", ())), None)
    return f"{name} ({most})" if most else name


def table(rows: Sequence[Row]) -> list[str]:
    return markdown(("figure", "bar", "measured; bold where the bar is missed"), rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [heads, ("---",) * len(heads), *rows]
    return ["| " + " | ".join(row) + " |" for row in cells]


def updated(document: str, lines: Sequence[str], name: str = "bars") -> str:
    """The page with ``lines`` between its marks of this name."""
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = document.partition(first)
    _, ended, after = rest.partition(last)
    if not found or not ended:
        raise SystemExit(f"the page has lost its marks <!-- {name} --> and {last}")
    return before + found + "\n" + "\n".join(lines) + "\n\n" + last + after


def over_runs(
    values: Sequence[float], met: Callable[[float], bool] = lambda _: True, form: str = ".2f"
) -> str:
    """The median, bold where it misses the bar, and least and most of more runs than one."""
    middle = median(values)
    ends = [format(x, form) for x in (min(values), max(values))]
    spread = f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else ""
    return bold(format(middle, form), met(middle)) + spread


def bold(text: str, met: bool) -> str:
    return text if met else f"**{text}**"
