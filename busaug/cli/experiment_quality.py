"""``busaug experiment quality``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from busaug.cli.options import CatalogFolder, ConfigFile, Overrides, Preset, WeightsSource


def quality(
    catalog: CatalogFolder,
    synthetic: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SET]...", help="Catalogs of synthetic images made from it."),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Keep all figures in this JSON file.")] = None,
    weights: WeightsSource = None,
    explainer: Annotated[
        str | None,
        typer.Option(help="Folder of 'busaug train' to explain; default: the weights' own logits."),
    ] = None,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the images, pixels.")] = 224,
    config: ConfigFile = None,
    preset: Preset = "default",
    overrides: Overrides = None,
) -> None:
    """Image quality: speckle, distances of synthetic sets, memorisation, relevance on the lesion.

    Despeckling as the settings' srad section says.
    """
    from busaug import console
    from busaug.config import load_config
    from busaug.data.catalog import Catalog
    from busaug.errors import InputError
    from busaug.experiment.quality_tables import quality_tables
    from busaug.experiment.render import print_tables
    from busaug.explain.predictor import imagenet_predictor, load_predictor
    from busaug.files import write_json
    from busaug.models.weights import resolve_weights
    from busaug.quality.measure import measure

    resolved = load_config(config, preset=preset, overrides=list(overrides or ()))
    source = Catalog.load(catalog)
    made: dict[str, Catalog] = {}
    for path in synthetic or ():
        name = path.resolve().name
        if name in made:
            raise InputError(f"two sets are called {name!r}", remedy="Rename one of them")
        made[name] = Catalog.load(path)
    chosen = resolve_weights(weights, seed=resolved.seed)
    predictor = load_predictor(explainer) if explainer else imagenet_predictor(chosen)
    if not chosen.pretrained:
        console.warn("no pretrained weights: distances are between random features")
    found = measure(source, made, chosen, predictor, size=size, despeckling=resolved.srad)
    if save is not None:
        write_json(save, found)
    print_tables(quality_tables(found))
    if save is not None:
        console.say(f"written: {save}")
