"""``busaug experiment table``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SECTIONS = ("setting", "made", "metrics", "differences", "confusion", "leak", "claims")
_QUALITY_SECTIONS = (
    *("setting", "transfer", "transfer-by-class"),
    *("speckle", "distances", "memory", "relevance"),
)
_FORMATS = ("terminal", "markdown", "csv", "html")
_BY_SUFFIX = {".md": "markdown", ".csv": "csv", ".html": "html", ".htm": "html"}


def table(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder of 'busaug experiment run', a results file of --save, or with --update a "
            "Markdown document.",
        ),
    ],
    kind: Annotated[
        str,
        typer.Option("--format", help=f"{', '.join(_FORMATS)}; default: as --out is called."),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep all figures in this results file (JSON).")
    ] = None,
    section: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(_SECTIONS)}; of a quality file {', '.join(_QUALITY_SECTIONS)}; "
            "repeatable."
        ),
    ] = None,
    baseline: Annotated[str, typer.Option(help="Arm that the others are compared with.")] = "none",
    replicates: Annotated[
        int, typer.Option(min=100, max=100_000, help="Draws of intervals and permutation tests.")
    ] = 2000,
    update: Annotated[
        bool,
        typer.Option("--update", help="Make the tables in the document OUT anew, in place."),
    ] = False,
) -> None:
    """Tables of an experiment: means with intervals, differences, confusion, leak, claims."""
    from busaug import console
    from busaug.errors import InputError
    from busaug.experiment import render
    from busaug.files import write_json, write_text

    if update:
        document = _read(source)
        write_text(source, render.updated(document, source.parent))
        console.say(f"updated: {source}")
        return
    form = kind or _BY_SUFFIX.get(out.suffix if out else "", "terminal")
    if form not in _FORMATS:
        raise InputError(f"unknown --format {form!r}", remedy=f"Use one of {', '.join(_FORMATS)}")
    if source.is_dir():
        from busaug.experiment.results import read_experiment
        from busaug.experiment.summary import summarise

        results = summarise(read_experiment(source), baseline=baseline, replicates=replicates)
    else:
        results = dict(render.read_results(source))
    if save is not None:
        write_json(save, results)
    shown = render.tables_of(results, section or ())
    if form == "terminal":
        if out is not None:
            raise InputError(
                f"--out {out} needs a --format", remedy=f"Use one of {', '.join(_FORMATS[1:])}"
            )
        render.print_tables(shown)
    else:
        text = {
            "markdown": lambda: render.markdown(shown, level=2),
            "csv": lambda: render.csv_text(shown),
            "html": lambda: render.html_page(shown, f"Results of {source.name}"),
        }[form]()
        if out is None:
            typer.echo(text, nl=False)
        else:
            write_text(out, text)
    for file in filter(None, (save, out)):
        console.say(f"written: {file}")


def _read(file: Path) -> str:
    from busaug.errors import InputError

    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read: {error}", remedy="Name a Markdown document"
        ) from error
