"""``busaug settings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def settings(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    preset: Annotated[
        str, typer.Option(help="Settings to start from: default or paper.")
    ] = "default",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, e.g. style.gamma=50; repeatable."),
    ] = None,
) -> None:
    """Every setting with its value and meaning, as YAML that --config takes."""
    from busaug.config import load_config, to_yaml

    typer.echo(
        to_yaml(load_config(config, preset=preset, overrides=list(overrides or ()))), nl=False
    )
