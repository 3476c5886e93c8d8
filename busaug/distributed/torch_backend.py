"""torch.distributed: Gloo for what lies on the CPU, NCCL for what lies on a CUDA device."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from busaug.distributed.communicator import Communicator, gradient_groups
from busaug.distributed.launch import Place
from busaug.errors import InputError, PeerFailure

T = TypeVar("T")


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
            store, rank, size = next(iter(dist.rendezvous("env://", timeout=timeout)))  # type: ignore[attr-defined]
            if place.local_size == place.size:
                # torchrun restarts workers on the same store, where the addresses of those that
                # have gone still stand. (Over several machines the counts of restarts differ.)
                attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
                store = dist.PrefixStore(f"busaug/attempt_{attempt}", store)  # type: ignore[attr-defined]
            dist.init_process_group(
                self._carriers, store=store, rank=rank, world_size=size, timeout=timeout
            )

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

    def data_parallel(self, model: nn.Module, optimiser: Optimizer) -> Optimizer:
        for tensor in model.state_dict().values():
            self.broadcast(tensor)
        optimiser.load_state_dict(self.broadcast_object(optimiser.state_dict()))
        averages = _Averages(gradient_groups(model), self.size)
        optimiser.register_step_pre_hook(lambda *_: averages.finish())
        return optimiser

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


class _Averages:
    """Averages gradients over ranks, a group as soon as it is complete, while backward goes on.

    DistributedDataParallel does so too, but regroups after its first step: the sums of a resumed
    run would come in another order.
    """

    def __init__(self, groups: list[list[nn.Parameter]], size: int) -> None:
        self._groups = groups
        self._size = size
        self._missing = [len(group) for group in groups]
        self._sent: list[tuple[dist.Work, Tensor, int]] = []
        for index, group in enumerate(groups):
            for parameter in group:
                ready = functools.partial(self._ready, index)
                parameter.register_post_accumulate_grad_hook(ready)

    def _ready(self, index: int, _: Tensor) -> None:
        self._missing[index] -= 1
        if self._missing[index] == 0:
            group = self._groups[index]
            self._missing[index] = len(group)
            flat = torch.cat([cast(Tensor, parameter.grad).flatten() for parameter in group])
            with _peers("an average of gradients"):
                self._sent.append((dist.all_reduce(flat, async_op=True), flat, index))

    def finish(self) -> None:
        """Wait for what is under way and put the means into the gradients."""
        for work, flat, index in self._sent:
            with _peers("an average of gradients"):
                work.wait()
            flat /= self._size
            group = self._groups[index]
            parts = flat.split([parameter.numel() for parameter in group])
            for parameter, part in zip(group, parts, strict=True):
                parameter.grad = part.view_as(parameter)
        self._sent.clear()


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
