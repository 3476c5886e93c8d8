"""``busaug explain``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from busaug import console
from busaug.cli.options import CatalogFolder, NewFolder


def explain(
    catalog: CatalogFolder,
    out: NewFolder,
    model: Annotated[
        str,
        typer.Option(
            help="Classifier of 'busaug train', a ResNet or VGG file with torchvision's key names, "
            "or 'imagenet'."
        ),
    ],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    limit: Annotated[int, typer.Option(min=0, help="Images a class; 0 for every one.")] = 0,
    size: Annotated[
        int, typer.Option(min=0, help="Side in pixels; 0 for the classifier's own, else 224.")
    ] = 0,
    composite: Annotated[
        list[str] | None,
        typer.Option(
            help="Rule of convolutions: alpha2beta1 (default) or alpha1beta0; repeat to compare."
        ),
    ] = None,
    explained: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Class to explain: its name or number, 'true' or 'predicted'; default: true, or "
            "predicted where the network has no names of classes.",
        ),
    ] = None,
) -> None:
    """Layer-wise relevance heatmaps, with the conservation error of each layer."""
    from busaug.cli.shared import choose_split, first_of_each_class
    from busaug.data.catalog import Catalog
    from busaug.explain.choice import choose_class
    from busaug.explain.predictor import load_predictor
    from busaug.explain.relevance import check_composite
    from busaug.explain.run import explain as run_explain
    from busaug.files import atomic_folder
    from busaug.runfolder import RunFolder

    composites = [check_composite(name) for name in dict.fromkeys(composite or ["alpha2beta1"])]
    source = Catalog.load(catalog)
    chosen = first_of_each_class(choose_split(source, split), limit)
    predictor = load_predictor(model)
    choice = choose_class(explained, predictor)
    side = size or (predictor.info.size if predictor.info else 224)
    config = {
        "split": split,
        "limit": limit,
        "size": side,
        "composite": ", ".join(composites),
        "class": explained or ("true" if predictor.info else "predicted"),
    }
    identity = {
        "catalog": source.hash,
        "model": {"name": predictor.name, "sha256": predictor.sha256},
        "config": config,
    }
    with atomic_folder(out) as folder:
        summary = run_explain(
            chosen, folder, predictor, size=side, composites=composites, choice=choice
        )
        RunFolder(folder, "explain", identity).write(
            catalog=os.path.relpath(catalog.resolve(), out.resolve()),
            model=predictor.name,
            architecture=predictor.architecture,
            images=len(summary.rows),
            skipped=list(summary.skipped),
            conservation_error_max=summary.conservation_error_max,
        )
    for row in summary.skipped:
        console.warn(f"skipped {row['id']}: {row['reason']}")
    console.say(
        f"{len(summary.rows)} images explained ({predictor.architecture}), "
        f"{len(summary.skipped)} skipped: {out}"
    )
    for line in summary.explained():
        console.say(f"  relevance for {line}")
    console.say(
        "conservation: sum of relevance R equals the logit f within "
        f"{summary.conservation_error_max:.1e} (worst image)"
    )
    layers = len(summary.conservation.layers())
    console.say(f"|sum R - f| / |f| of the worst of {layers} layers; conservation.csv has all")
    for line in summary.conservation.table():
        console.say(f"  {line}")
