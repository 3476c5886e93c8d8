"""Folding BatchNorm into the layer before it: exact in eval mode.

w' = w s, b' = (b - mean) s + bias, s = weight / sqrt(variance + eps).
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of ``model`` (eval mode, no parameter gradients) without BatchNorm.

    A Conv2d followed by a BatchNorm2d absorbs it; a BatchNorm1d followed (dropout aside) by a
    Linear is absorbed by that Linear. Followed means: next among the parent's children, which holds
    for the models of this package. A BatchNorm without such a neighbour stays.
    """
    folded = copy.deepcopy(model).eval().requires_grad_(False)
    for parent in folded.modules():
        children = [(n, m) for n, m in parent.named_children() if not isinstance(m, nn.Dropout)]
        for (name, left), (next_name, right) in itertools.pairwise(children):
            if isinstance(left, nn.Conv2d) and isinstance(right, nn.BatchNorm2d):
                _fold_after(left, right)
                setattr(parent, next_name, nn.Identity())
            elif isinstance(left, nn.BatchNorm1d) and isinstance(right, nn.Linear):
                _fold_before(left, right)
                setattr(parent, name, nn.Identity())
    return folded


def _scale_shift(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _fold_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    scale, shift = _scale_shift(norm)
    bias = shift if conv.bias is None else conv.bias * scale + shift
    conv.weight.mul_(scale.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias, requires_grad=False)


def _fold_before(norm: nn.BatchNorm1d, linear: nn.Linear) -> None:
    scale, shift = _scale_shift(norm)
    linear.bias.add_(linear.weight @ shift)
    linear.weight.mul_(scale)
