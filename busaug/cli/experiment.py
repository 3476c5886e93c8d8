"""``busaug experiment``: the commands of an experiment."""

from __future__ import annotations

import typer

from busaug.cli.experiment_audit import audit
from busaug.cli.experiment_figures import figures
from busaug.cli.experiment_quality import quality
from busaug.cli.experiment_run import run
from busaug.cli.experiment_sheet import sheet
from busaug.cli.experiment_table import table
from busaug.cli.voice import voiced

experiment = typer.Typer(
    name="experiment",
    help="Compare augmentations by experiment, and look into published comparisons.",
    no_args_is_help=True,
)
for command in (run, table, figures, sheet, quality, audit):
    experiment.command()(voiced(command))
