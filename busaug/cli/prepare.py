"""``busaug prepare``: data sets to a Catalog."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from busaug.data.ingest import PrepareSummary


def prepare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE... OUT",
            help="Data-set folders, then the folder of the new Catalog.",
            show_default=False,
        ),
    ],
    layout: Annotated[
        str,
        typer.Option(
            help="What the sources look like: auto, or one of busi, curated-busi, udiat, bus-bra,"
            " breast, bus-uclm, breastmnist, oasbud, gdph-sysucc, csv, folder (one a class)."
        ),
    ] = "auto",
    classes: Annotated[
        str, typer.Option(help="Classes to take, comma-separated, or 'all'.")
    ] = "benign,malignant",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    frame: Annotated[
        str,
        typer.Option(help="Of a cine loop: first, middle, last or a number from 1."),
    ] = "first",
    overlays: Annotated[
        bool, typer.Option(help="Detect burnt-in marks and the black surround; keep their masks.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Read data sets into one Catalog: decode, group near-duplicates, split 70/15/15 by group."""
    from busaug.data import ingest
    from busaug.data.decoders.frames import parse_frame
    from busaug.errors import InputError

    if len(paths) < 2:
        raise InputError(
            f"only one folder is named: {paths[0]}", remedy="Say busaug prepare SOURCE... OUT"
        )
    *sources, out = paths
    named = [name.strip() for name in classes.split(",") if name.strip()]
    wanted = None if named == ["all"] else named
    summary = ingest.prepare(
        sources,
        out,
        layout=layout,
        classes=wanted,
        seed=seed,
        frame=parse_frame(frame),
        overlays=overlays,
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(summary), indent=2))
    else:
        _print(summary, out)


def _print(summary: PrepareSummary, out: Path) -> None:
    from rich.table import Table

    from busaug import console
    from busaug.data.catalog import SPLITS
    from busaug.data.ingest import DROPPED_FILE, SKIPPED_FILE

    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in (*SPLITS, "all"):
        table.add_column(name, justify="right")
    rows = {label: [counts[split] for split in SPLITS] for label, counts in summary.images.items()}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for label, row in rows.items():
        table.add_row(label, *map(str, row), str(sum(row)))
    console.out.print(table)
    console.say("")
    console.say(
        f"near-duplicates     {_plural(summary.near_duplicate_images, 'image')} in"
        f" {_plural(summary.near_duplicate_groups, 'group')}, each group in one split"
    )
    if summary.marked_images is not None:
        console.say(
            f"overlays            {_plural(summary.marked_images, 'image')} with burnt-in marks or"
            " black surround, masked"
        )
    if summary.dropped_images:
        console.say(
            f"dropped             {_plural(summary.dropped_images, 'image')} in"
            f" {_plural(summary.dropped_groups, 'group')} of mixed class"
            f" ({out / DROPPED_FILE})"
        )
    if summary.unfit_images:
        reasons = ", ".join(f"{reason} {count}" for reason, count in summary.unfit_images.items())
        console.say(f"unfit, dropped      {reasons} ({out / DROPPED_FILE})")
    if summary.left_out:
        others = ", ".join(f"{label} {count}" for label, count in summary.left_out.items())
        console.say(f"classes left out    {others}")
    console.say(
        f"split proof         groups shared between splits: {summary.shared_groups}"
        f" of {summary.groups}"
    )
    console.say(f"Catalog             {out}")
    if summary.skipped_images:
        console.warn(
            f"{_plural(summary.skipped_images, 'image')} could not be used and"
            f" {'is' if summary.skipped_images == 1 else 'are'} listed in {out / SKIPPED_FILE}"
        )
    if summary.burnt_in_images:
        console.warn(
            f"{_plural(summary.burnt_in_images, 'DICOM image')} declared to have burnt-in"
            " annotation: look whether it names the patient"
        )
    for label, counts in summary.images.items():
        missing = [split for split in SPLITS if not counts[split]]
        if missing:
            console.warn(f"class {label} has too few groups: none in {', '.join(missing)}")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
