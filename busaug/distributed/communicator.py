"""What the processes of one run say to each other, whatever carries it.

Every method that moves something is collective: each rank calls it, in the same order, with tensors
of the same shape and dtype. Where a rank is gone, or does not join within the time-out, the others
get PeerFailure.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import Self

from busaug.device import open_device
from busaug.distributed.launch import Backend, Place
from busaug.errors import InputError, PeerFailure

T = TypeVar("T")
Reduction = Literal["sum", "mean", "max"]

_REDUCIBLE = (torch.float32, torch.float64, torch.int32, torch.int64)


class Communicator(abc.ABC):
    """The processes of a run. A context manager: leaving it closes the connection."""

    backend: ClassVar[Backend]

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def rank(self) -> int:
        """From 0, over all machines."""
        return self._place.rank

    @property
    def size(self) -> int:
        return self._place.size

    @property
    def local_rank(self) -> int:
        """From 0, among the processes of this machine."""
        return self._place.local_rank

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0, which writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This rank's contiguous part of ``count`` things.

        The shares of all ranks, in their order, are the whole; they differ by one at most, and are
        empty on some ranks where there are fewer things than ranks.
        """
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def device(self, name: str) -> torch.device:
        """The device of that name for this rank: ``cuda`` is the one of its local rank.

        Raises InputError where there is none, and for a numbered device with several processes.
        """
        if self.size > 1 and name.startswith("cuda:"):
            raise InputError(
                f"compute.device={name} would be shared by {self.size} processes",
                remedy="Say compute.device=cuda: each process takes the device of its local rank",
            )
        if name == "cuda" and torch.cuda.is_available():
            name = f"cuda:{self.local_rank}"
        return open_device(name)

    @abc.abstractmethod
    def barrier(self) -> None:
        """Return when every rank has called this."""

    @abc.abstractmethod
    def gather(self, value: T) -> list[T]:
        """The small picklable objects of all ranks, in rank order, on every rank."""

    @abc.abstractmethod
    def broadcast_object(self, value: T, root: int = 0) -> T:
        """The picklable object of rank ``root``; the others' is ignored (None will do)."""

    def broadcast(self, tensor: Tensor, root: int = 0) -> Tensor:
        """Overwrite ``tensor`` (contiguous, any dtype) with that of rank ``root``; returns it."""
        if not tensor.is_contiguous():
            raise ValueError("only a contiguous tensor can be overwritten by another rank's")
        if tensor.numel() and self.size > 1:
            # as bytes: no back end knows every dtype
            self._broadcast_bytes(tensor.detach().view(-1).view(torch.uint8), root)
        return tensor

    def all_reduce(self, tensor: Tensor, how: Reduction = "sum") -> Tensor:
        """The element-wise sum, mean or maximum over ranks, in the dtype given.

        bfloat16 and float16 are summed in float32, short integers and bool in int64 (bool: any for
        sum and max). Raises ValueError for the mean of integers. Not differentiable.
        """
        if how == "mean" and not tensor.is_floating_point():
            raise ValueError(f"the mean of {tensor.dtype} over ranks is no {tensor.dtype}")
        if self.size == 1 or not tensor.numel():
            return tensor.detach().clone()
        dtype = tensor.dtype
        wide = tensor.detach().clone(memory_format=torch.contiguous_format)
        if dtype not in _REDUCIBLE:
            wide = wide.to(torch.float32 if dtype.is_floating_point else torch.int64)
        reduced = self._all_reduce(wide, "max" if how == "max" else "sum")
        if how == "mean":
            reduced /= self.size
        return reduced.to(dtype)

    @abc.abstractmethod
    def data_parallel(self, model: nn.Module, optimiser: Optimizer) -> Optimizer:
        """Start every rank from rank 0's ``model`` and ``optimiser`` and tie their gradients.

        Step the optimiser that is returned: it moves by the mean over ranks of the gradients. Every
        parameter that wants a gradient must get one in each backward pass, if only of zeros. The
        means are summed in an order that does not depend on timing.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Leave the run. Ranks still waiting for this one fail soon after."""

    @abc.abstractmethod
    def _broadcast_bytes(self, data: Tensor, root: int) -> None:
        """Overwrite a flat uint8 tensor."""

    @abc.abstractmethod
    def _all_reduce(self, tensor: Tensor, how: Literal["sum", "max"]) -> Tensor:
        """Reduce a contiguous tensor of a dtype in ``_REDUCIBLE``; it may be overwritten."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Single(Communicator):
    """One process: every collective is the identity."""

    backend = "single"

    def __init__(self) -> None:
        super().__init__(Place())

    def barrier(self) -> None:
        pass

    def gather(self, value: T) -> list[T]:
        return [value]

    def broadcast_object(self, value: T, root: int = 0) -> T:
        return value

    def data_parallel(self, model: nn.Module, optimiser: Optimizer) -> Optimizer:
        return optimiser

    def close(self) -> None:
        pass

    def _broadcast_bytes(self, data: Tensor, root: int) -> None:
        pass

    def _all_reduce(self, tensor: Tensor, how: Literal["sum", "max"]) -> Tensor:
        return tensor


def gradient_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters in at most four groups of like size, in the order their gradients come.

    A group's gradients travel together, while earlier layers' are still being computed.
    """
    parameters = [p for p in reversed(list(model.parameters())) if p.requires_grad]
    share = sum(p.numel() for p in parameters) / 4
    groups: dict[int, list[nn.Parameter]] = {}
    before = 0
    for parameter in parameters:
        groups.setdefault(int(before / share), []).append(parameter)
        before += parameter.numel()
    return list(groups.values())


@contextlib.contextmanager
def agreed(comm: Communicator) -> Iterator[None]:
    """A step that all ranks take and that fails on all of them where it fails on one.

    The lowest rank that failed raises its own exception, the others PeerFailure, so that nobody
    waits for a rank that has gone and one message is printed. The step itself must hold no
    collective: a rank that failed would be missing there.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if comm.size == 1:
        if failure is not None:
            raise failure
        return
    failed = [rank for rank, bad in enumerate(comm.gather(failure is not None)) if bad]
    if failed and failed[0] != comm.rank:
        raise PeerFailure(f"rank {failed[0]} has failed", reported=True) from failure
    if failure is not None:
        raise failure


def node_first(comm: Communicator, make: Callable[[], T]) -> T:
    """``make()`` on the first rank of every machine, then on its others, which find it cached.

    Fails on all ranks where it fails on one.
    """
    found: list[T] = []
    for first in (True, False):
        with agreed(comm):
            if (comm.local_rank == 0) is first:
                found.append(make())
    return found[0]
