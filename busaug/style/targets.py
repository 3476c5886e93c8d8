"""Style targets from one or several references (docs/method.md; the paper's Eq. 14-17).

Every fusion ends in one symmetric N x N matrix a layer, which the style loss compares with the
image's Gram matrix. For all but GM it is the Gram matrix of a feature map, and the target is that
map where the loss is cheaper to evaluate so:

- ``SR`` single reference: its features.
- ``UM`` union: the references' pooled columns; their Gram matrix is the mean of the references'.
- ``FM`` the paper's Eq. 17: the position-wise maximum of the references' features, then histogram
  specification of each channel to the references' mean quantile function.
  The maximum joins unregistered images; the specification restores each channel's distribution.
- ``GM`` mr2NST: the elementwise maximum of the Gram matrices, then histogram specification to
  their mean quantile function (diagonal and off-diagonal entries apart).

Positions under overlays take part in none of it: not in sums, not in maxima, not in ranks. Every
reference counts the same, however many positions it keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from busaug.ops.mmd import gram
from busaug.ops.style_loss import Kernel
from busaug.ops.style_target import (
    FeatureTarget,
    GramTarget,
    StyleTarget,
    concatenate_targets,
    lighter_target,
)
from busaug.style.features import FeatureExtractor, Features, columns
from busaug.style.masking import Kept, column_weights

Fusion = Literal["FM", "GM", "UM", "SR"]
Targets = dict[str, StyleTarget]
"""Layer name to the target of every image of a batch."""

_SORTED_AT_ONCE = 2**24


def style_targets(
    features: Features,
    layers: tuple[str, ...],
    fusion: Fusion,
    kept: Kept | None = None,
    kernel: Kernel = "polynomial",
) -> Targets:
    """Targets, as a batch of one, from the features (k, N, h, w) of the k references of one set.

    The images to be styled have as many positions as a reference. ``kept`` (k, 1, h, w) tells which
    positions of a reference count, at least one of each; None: all. Kernels but the polynomial one
    are for features, all positions of which count.
    """
    return {
        layer: _target(features[layer], fusion, None if kept is None else kept[layer], kernel)
        for layer in layers
    }


def targets_of(
    extractor: FeatureExtractor,
    references: Tensor,
    fusion: Fusion,
    kept: Kept | None = None,
    kernel: Kernel = "polynomial",
) -> Targets:
    """The same from the references' images (k, 1, H, W), layer by layer: for large ones."""
    targets: Targets = {}
    for layer, maps in extractor.stream(references):
        if layer in extractor.style_layers:
            targets |= style_targets({layer: maps}, (layer,), fusion, kept, kernel)
    return targets


def stack_targets(sets: list[Targets]) -> Targets:
    """Targets of several sets as one batch."""
    return {layer: concatenate_targets([targets[layer] for targets in sets]) for layer in sets[0]}


def targets_as_tensors(targets: Targets) -> dict[str, Tensor]:
    """What ``targets_from_tensors`` takes: a flat dictionary, to be kept on disk."""
    tensors = {}
    for layer, target in targets.items():
        for field in dataclasses.fields(target):
            value = getattr(target, field.name)
            if field.init and value is not None:
                tensors[f"{layer}.{field.name}"] = value
    return tensors


def targets_from_tensors(tensors: Mapping[str, Tensor], layers: Sequence[str]) -> Targets:
    """The targets again, bit for bit."""
    targets: Targets = {}
    for layer in layers:
        parts = {
            key.removeprefix(f"{layer}."): tensor
            for key, tensor in tensors.items()
            if key.startswith(f"{layer}.")
        }
        targets[layer] = GramTarget(**parts) if "matrix" in parts else FeatureTarget(**parts)
    return targets


