"""Horovod: the processes that horovodrun started, over what it was built with.

Its reduce-scatter is not used anywhere: over Gloo a single call makes every later all-reduce slower
by up to two orders of magnitude.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from busaug.distributed.communicator import Communicator, gradient_groups
from busaug.distributed.launch import Place
from busaug.errors import InputError, PeerFailure

T = TypeVar("T")

_SELDOM_MS = "25"
"""Between two looks of Horovod's thread at what the ranks want. At its own 1 ms an idle rank spends
13 to 18 % of a core on looking (two ranks over Gloo), at 25 ms 2 %; an operation takes as long."""

_REMEDY = "Run scripts/install_horovod.sh in this environment, or start with torchrun"


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

    def __init__(
        self, place: Place, *, device: str, timeout: timedelta, seldom: bool = False
    ) -> None:
        super().__init__(place)
        self._hvd = load_horovod()
        if device.startswith("cuda") and not self._hvd.nccl_built():
            raise InputError(
                f"compute.device={device}: this Horovod was built without NCCL",
                remedy="Run scripts/install_horovod.sh --nccl, or say compute.device=cpu",
            )
        self._timeout = timeout
        chosen = self.device(device)
        # Both are read when it starts. A group of tensors travels alone, so that sums do not depend
        # on what else was ready.
        os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")
        if seldom:
            os.environ.setdefault("HOROVOD_CYCLE_TIME", _SELDOM_MS)
        with self._peers("the start"):
            self._hvd.init()
        if self._hvd.size() != place.size:
            raise InputError(
                f"{place.launcher} started {place.size} processes, Horovod sees "
                f"{self._hvd.size()}: it was built without what {place.launcher} uses",
                remedy="Start with horovodrun --gloo",
            )
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)

    def barrier(self) -> None:
        self._all_reduce(torch.zeros(1), "sum")

    def gather(self, value: T) -> list[T]:
        own = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        sizes: list[int] = self._wait("a gather", self._hvd.allgather_async, _length(own)).tolist()
        data: Tensor = self._wait("a gather", self._hvd.allgather_async, own)
        return [pickle.loads(part.numpy().tobytes()) for part in data.split(sizes)]

    def broadcast_object(self, value: T, root: int = 0) -> T:
        text = pickle.dumps(value) if self.rank == root else b"\0"
        own = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        size = int(self.broadcast(_length(own), root))
        data = self.broadcast(own if self.rank == root else own.new_empty(size), root)
        return cast(T, pickle.loads(data.numpy().tobytes()))

    def data_parallel(self, model: nn.Module, optimiser: Optimizer) -> Optimizer:
        hvd = self._hvd
        with self._peers("the first broadcast of the model"):
            wrapped = hvd.DistributedOptimizer(
                optimiser,
                named_parameters=model.named_parameters(),
                op=hvd.Average,
                groups=gradient_groups(model),
            )
            wrapped.load_state_dict(optimiser.state_dict())  # the wrapper starts without
            # A fresh optimiser has nothing to tell, and Horovod would first give it a state by a
            # step: with weight decay that moves the weights. Ranks that take such a step to make
            # room for rank 0's state get their weights back from the broadcast after it.
            if self.broadcast_object(bool(optimiser.state)):
                hvd.broadcast_optimizer_state(wrapped, root_rank=0)
            hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        return cast(Optimizer, wrapped)

    def close(self) -> None:
        self._hvd.shutdown()

    def _broadcast_bytes(self, data: Tensor, root: int) -> None:
        self._wait("a broadcast", self._hvd.broadcast_async_, data, root)

    def _all_reduce(self, tensor: Tensor, how: Literal["sum", "max"]) -> Tensor:
        operation = self._hvd.Sum if how == "sum" else self._hvd.Max
        start = self._hvd.allreduce_async_
        return cast(Tensor, self._wait("an all-reduce", start, tensor, op=operation))

    def _wait(self, what: str, start: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The result of an operation, or PeerFailure where some rank does not join it in time.

        Horovod's own stall inspector does not work over Gloo: its list of ranks stays empty there.
        """
        deadline = time.monotonic() + self._timeout.total_seconds()
        pause_s = 1e-4
        with self._peers(what):
            handle = start(*args, **options)
            while not self._hvd.poll(handle):
                if time.monotonic() > deadline:
                    raise PeerFailure(f"{what} did not end in {self._timeout}: a rank is missing")
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 5e-3)
            return self._hvd.synchronize(handle)

    @contextlib.contextmanager
    def _peers(self, what: str) -> Iterator[None]:
        """Tell a lost connection from a fault of this process."""
        try:
            yield
        except (self._hvd.HorovodInternalError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise PeerFailure(f"{what} did not end: {reason}") from error


def _length(data: Tensor) -> Tensor:
    return torch.tensor([len(data)])
