"""``busaug verify`` and ``busaug regenerate``: can a data set be trusted?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from busaug import console
from busaug.cli.options import WeightsSource

RunOfAugment = Annotated[Path, typer.Argument(help="Output folder of a finished 'busaug augment'.")]
ItsCatalog = Annotated[
    Path | None,
    typer.Option(help="The Catalog that it was made from; default: where it lay then."),
]
ItsStyles = Annotated[
    Path | None,
    typer.Option(help="The Catalog of its styles, where that is another; default likewise."),
]

_SHOWN = 5


def verify(out: RunOfAugment, catalog: ItsCatalog = None, styles: ItsStyles = None) -> None:
    """Check a data set against its manifest, its plan and its Catalog.

    Every image's pixels, counts, and that no held-out image was used. Exit code 1 where
    anything is wrong.
    """
    from busaug.augment.past import PastRun
    from busaug.augment.verify import verify as run_verify

    checks = run_verify(PastRun.open(out, catalog, styles))
    for check in checks:
        mark = "ok     " if not check.faults else "WRONG  "
        console.say(f"{mark}{check.name} ({check.looked_at:,})")
        for fault in check.faults[:_SHOWN]:
            console.say(f"         {fault}")
        if len(check.faults) > _SHOWN:
            console.say(f"         and {len(check.faults) - _SHOWN:,} more")
    console.result(
        {
            "out": str(out),
            "checks": [
                {"name": check.name, "looked_at": check.looked_at, "faults": list(check.faults)}
                for check in checks
            ],
        }
    )
    if any(check.faults for check in checks):
        raise typer.Exit(1)


def regenerate(
    out: RunOfAugment,
    name: Annotated[str, typer.Option("--id", help="Of an image, as in manifest.jsonl.")],
    to: Annotated[
        Path | None, typer.Option(help="PNG file to write; default: compare only.")
    ] = None,
    catalog: ItsCatalog = None,
    styles: ItsStyles = None,
    weights: WeightsSource = None,
    explainer: Annotated[
        Path | None, typer.Option(help="The classifier that the run was given, if any.")
    ] = None,
) -> None:
    """Make one image of a finished run again, and compare it with the one there.

    The same bytes on the same kind of machine with the same versions; else it says how far off.
    Exit code 1 where the pixels differ.
    """
    from busaug.augment.past import PastRun
    from busaug.augment.regenerate import regenerate as run_regenerate
    from busaug.explain.predictor import classifier_predictor
    from busaug.files import atomic_file
    from busaug.models.weights import resolve_weights

    run = PastRun.open(out, catalog, styles)
    found = resolve_weights(weights, run.config.style.backbone, seed=run.config.seed)
    job = run.job(found, classifier_predictor(explainer) if explainer else None)
    again = run_regenerate(run, job, name)
    if to is not None:
        with atomic_file(to) as temporary:
            temporary.write_bytes(again.png)
    if again.same_bytes and again.same_row:
        console.say(f"{name}: the same bytes, and the same row of the manifest")
    elif again.largest == 0:
        console.say(f"{name}: the same pixels, in a file or row that differs")
    else:
        console.say(
            f"{name}: {again.changed:.1%} of the pixels differ, by at most "
            f"{255 * again.largest:.3g} of 255"
        )
        raise typer.Exit(1)
