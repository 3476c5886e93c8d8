"""``busaug experiment sheet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from busaug.cli.options import CatalogFolder


def sheet(
    catalog: CatalogFolder,
    out: Annotated[Path, typer.Argument(help="PNG file to write.")],
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of 'busaug augment', or OUT/sets/ARM of an experiment."),
    ],
    rows: Annotated[int, typer.Option(min=1, max=50, help="Contents of each class.")] = 2,
    side: Annotated[int, typer.Option(min=32, max=512, help="Side of a picture, pixels.")] = 160,
    model: Annotated[
        str | None,
        typer.Option(help="Folder of 'busaug train': its relevance below every picture."),
    ] = None,
) -> None:
    """Show the same contents across runs or arms side by side, and where a network looks.

    Contents that every run has a picture of; rejected ones too, where a run kept them.
    """
    from busaug import console
    from busaug.data.catalog import Catalog
    from busaug.errors import InputError
    from busaug.experiment.sheet import compare, write_sheet
    from busaug.explain.predictor import load_predictor

    named = {folder.resolve().name: folder for folder in runs}
    if len(named) < len(runs):
        raise InputError("two runs have the same name", remedy="Rename one of the folders")
    predictor = load_predictor(model) if model else None
    lines = compare(Catalog.load(catalog), named, rows, side)
    write_sheet(out, list(named), lines, side, predictor)
    console.result({"out": str(out), "contents": [line.content.id for line in lines]})
    console.say(f"{len(lines)} contents, {len(named)} runs: {out}")
