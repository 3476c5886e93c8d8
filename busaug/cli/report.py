"""``busaug report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Output folders, or folders that hold them.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="HTML file; default: report.html in the first RUN.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Sheet rows and overlays a class.")] = 12,
    cards: Annotated[
        bool, typer.Option(help="Write DATASET_CARD.md and MODEL_CARD.md into the runs' folders.")
    ] = True,
) -> None:
    """One self-contained HTML file: sheets, heatmaps, curves, counts, metrics, settings.

    And a card in each folder of augment and train: intended use, sources' terms, known defects.
    """
    from busaug import console
    from busaug.report.cards import write_cards
    from busaug.report.html import write

    file = out or runs[0] / "report.html"
    write(runs, file, rows_a_class=rows)
    console.say(f"report: {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    for card in write_cards(runs) if cards else ():
        console.say(f"card: {card}")
