"""Layers whose training step does not depend on how a batch is spread over processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from busaug.distributed.communicator import Communicator
from busaug.seeding import Key, draw


class GlobalBatchNorm(_BatchNorm):
    """BatchNorm that normalises by the statistics of the batch over all ranks.

    Per-rank statistics would make the result depend on the number of ranks. Two collectives a
    training step, on any device; ranks may have different numbers of images, or none. Takes over
    the parameters and buffers of the layer it stands for; in eval mode there is no difference.
    """

    def __init__(self, layer: _BatchNorm, comm: Communicator) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, affine=False)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self._comm = comm

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 torch's name
        """Images (B, C, ...), B of this rank, to the same shape and dtype."""
        if not self.training:
            return super().forward(input)
        wide = input if input.dtype == torch.float64 else input.float()
        count, mean, variance = _global_moments(wide.detach(), self._comm)
        if count < 2:
            raise ValueError("one value a channel over all ranks has no variance")
        self._track(count, mean, variance)
        out: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
            wide, self.weight, self.bias, (count, mean, variance + self.eps, self._comm)
        )
        return out.to(input.dtype)

    def _track(self, count: int, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum
        if momentum is None:  # the plain mean over all batches
            momentum = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = variance * (count / (count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 torch's name
        if input.ndim < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(input.shape)}")


def _global_moments(x: Tensor, comm: Communicator) -> tuple[int, Tensor, Tensor]:
    """Values a channel, mean (C,) and biased variance (C,) of x (B, C, ...) over all ranks.

    Every rank's count, mean and sum of squares about that mean are combined in rank order (Chan et
    al. 1979): no cancellation, and the same bits on every rank and back end.
    """
    channels = x.shape[1]
    own = x.new_zeros(2 * channels + 1)
    own[0] = count = x.numel() // channels
    if count:
        others = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x, others, correction=0)
        own[1:] = torch.cat([mean, variance * count])
    table = x.new_zeros(comm.size, len(own))
    table[comm.rank] = own
    table = comm.all_reduce(table)  # a row from each rank plus zeros: exact
    counts, means, squares = table.split([1, channels, channels], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(dim=0) / total
    squares = squares + counts * (means - mean).square()
    return int(total), mean, squares.sum(dim=0) / total


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance) * weight + bias, mean and variance being functions of all x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, moments: tuple[Any, ...]) -> Any:
        count, mean, variance, comm = moments
        ctx.save_for_backward(x, weight, mean, variance.rsqrt())
        ctx.count, ctx.comm = count, comm
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=0.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad_y,) = grads
        x, weight, mean, scale = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.ndim - 2))
        others = [0, *range(2, x.ndim)]
        centred = x - mean.view(shape)
        grad_bias = grad_y.sum(others)
        grad_weight = (grad_y * centred).sum(others) * scale
        # what this rank's x moves through the shared mean and variance, it moves on every rank
        over_all = ctx.comm.all_reduce(torch.stack([grad_bias, grad_weight])) / ctx.count
        shift, slope = over_all[0].view(shape), (over_all[1] * scale).view(shape)
        grad_x = (grad_y - shift - centred * slope) * (weight * scale).view(shape)
        return grad_x, grad_weight, grad_bias, None


class KeyedDropout(nn.Dropout):
    """Dropout whose mask for an image depends on the image and the epoch, not on its batch.

    ``keys`` has an entry for each image of the next training batch.
    """

    def __init__(self, p: float, name: str) -> None:
        super().__init__(p)
        self._name = name
        self.keys: Sequence[tuple[Key, ...]] = ()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 torch's name
        if not self.training or self.p == 0:
            return input
        masks = [draw("dropout", self._name, *key).random(input.shape[1:]) for key in self.keys]
        kept = np.asarray(masks).reshape(input.shape) >= self.p
        return input * torch.from_numpy(kept).to(input.device) / (1 - self.p)


def adapt(model: nn.Module, comm: Communicator) -> list[KeyedDropout]:
    """Put these layers in the place of torch's, in ``model`` itself; gives its dropout layers.

    Parameters, buffers and their names stay. With one rank BatchNorm stays torch's own.
    """
    for name, parent in list(model.named_modules()):
        for child_name, child in list(parent.named_children()):
            path = f"{name}.{child_name}".lstrip(".")
            if type(child) is nn.Dropout:
                setattr(parent, child_name, KeyedDropout(child.p, path))
            elif comm.size > 1 and type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
                assert isinstance(child, _BatchNorm)
                setattr(parent, child_name, GlobalBatchNorm(child, comm))
    return [module for module in model.modules() if isinstance(module, KeyedDropout)]
