"""Tables as Markdown, CSV, HTML or on the terminal, and kept up to date within a document."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from busaug.errors import InputError
from busaug.experiment.quality_tables import quality_tables
from busaug.experiment.summary import FORMAT
from busaug.experiment.tables import Table, tables
from busaug.files import read_json
from busaug.quality.measure import FORMAT as QUALITY_FORMAT

_BLOCK = re.compile(r"<!-- results: (\S+)((?: [\w-]+)*) -->\n.*?<!-- end of results -->", re.DOTALL)
_INTERVAL = re.compile(r"\[(\S+), (\S+)\]")
_WIDE = 100
"""Whose inner space would let a line break there."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e3e8ed;
  vertical-align: top }
th { color: #5d6b7a; font-weight: 600 }
h2 { font-size: 1.05rem; margin: 2rem 0 .3rem }
p { color: #5d6b7a; font-size: .85rem; margin: .2rem 0 }
.wide { overflow-x: auto }
"""


def read_results(file: Path) -> Mapping[str, Any]:
    """A file of ``busaug experiment table --save`` or ``quality --save``; InputError for others."""
    found = read_json(file)
    if not isinstance(found, dict) or found.get("format") not in (FORMAT, QUALITY_FORMAT):
        raise InputError(
            f"{file} is no results file of this version ({FORMAT!r} or {QUALITY_FORMAT!r})",
            remedy="Make it with 'busaug experiment table OUT --save FILE'",
        )
    return found


def tables_of(results: Mapping[str, Any], sections: Sequence[str] = ()) -> list[Table]:
    """The tables of a results file, all or those of some sections.

    Raises InputError for an unknown section.
    """
    make = quality_tables if results["format"] == QUALITY_FORMAT else tables
    return make(results, sections)


def markdown(shown: Iterable[Table], *, level: int = 3) -> str:
    """GitHub's tables under headings of the level."""
    parts = []
    for table in shown:
        lines = [f"{'#' * level} {table.title}", ""]
        cells = [table.columns, *table.rows]
        head, *rows = ["| " + " | ".join(map(_escaped, row)) + " |" for row in cells]
        lines += [head, "| " + " | ".join("---" for _ in table.columns) + " |", *rows]
        lines += [line for note in table.notes for line in ("", note)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def csv_text(shown: Iterable[Table]) -> str:
    """Every cell as it is shown, a row of the title before each table, an empty one after it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for table in shown:
        writer.writerow([table.title])
        writer.writerow(table.columns)
        writer.writerows(table.rows)
        writer.writerow([])
    return text.getvalue()


def html_page(shown: Iterable[Table], title: str) -> str:
    """A page that needs nothing else."""
    parts = []
    for table in shown:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.columns)
        rows = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in table.rows
        ]
        parts += [
            f"<h2>{html.escape(table.title)}</h2>",
            f'<div class="wide"><table><thead><tr>{head}</tr></thead>',
            "<tbody>",
            *rows,
            "</tbody></table></div>",
            *(f"<p>{html.escape(note)}</p>" for note in table.notes),
        ]
    body = "\n".join(parts)
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{name}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def print_tables(shown: Sequence[Table]) -> None:
    """On standard output."""
    from rich.markup import escape
    from rich.table import Table as RichTable

    from busaug import console

    # wide enough, an interval is a word of its own; else it is parted between its limits
    interval = r"[\1,\2]" if console.out.width >= _WIDE else r"[\1, \2]"
    for table in shown:
        drawn = RichTable(box=None, pad_edge=False, title=escape(table.title), title_justify="left")
        for index, name in enumerate(table.columns):
            drawn.add_column(escape(name), no_wrap=index < table.heads, overflow="fold")
        for row in table.rows:
            drawn.add_row(*(escape(_INTERVAL.sub(interval, cell)) for cell in row))
        console.out.print(drawn)
        for note in table.notes:
            console.say(note)
        console.say("")


def updated(document: str, folder: Path) -> str:
    """The document with its tables made anew from the results files that it names.

    A block stands between ``<!-- results: FILE.json [SECTION ...] -->`` and
    ``<!-- end of results -->``; files are relative to ``folder``. Raises InputError where there is
    no block, or one names what is not there.
    """
    if not _BLOCK.search(document):
        raise InputError(
            "the document has no block for results",
            remedy="Put '<!-- results: FILE.json -->' and '<!-- end of results -->' into it",
        )

    def remade(block: re.Match[str]) -> str:
        file, sections = block.group(1), block.group(2).split()
        shown = tables_of(read_results(folder / file), sections)
        names = "".join(f" {name}" for name in sections)
        return f"<!-- results: {file}{names} -->\n\n{markdown(shown)}\n<!-- end of results -->"

    return _BLOCK.sub(remade, document)