def fuse_features(features: Tensor, kept: Tensor | None = None) -> Tensor:
    """FM's fused map: (k, N, M) to (N, M). Its channel means are the references' mean ones.

    With ``kept``, bool (k, M), it has the columns (N, M') of the positions that any reference
    keeps, and the mean of a reference is over those that it keeps.
    """
    # Channels have nothing to do with each other: some at a time, since sorting takes much memory.
    k, _, m = features.shape
    parts = features.split(max(1, _SORTED_AT_ONCE // (k * m)), dim=1)
    return torch.cat([_fuse_channels(part, kept) for part in parts])


def _fuse_channels(features: Tensor, kept: Tensor | None) -> Tensor:
    if kept is None:
        quantiles = _ascending(features).mean(dim=0)
        return specify_histogram(features.amax(dim=0), quantiles)
    anywhere = kept.any(dim=0)
    largest = features.masked_fill(~kept[:, None], -torch.inf).amax(dim=0)[:, anywhere]
    ordered = [_ascending(each[:, keep]) for each, keep in zip(features, kept, strict=True)]
    quantiles = torch.stack([stretch(values, largest.shape[1]) for values in ordered]).mean(dim=0)
    return specify_histogram(largest, quantiles)


def stretch(quantiles: Tensor, count: int) -> Tensor:
    """Ascending rows (R, m) as ``count`` values of the same distribution, (R, count).

    The rows are step functions on [0, 1]; each result is the mean over its share of that interval,
    so that means over rows stay as they are.
    """
    have = quantiles.shape[1]
    if have == count:
        return quantiles
    edges = torch.arange(count + 1, dtype=torch.float64, device=quantiles.device) * have / count
    whole = edges.floor().long().clamp(max=have - 1)
    wide = quantiles.double()
    integral = functional.pad(wide.cumsum(dim=1), (1, 0))
    upto = integral[:, whole] + (edges - whole) * wide[:, whole]
    return (upto.diff(dim=1) * count / have).to(quantiles.dtype)


def specify_histogram(values: Tensor, quantiles: Tensor) -> Tensor:
    """Each row of ``values`` (R, M) takes the distribution of the same row of ``quantiles``.

    ``quantiles`` are ascending. The element of rank r gets the r-th; tied elements get the mean of
    theirs, so that the result does not depend on the order of equal values.
    """
    rows, count = values.shape
    order = _order(values)
    ordered = values.gather(-1, order)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    # Runs of equal values, numbered over all rows, and the mean quantile of each.
    run = (starts.flatten().cumsum(0) - 1).view(rows, count)
    total = int(run[-1, -1]) + 1
    sums = torch.zeros(total, dtype=torch.float64, device=values.device)
    sums.index_add_(0, run.flatten(), quantiles.flatten().double())
    lengths = torch.bincount(run.flatten(), minlength=total)
    means = (sums / lengths)[run].to(values.dtype)
    return torch.empty_like(values).scatter_(-1, order, means)


def _ascending(rows: Tensor) -> Tensor:
    """Sorted along the last dimension; on the CPU by NumPy, which is ten times as fast."""
    if rows.device.type != "cpu":
        return rows.sort(dim=-1).values
    return torch.from_numpy(np.sort(rows.numpy(), axis=-1))


def _order(rows: Tensor) -> Tensor:
    """Indices that sort along the last dimension, equal values in any order."""
    if rows.device.type != "cpu":
        return rows.argsort(dim=-1)
    return torch.from_numpy(np.argsort(rows.numpy(), axis=-1))


def _target(maps: Tensor, fusion: Fusion, kept: Tensor | None, kernel: Kernel) -> StyleTarget:
    if fusion == "FM":
        fused = _fuse_padded(columns(maps), None if kept is None else columns(kept)[:, 0])
    else:
        features = columns(maps if kept is None else maps * column_weights(kept))
        if fusion == "GM":
            return GramTarget(_fuse_grams(gram(features))[None])
        fused = _single(features) if fusion == "SR" else _pool(features)
    if kernel != "polynomial":
        return FeatureTarget(fused[None])
    return lighter_target(fused[None], maps.shape[2] * maps.shape[3])


def _fuse_padded(features: Tensor, kept: Tensor | None) -> Tensor:
    """FM's columns among zeros that change nothing: targets of all sets make one batch."""
    fused = fuse_features(features, kept)
    if kept is None:
        return fused
    anywhere = kept.any(dim=0)
    padded = fused.new_zeros(features.shape[1:])
    padded[:, anywhere] = fused * (kept.shape[1] / fused.shape[1]) ** 0.5
    return padded


def _single(features: Tensor) -> Tensor:
    if features.shape[0] != 1:
        raise ValueError(f"fusion SR takes one reference, not {features.shape[0]}")
    return features[0]


def _pool(features: Tensor) -> Tensor:
    return features.transpose(0, 1).flatten(1)


def _fuse_grams(grams: Tensor) -> Tensor:
    """GM's matrix: (k, N, N) to (N, N)."""
    n = grams.shape[-1]
    out = torch.zeros(n, n, dtype=grams.dtype, device=grams.device)
    # Channel energies and cross-correlations have different laws: they are specified apart.
    for offset in (0, 1):
        rows, cols = (
            (torch.arange(n), torch.arange(n)) if offset == 0 else torch.triu_indices(n, n, 1)
        )
        if len(rows) == 0:
            continue
        entries = grams[:, rows, cols]
        quantiles = _ascending(entries).mean(dim=0)
        specified = specify_histogram(entries.amax(dim=0)[None], quantiles[None])[0]
        out[rows, cols] = specified
        out[cols, rows] = specified
    return out
