"""``busaug experiment``: the commands of an experiment."""

from __future__ import annotations

import typer

from busaug.cli.experiment_run import run

experiment = typer.Typer(
    name="experiment",
    help="Compare augmentations by experiment, and look into published comparisons.",
    no_args_is_help=True,
)
for command in (run,):
    experiment.command()(command)
