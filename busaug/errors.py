"""The one exception type that a user is meant to read."""

from __future__ import annotations


class BusaugError(Exception):
    """A problem the user can mend: what is wrong (naming file and value) and the remedy.

    The command line prints it as one line and exits with code 2.
    """

    def __init__(self, what: str, *, remedy: str) -> None:
        super().__init__(f"{what.rstrip('.')}. {remedy.rstrip('.')}.")
        self.what = what
        self.remedy = remedy


class InputError(BusaugError):
    """A file, folder, option or configuration value that cannot be used."""


class OutputError(BusaugError):
    """A place that cannot be written: full, forbidden, or owned by another run."""


class PeerFailure(Exception):
    """Another process of the run has failed or gone, so that this one cannot go on."""

    def __init__(self, reason: str, *, reported: bool = False) -> None:
        super().__init__(reason)
        self.reported = reported
        """Whether the process that failed tells why itself."""


class Interrupted(BaseException):
    """Ctrl-C in a command, which the parser of the command line would end without a word."""


class Terminated(BaseException):
    """SIGTERM, which schedulers send before a time limit; no Exception, so that nobody mends it."""
