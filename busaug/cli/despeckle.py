"""``busaug despeckle``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from busaug.cli.options import NewFolder

if TYPE_CHECKING:
    from busaug.config import Region, SradConfig
    from busaug.despeckle.files import FilesSummary
    from busaug.despeckle.run import DespeckleSummary


def despeckle(
    source: Annotated[
        Path, typer.Argument(help="A Catalog, an image file, or a folder of images.")
    ],
    out: NewFolder,
    scales: Annotated[int, typer.Option(help="Number of scales stored.")] = 8,
    iterations: Annotated[int, typer.Option(help="Iterations between two scales.")] = 10,
    time_step: Annotated[
        float,
        typer.Option(help="Time step, above 0 up to 1; a quarter of it weighs a flux."),
    ] = 0.5,
    q0: Annotated[
        str,
        typer.Option(
            help="Speckle scale: auto (quietest window), image, ROW,COLUMN,HEIGHT,WIDTH or number."
        ),
    ] = "auto",
    decay: Annotated[
        float, typer.Option(help="Rate at which a q0 given as number falls.", show_default="1/6")
    ] = 1 / 6,
    form: Annotated[int, typer.Option(help="Coefficient: 1 rational, 2 exponential.")] = 1,
    domain: Annotated[
        str, typer.Option(help="What pixels are: log (compressed, as B-mode is) or linear.")
    ] = "log",
    split: Annotated[str, typer.Option(help="Of a Catalog: train, val, test or all.")] = "all",
    frame: Annotated[
        str, typer.Option(help="Of a cine loop: first, middle, last or a number from 1.")
    ] = "first",
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="Of a Catalog's scales: png (a file an image), webdataset (tar shards) or auto: "
            "shards beyond 10,000 images over all scales.",
        ),
    ] = "auto",
) -> None:
    """Multi-scale speckle reduction (SRAD): OUT/scale_1 to OUT/scale_L.

    Of a Catalog each scale is one; of other images it holds a PNG file an image, and the figures
    before and after are printed: equivalent looks, contrast-to-noise ratio, edge preservation.
    """
    from busaug.data.catalog import CATALOG_FILE
    from busaug.errors import InputError
    from busaug.ops.srad import srad_options

    options = srad_options(
        scales=scales,
        iterations=iterations,
        time_step=time_step,
        q0=_speckle_scale(q0),
        decay=decay,
        form=form,
        domain=domain,
    )
    if not source.exists():
        raise InputError(f"{source} does not exist", remedy="Check the path")
    if (source / CATALOG_FILE).is_file():
        if frame != "first":
            raise InputError(
                f"{source} is a Catalog, whose images have one frame",
                remedy="Say --frame to 'busaug prepare'",
            )
        _catalog(source, out, options, split, image_format)
        return
    for name, value, default in (("--split", split, "all"), ("--format", image_format, "auto")):
        if value != default:
            raise InputError(
                f"{name} {value} is for a Catalog, and {source} is none",
                remedy=f"Leave {name} out, or make a Catalog with 'busaug prepare'",
            )
    _files(source, out, options, frame)


def _catalog(source: Path, out: Path, options: SradConfig, split: str, image_format: str) -> None:
    from busaug import console
    from busaug.cli.shared import choose_split
    from busaug.data.catalog import Catalog
    from busaug.despeckle.run import despeckle as run_despeckle
    from busaug.despeckle.scales import parse_format
    from busaug.files import atomic_folder
    from busaug.runfolder import RunFolder

    chosen = choose_split(Catalog.load(source), split)
    kind = parse_format(image_format, len(chosen.records) * options.scales)
    settings = {"srad": options.model_dump(mode="json"), "output": {"format": kind}}
    identity = {"catalog": chosen.hash, "config": settings}
    with atomic_folder(out) as folder:
        summary = run_despeckle(chosen, folder, options, kind)
        RunFolder(folder, "despeckle", identity).write(
            images=summary.images,
            skipped=list(summary.skipped),
            variation=list(summary.variation),
            equivalent_looks=list(summary.equivalent_looks),
        )
    for row in summary.skipped:
        console.warn(f"skipped {row['id']}: {row['reason']}")
    _print(summary, options.iterations)
    console.say("")
    console.say(f"{summary.images} images despeckled, {len(summary.skipped)} skipped: {out}")


def _files(source: Path, out: Path, options: SradConfig, frame: str) -> None:
    from busaug import console
    from busaug.data.decoders.frames import parse_frame
    from busaug.despeckle.files import STRIPS_MAX, despeckle_files
    from busaug.files import atomic_folder
    from busaug.runfolder import RunFolder

    chosen = parse_frame(frame)
    with atomic_folder(out) as folder:
        summary = despeckle_files(source, folder, options, chosen)
        identity = {
            "inputs": summary.inputs,
            "config": {"srad": options.model_dump(mode="json"), "frame": chosen},
        }
        RunFolder(folder, "despeckle", identity).write(
            images=summary.images,
            skipped=list(summary.skipped),
            figures=dataclasses.asdict(summary.figures),
        )
    for row in summary.skipped:
        console.warn(f"skipped {row['file']}: {row['reason']}")
    _print_figures(summary, options.iterations)
    console.say("")
    console.say(
        f"{summary.images} image{'' if summary.images == 1 else 's'} despeckled,"
        f" {len(summary.skipped)} skipped: {out}"
    )
    drawn = "side by side" if summary.images <= STRIPS_MAX else f"the first {STRIPS_MAX}"
    console.say(f"strips, {drawn}: {out / 'strips'}")


def _speckle_scale(text: str) -> str | float | Region:
    """``auto`` and ``image`` as they are, ``a,b,c,d`` as integers, else a number if it is one."""
    parts = text.split(",")
    try:
        if len(parts) == 4:
            row, column, height, width = (int(part) for part in parts)
            return row, column, height, width
        return float(text)
    except ValueError:
        return text


def _print(summary: DespeckleSummary, iterations: int) -> None:
    from rich.table import Table

    from busaug import console

    table = Table(box=None, pad_edge=False)
    for name in ("scale", "iterations", "variation", "looks"):
        table.add_column(name, justify="right")
    pairs = zip(summary.variation, summary.equivalent_looks, strict=True)
    for scale, (variation, looks) in enumerate(pairs):
        name = str(scale) if scale else "original"
        shown = "-" if looks is None else f"{looks:.1f}"
        table.add_row(name, str(scale * iterations), f"{variation:.4f}", shown)
    console.out.print(table)
    console.say(
        "pixel values in the quietest window of each image: standard deviation over mean and"
    )
    console.say("its inverse square, medians")


def _print_figures(summary: FilesSummary, iterations: int) -> None:
    from rich.table import Table

    from busaug import console

    figures = summary.figures
    table = Table(box=None, pad_edge=False)
    for name in ("scale", "iterations", "ENL", "CNR", "edges"):
        table.add_column(name, justify="right")
    columns = zip(figures.looks, figures.contrast, figures.edges, strict=True)
    for scale, (looks, contrast, edges) in enumerate(columns):
        table.add_row(
            str(scale) if scale else "original",
            str(scale * iterations),
            _number(looks, 1),
            _number(contrast, 2),
            _number(edges, 3),
        )
    console.out.print(table)
    which = "" if summary.images == 1 else ", medians over the images"
    console.say(f"of pixel values{which}: equivalent number of looks in the quietest window;")
    console.say("contrast-to-noise ratio of the lesion and its surroundings where there is a mask,")
    console.say("else of dark and bright areas; correlation of edges with the original's")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
