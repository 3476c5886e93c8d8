"""The options by which every command is told how much to say: quiet, for machines, to a log."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from busaug import console
from busaug.distributed.launch import detect
from busaug.errors import BusaugError, Interrupted, PeerFailure, Terminated

_SUMMARISED = frozenset({"augment", "train", "verify", "run"})
"""Commands that tell ``console.result`` what they found out."""

Quiet = Annotated[bool, typer.Option("--quiet", help="Show warnings and errors only.")]
LogFile = Annotated[
    Path | None, typer.Option(help="Add every line, with the time, to this file as well.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as one line of JSON, for machines.")
]


def voiced(command: Callable[..., None]) -> Callable[..., None]:
    """The command with ``--quiet``, ``--log-file`` and, where it has a summary, ``--json``."""

    @functools.wraps(command)
    def run(
        *, quiet: bool = False, log_file: Path | None = None, as_json: bool = False, **given: Any
    ) -> None:
        if "as_json" in own:  # its result is another thing than a line
            given["as_json"] = as_json
            as_json = False
        with (
            console.speaking(quiet=quiet, as_json=as_json, log_file=log_file),
            _noted() if log_file else nullcontext(),
        ):
            try:
                command(**given)
            except KeyboardInterrupt as stop:
                raise Interrupted from stop

    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters
    added = {"quiet": (Quiet, False), "log_file": (LogFile, None)}
    if command.__name__ in _SUMMARISED:
        added["as_json"] = (AsJson, False)
    parameters = [
        *(parameter.replace(annotation=hints[name]) for name, parameter in own.items()),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=value)
            for name, (kind, value) in added.items()
        ),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@contextmanager
def _noted() -> Iterator[None]:
    """What was asked for and how it ended, for the log."""
    if detect().rank == 0:
        console.note(f"$ busaug {shlex.join(sys.argv[1:])}")
    try:
        yield
    except (BusaugError, Interrupted, PeerFailure, Terminated, typer.Exit) as end:
        console.note(_ending(end))
        raise
    except Exception:
        console.note(traceback.format_exc().rstrip())
        raise


def _ending(end: BaseException) -> str:
    if isinstance(end, BusaugError):
        return f"error: {end}"
    if isinstance(end, typer.Exit):
        return f"exit code {end.exit_code}"
    if isinstance(end, PeerFailure):
        return f"stopped, since {end}"
    return "stopped by SIGTERM" if isinstance(end, Terminated) else "interrupted"
