"""``busaug settings``."""

from __future__ import annotations

import typer

from busaug.cli.options import ConfigFile, Overrides, Preset


def settings(
    config: ConfigFile = None,
    preset: Preset = "default",
    overrides: Overrides = None,
) -> None:
    """Every setting with its value and meaning, as YAML that --config takes."""
    from busaug.config import load_config, to_yaml

    typer.echo(
        to_yaml(load_config(config, preset=preset, overrides=list(overrides or ()))), nl=False
    )
