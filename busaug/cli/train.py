"""``busaug train`` and ``busaug evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from busaug import console
from busaug.cli.options import (
    CatalogFolder,
    ConfigFile,
    Distributed,
    NewFolder,
    Overrides,
    Preset,
    Resume,
    WeightsSource,
)


def train(
    catalog: CatalogFolder,
    out: NewFolder,
    synthetic: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of 'busaug augment' to add to the training images; repeatable."),
    ] = None,
    weights: WeightsSource = None,
    config: ConfigFile = None,
    preset: Preset = "default",
    overrides: Overrides = None,
    resume: Resume = "if-possible",
    distributed: Distributed = "auto",
) -> None:
    """Train the ResNet-50 classifier on the training split; the best validation epoch is kept.

    Under torchrun or horovodrun every process computes its share of each batch.
    """
    from busaug.classify.train import train as run_train
    from busaug.cli.shared import parse_resume, resolve_compute
    from busaug.config import load_config
    from busaug.data.catalog import Catalog
    from busaug.distributed.communicator import agreed, node_first
    from busaug.distributed.opening import open_communicator
    from busaug.files import read_json
    from busaug.models.weights import resolve_weights

    resolved = resolve_compute(load_config(config, preset=preset, overrides=list(overrides or ())))
    how = parse_resume(resume)
    with open_communicator(distributed, device=resolved.compute.device) as comm:
        with agreed(comm):
            source = Catalog.load(catalog)
            made = [Catalog.load(path) for path in synthetic or ()]
        start = node_first(comm, lambda: resolve_weights(weights, seed=resolved.seed))
        if not start.pretrained and comm.is_root:
            console.warn("no pretrained weights: training starts from random values")
        summary = run_train(source, out, resolved, start, made, comm=comm, resume=how)
        if not comm.is_root:
            return

    validation = read_json(out / "metrics_val.json")
    figures = {name: validation[name] for name in ("confusion", "metrics", "undefined")}
    console.result({"out": str(out), **summary, "validation": figures})
    counts = ", ".join(f"{label} {n}" for label, n in summary["images"]["train"].items())
    added = f", {summary['synthetic']} of them synthetic" if summary["synthetic"] else ""
    console.say(f"trained on {counts} images{added}; {summary['updates']} updates")
    console.say(f"best epoch {summary['best_epoch']} of {summary['epochs']}, on validation images:")
    _print_metrics(validation)
    console.say(f"model: {out / 'model.safetensors'}")


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CKPT", help="Folder of 'busaug train', or its model file.")
    ],
    catalog: CatalogFolder,
    split: Annotated[
        str, typer.Option(help="train, val, test, or all for a data set from elsewhere.")
    ] = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="JSON file; default: metrics_<split>.json in the folder of CKPT."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    distributed: Distributed = "auto",
) -> None:
    """Confusion matrix and metrics of a classifier on every image of a split.

    Of the likeliest class, and at the threshold that training fixed on its validation images.
    """
    from busaug.classify.evaluate import evaluate as run_evaluate
    from busaug.cli.shared import parse_split
    from busaug.data.catalog import Catalog
    from busaug.distributed.communicator import agreed
    from busaug.distributed.opening import open_communicator
    from busaug.files import write_json

    chosen = "all" if split == "all" else parse_split(split, "all")
    with open_communicator(distributed, device=device) as comm:
        with agreed(comm):
            source = Catalog.load(catalog)
        result = run_evaluate(checkpoint, source, chosen, device=device, comm=comm)
        if not comm.is_root:
            return
    row = {"split": chosen, **result.row()}
    if out is None and checkpoint.is_dir():
        out = checkpoint / f"metrics_{chosen}.json"
    if out is not None:
        write_json(out, row)
    if as_json:
        typer.echo(json.dumps(row, indent=2, ensure_ascii=False))
        return
    _print_metrics(row)
    if out is not None:
        console.say(f"written: {out}")


def _print_metrics(row: Mapping[str, Any]) -> None:
    _print_scores(row, row["classes"], f"{row['split']}: n = {row['n']}")
    if (point := row["operating_point"]) is not None:
        console.say("")
        title = f"at the threshold {point['threshold']:.3f}, fixed on validation images"
        _print_scores(point, row["classes"], title)
    console.say(f"positive class: {row['positive']}")
    if row["skipped"]:
        console.warn(f"{len(row['skipped'])} images could not be read and are not counted")


def _print_scores(row: Mapping[str, Any], classes: Sequence[str], title: str) -> None:
    from rich.table import Table

    matrix = Table(box=None, pad_edge=False, title=title)
    matrix.title_justify = "left"
    matrix.add_column("true class")
    for label in classes:
        matrix.add_column(f"predicted {label}", justify="right")
    for label, counts in zip(classes, row["confusion"], strict=True):
        matrix.add_row(label, *map(str, counts))
    console.out.print(matrix)
    console.say("")
    values = Table(box=None, pad_edge=False, show_header=False)
    for name, value in row["metrics"].items():
        shown = f"{value:.4f}" if value is not None else f"undefined: {row['undefined'][name]}"
        values.add_row(name.replace("_", " "), shown)
    console.out.print(values)
