"""Horovod: the processes that horovodrun started, over what it was built with.

Its reduce-scatter is not used anywhere: over Gloo a single call makes every later all-reduce slower
by up to two orders of magnitude.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from busaug.distributed.communicator import Communicator
from busaug.distributed.launch import Place
from busaug.errors import InputError, PeerFailure

T = TypeVar("T")

_REMEDY = "Run scripts/install_horovod.sh in this environment, or start with torchrun"
_GROUPS = 4
"""Of gradients that travel together, while earlier layers' are still being computed."""


def load_horovod() -> Any:
    """The module ``horovod.torch``, ready to start. Raises InputError with what is wrong with it.

    Without its extension it can be imported all the same, says so on standard output, and has no
    ``init``.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            module = importlib.import_module("horovod.torch")
    except ModuleNotFoundError as error:
        raise InputError(f"Horovod is not installed ({error})", remedy=_REMEDY) from error
    except Exception as error:  # built for another torch it raises anything
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"Horovod cannot be loaded: {reason}", remedy=_REMEDY) from error
    if not hasattr(module, "init"):
        raise InputError(
            "Horovod is installed without its torch extension, as plain pip leaves it",
            remedy=_REMEDY,
        )
    return module


class HorovodCommunicator(Communicator):
    """The processes that horovodrun, or mpirun where Horovod has MPI, started."""

    backend = "horovod"

    def __init__(self, place: Place, *, device: str, timeout: timedelta) -> None:
        super().__init__(place)
        self._hvd = load_horovod()
        if device.startswith("cuda") and not self._hvd.nccl_built():
            raise InputError(
                f"compute.device={device}: this Horovod was built without NCCL",
                remedy="Run scripts/install_horovod.sh --nccl, or say compute.device=cpu",
            )
        chosen = self.device(device)
        # read when it starts: one collective that some rank never joins ends the run; and the
        # tensors of a group travel alone, so that sums do not depend on what else was ready
        seconds = str(int(timeout.total_seconds()))
        os.environ.setdefault("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", seconds)
        os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
        with self._peers("the start"):
            self._hvd.init()
        if self._hvd.size() != place.size:
            raise InputError(
                f"{place.launcher} started {place.size} processes, Horovod sees "
                f"{self._hvd.size()}: it was built without what {place.launcher} uses",
                remedy="Start with horovodrun --gloo",
            )
        if chosen.type == "cuda":
            import torch

            torch.cuda.set_device(chosen)

    def barrier(self) -> None:
        with self._peers("a barrier"):
            self._hvd.barrier()

    # Names are given: Horovod's own are the type of the object, which differs between ranks.
    def gather(self, value: T) -> list[T]:
        with self._peers("a gather"):
            return cast(list[T], self._hvd.allgather_object(value, name="busaug.gather"))

    def broadcast_object(self, value: T, root: int = 0) -> T:
        with self._peers("a broadcast"):
            return cast(T, self._hvd.broadcast_object(value, root, name="busaug.object"))

    def data_parallel(self, model: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        hvd = self._hvd
        with self._peers("the first broadcast of the model"):
            wrapped = hvd.DistributedOptimizer(
                optimiser,
                named_parameters=model.named_parameters(),
                op=hvd.Average,
                groups=min(_GROUPS, sum(1 for _ in model.parameters())),
            )
            wrapped.load_state_dict(optimiser.state_dict())  # the wrapper starts without
            # A fresh optimiser has nothing to tell, and Horovod would first give it a state by a
            # step: with weight decay that moves the weights. Ranks that take such a step to make
            # room for rank 0's state get their weights back from the broadcast after it.
            if self.broadcast_object(bool(optimiser.state)):
                hvd.broadcast_optimizer_state(wrapped, root_rank=0)
            hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        return model, wrapped

    def close(self) -> None:
        self._hvd.shutdown()

    def _broadcast_bytes(self, data: Tensor, root: int) -> None:
        with self._peers("a broadcast"):
            self._hvd.broadcast_(data, root)

    def _all_reduce(self, tensor: Tensor, how: Literal["sum", "max"]) -> Tensor:
        operation = self._hvd.Sum if how == "sum" else self._hvd.Max
        with self._peers("an all-reduce"):
            return cast(Tensor, self._hvd.allreduce_(tensor, op=operation))

    @contextlib.contextmanager
    def _peers(self, what: str) -> Iterator[None]:
        """Tell a lost connection from a fault of this process."""
        try:
            yield
        except (self._hvd.HorovodInternalError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise PeerFailure(f"{what} did not end: {reason}") from error
