"""The ``busaug`` program: commands are registered here, errors end here."""

from __future__ import annotations

import os
import sys

import typer

from busaug import console
from busaug.cli import commands
from busaug.errors import BusaugError

app = typer.Typer(
    name="busaug",
    help="Augment breast-ultrasound images by style transfer: fast, explainable, leak-proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in commands():
    app.command()(command)


def main() -> None:
    """Run a command: exit code 0 done, 1 failed, 2 bad input (one line on standard error)."""
    try:
        app()
    except BusaugError as error:
        if os.environ.get("BUSAUG_DEBUG"):
            raise
        console.err.print(f"error: {error}", markup=False, style="red")
        sys.exit(2)
    except KeyboardInterrupt:
        console.err.print("interrupted", markup=False)
        sys.exit(1)
