"""Joining the run that a launcher started."""

from __future__ import annotations

from datetime import timedelta

from busaug import console
from busaug.distributed.communicator import Communicator, Single
from busaug.distributed.launch import choose, detect
from busaug.distributed.parent import end_with_parent

TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for another in one collective. Launchers end a run with a dead rank long
before; this is for a rank that hangs."""


def open_communicator(
    choice: str = "auto",
    *,
    device: str = "cpu",
    timeout: timedelta = TIMEOUT,
    seldom: bool = False,
) -> Communicator:
    """Join the run that the launcher started, or be alone where none did.

    ``device`` is what the run computes on; each rank gets its own (``Communicator.device``). From
    here on only rank 0 prints results and progress. ``seldom`` is for ranks that compute for long
    without a word: what they say may take tens of milliseconds if listening costs less.

    Raises InputError where the launcher, the choice and the libraries do not fit, never falling
    back to separate runs.
    """
    place = detect()
    backend = choose(place, choice)
    if backend == "single":
        return Single()
    if place.size > 1:
        end_with_parent()
    comm: Communicator
    if backend == "torch":
        from busaug.distributed.torch_backend import TorchCommunicator

        comm = TorchCommunicator(place, device=device, timeout=timeout)
    else:
        from busaug.distributed.horovod_backend import HorovodCommunicator

        comm = HorovodCommunicator(place, device=device, timeout=timeout, seldom=seldom)
    console.speak_for(comm.rank)
    return comm
