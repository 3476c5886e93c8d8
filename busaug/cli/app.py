"""The ``busaug`` program: commands are registered here, errors end here."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Annotated

import typer

from busaug import __version__, console
from busaug.cli import commands
from busaug.cli.experiment import experiment
from busaug.cli.voice import voiced
from busaug.distributed.launch import Place, detect
from busaug.distributed.parent import note_parent
from busaug.errors import BusaugError, InputError, Interrupted, PeerFailure, Terminated

app = typer.Typer(
    name="busaug",
    help="Augment breast-ultrasound images by style transfer: fast, explainable, leak-proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in commands():
    app.command()(voiced(command))
app.add_typer(experiment)


_SHARED = frozenset({"augment", "train", "evaluate", "experiment run"})
"""Commands that several processes do together."""
_HARMLESS = frozenset({"info", "settings"})
"""Commands that may as well be run by each."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"busaug {__version__}")
        raise typer.Exit


@app.callback()
def refuse_copies(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Refuse to run a command once a process, where a launcher has started several."""
    if context.invoked_subcommand != experiment.info.name:
        _refuse_copies(f"{context.invoked_subcommand}")


@experiment.callback()
def refuse_copies_of_experiments(context: typer.Context) -> None:
    _refuse_copies(f"{experiment.info.name} {context.invoked_subcommand}")


def _refuse_copies(name: str) -> None:
    if name in _SHARED | _HARMLESS:
        return
    place = detect()
    if place.size > 1 and place.launcher != "srun":  # srun starts separate runs as well
        raise InputError(
            f"'busaug {name}' is for one process, {place.launcher} started {place.size}",
            remedy=f"Start it without {place.launcher}",
        )


def main() -> None:
    """Run a command: exit code 0 done, 1 failed, 2 bad input (one line on standard error).

    SIGTERM ends a long one with 143, after what was computed is written; Ctrl-C ends with 130.
    """
    note_parent()
    try:
        app()
    except Terminated:
        _complain("stopped by SIGTERM")
        sys.exit(128 + signal.SIGTERM)
    except BusaugError as error:
        if os.environ.get("BUSAUG_DEBUG"):
            raise
        _complain(f"error: {error}", style="red")
        sys.exit(2)
    except PeerFailure as failure:
        if not failure.reported:
            _complain(f"stopped, since {failure}")
        sys.exit(1)
    except (Interrupted, KeyboardInterrupt):
        _complain("interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception:
        _complain("failed:")
        raise
    finally:
        gc.freeze()  # else the interpreter's last collections walk torch's objects for a second


def _complain(message: str, style: str | None = None) -> None:
    """A line on standard error, with the rank where there are several."""
    try:
        place = detect()
    except InputError:  # then the message says so
        place = Place()
    who = f"{place}: " if place.size > 1 else ""
    console.err.print(f"{who}{message}", markup=False, style=style)
