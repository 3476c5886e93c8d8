"""``busaug despeckle``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from busaug.cli.options import CatalogFolder, NewFolder

if TYPE_CHECKING:
    from busaug.config import Region
    from busaug.despeckle.run import DespeckleSummary


def despeckle(
    catalog: CatalogFolder,
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
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="png (a file an image), webdataset (tar shards) or auto: shards beyond 10,000 "
            "images over all scales.",
        ),
    ] = "auto",
) -> None:
    """Multi-scale speckle reduction (SRAD): one Catalog a scale, OUT/scale_1 to OUT/scale_L."""
    from busaug import console
    from busaug.cli.shared import choose_split
    from busaug.data.catalog import Catalog
    from busaug.despeckle.run import despeckle as run_despeckle
    from busaug.despeckle.scales import parse_format
    from busaug.files import atomic_folder
    from busaug.ops.srad import srad_options
    from busaug.runfolder import RunFolder

    options = srad_options(
        scales=scales,
        iterations=iterations,
        time_step=time_step,
        q0=_speckle_scale(q0),
        decay=decay,
        form=form,
        domain=domain,
    )
    chosen = choose_split(Catalog.load(catalog), split)
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
    _print(summary, iterations)
    console.say("")
    console.say(f"{summary.images} images despeckled, {len(summary.skipped)} skipped: {out}")


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
