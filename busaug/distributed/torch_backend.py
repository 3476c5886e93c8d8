"""torch.distributed: Gloo for what lies on the CPU, NCCL for what lies on a CUDA device."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from busaug.distributed.communicator import Communicator
from busaug.distributed.launch import Place
from busaug.errors import InputError, PeerFailure

T = TypeVar("T")

_NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_BUFFERS: Any = {"forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False}
"""Not sent before every step; the name of that option depends on torch's version."""


class TorchCommunicator(Communicator):
    """The processes that torchrun started."""

    backend = "torch"

    def __init__(self, place: Place, *, device: str, timeout: timedelta) -> None:
        super().__init__(place)
        self._carriers = _carriers(device)
        chosen = self.device(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        self._timeout = timeout
        with _peers("the start"):
            dist.init_process_group(self._carriers, timeout=timeout)

    def barrier(self) -> None:
        if self._carriers != "gloo":
            self._all_reduce(torch.zeros(1), "sum")
            return
        with _peers("a barrier"):  # this one, for Gloo alone, names the rank that is missing
            dist.monitored_barrier(timeout=self._timeout)

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        with _peers("a gather"):
            dist.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: T, root: int = 0) -> T:
        values = [value]
        with _peers("a broadcast"):
            dist.broadcast_object_list(values, src=root)
        return values[0]

    def data_parallel(self, model: nn.Module, optimiser: Optimizer) -> tuple[nn.Module, Optimizer]:
        with _peers("the first broadcast of the model"):
            replica = DistributedDataParallel(model, **_BUFFERS)
            for tensor in model.buffers():
                self.broadcast(tensor)
        optimiser.load_state_dict(self.broadcast_object(optimiser.state_dict()))
        return replica, optimiser

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()

    def _broadcast_bytes(self, data: Tensor, root: int) -> None:
        with _peers("a broadcast"):
            dist.broadcast(data, src=root)

    def _all_reduce(self, tensor: Tensor, how: Literal["sum", "max"]) -> Tensor:
        with _peers("an all-reduce"):
            dist.all_reduce(tensor, dist.ReduceOp.SUM if how == "sum" else dist.ReduceOp.MAX)
        return tensor


def _carriers(device: str) -> str:
    """The argument of ``init_process_group``: what carries tensors of which device."""
    if not dist.is_available() or not dist.is_gloo_available():
        raise InputError(
            f"torch {torch.__version__} was built without distributed Gloo",
            remedy="Install an ordinary build of torch, or start one process",
        )
    if not device.startswith("cuda"):
        return "gloo"
    if not dist.is_nccl_available():
        raise InputError(
            f"compute.device={device}: torch {torch.__version__} was built without NCCL",
            remedy="Install a CUDA build of torch, or say compute.device=cpu",
        )
    return "cpu:gloo,cuda:nccl"


@contextlib.contextmanager
def _peers(what: str) -> Iterator[None]:
    """Tell a lost connection from a fault of this process."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise PeerFailure(f"{what} did not end: {reason}") from error
