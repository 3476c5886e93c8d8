"""``busaug experiment figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def figures(
    results: Annotated[
        Path, typer.Argument(help="Results file of 'busaug experiment table --save'.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the SVG files.")],
) -> None:
    """Draw a results file: metrics, differences from the baseline, confusion and the leak."""
    from busaug import console
    from busaug.errors import InputError
    from busaug.experiment.figures import figures as draw
    from busaug.experiment.render import read_results
    from busaug.experiment.summary import FORMAT
    from busaug.files import atomic_file

    found = read_results(results)
    if found["format"] != FORMAT:
        raise InputError(
            f"{results} holds image quality, which has no figures",
            remedy="Name a file of 'busaug experiment table --save'",
        )
    drawn = draw(found)
    for name, svg in drawn.items():
        with atomic_file(out / name) as temporary:
            temporary.write_bytes(svg)
    console.result({"out": str(out), "figures": sorted(drawn)})
    console.say(f"{len(drawn)} figures: {out}")
