"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from busaug.presets import PRESETS

CatalogFolder = Annotated[Path, typer.Argument(help="Catalog folder made by 'busaug prepare'.")]
NewFolder = Annotated[Path, typer.Argument(help="Output folder, new or empty.")]
ConfigFile = Annotated[
    Path | None, typer.Option(help="YAML file of settings ('busaug settings' prints one).")
]
Preset = Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(PRESETS)}.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, e.g. style.gamma=50; repeatable."),
]
WeightsSource = Annotated[
    str | None,
    typer.Option(help="Start weights: a file, 'imagenet' or 'random'; default: what is found."),
]
Distributed = Annotated[
    str,
    typer.Option(help="auto (what the launcher asks for), single, torch or horovod."),
]
Resume = Annotated[
    str,
    typer.Option(
        help="A run that was stopped: if-possible continues it, never starts anew, always insists."
    ),
]
