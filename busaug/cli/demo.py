"""``busaug demo``: every stage on simulated images, by the very commands a user would type."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from busaug import console
from busaug.cli.options import WeightsSource

_PHANTOMS_A_CLASS = 40
_PHANTOM_SIZE = 128
# Sized for five minutes on two cores without a GPU: small images, few evaluations and epochs.
_SETTINGS = """\
seed: 0
style: {size: 96, iterations: 60, calibration_pairs: 8}
plan: {contents: 24}
srad: {scales: 4}
train: {size: 96, epochs: 8, batch: 16, learning_rate: 0.01}
"""


def demo(
    out: Annotated[Path, typer.Option(help="Output folder, new or empty.")] = Path("busaug-demo"),
    weights: WeightsSource = None,
) -> None:
    """The whole road on simulated B-mode images: five minutes on two cores, no download."""
    from busaug.cli.augment import augment
    from busaug.cli.despeckle import despeckle
    from busaug.cli.explain import explain
    from busaug.cli.prepare import prepare
    from busaug.cli.report import report
    from busaug.cli.train import evaluate, train
    from busaug.data.phantom import write_phantoms
    from busaug.errors import OutputError
    from busaug.files import write_text

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out} exists and is not an empty folder", remedy="Say --out with another folder"
        )
    begin = time.monotonic()
    settings = out / "settings.yaml"
    write_text(settings, _SETTINGS)
    source, catalog = out / "phantoms", out / "catalog"
    plain, styled = out / "classifier", out / "classifier-augmented"

    _announce(1, f"simulate {2 * _PHANTOMS_A_CLASS} B-mode images in {source}")
    write_phantoms(source, _PHANTOMS_A_CLASS, _PHANTOM_SIZE, 0)
    _announce(2, f"busaug prepare {source} {catalog}")
    prepare([source, catalog])
    _announce(3, f"busaug despeckle {catalog} {out / 'despeckled'} --scales 4 --split test")
    despeckle(catalog, out / "despeckled", scales=4, split="test")
    _announce(4, f"busaug train {catalog} {plain} --config {settings}")
    train(catalog, plain, weights=weights, config=settings)
    _announce(5, f"busaug explain {catalog} {out / 'explained'} --model {plain} --limit 4")
    explain(catalog, out / "explained", model=str(plain), limit=4)
    _announce(
        6, f"busaug augment {catalog} {out / 'augmented'} --config {settings} --explainer {plain}"
    )
    augment(catalog, out / "augmented", config=settings, weights=weights, explainer=plain)
    _announce(
        7, f"busaug train {catalog} {styled} --config {settings} --synthetic {out / 'augmented'}"
    )
    train(catalog, styled, synthetic=[out / "augmented"], weights=weights, config=settings)
    for number, classifier in ((8, plain), (9, styled)):
        _announce(number, f"busaug evaluate {classifier} {catalog}")
        evaluate(classifier, catalog)
    _announce(10, f"busaug report {out}")
    report([out], out=out / "report.html")
    console.say(
        f"\ndone in {time.monotonic() - begin:.0f} s; open {(out / 'report.html').resolve()}"
    )


def _announce(number: int, command: str) -> None:
    console.say(f"\n[{number}/10] {command}")
