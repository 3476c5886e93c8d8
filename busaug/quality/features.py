"""Pooled features of a frozen ResNet-50, the space that sets of images are compared in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from busaug.data.catalog import Catalog
from busaug.data.images import load_batch
from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import imagenet_normalise
from busaug.models.resnet import resnet50
from busaug.models.weights import Weights, load_state

_BATCH = 32


def pooled_network(weights: Weights, device: torch.device) -> nn.Module:
    """ResNet-50 up to its pooling: images (B, 3, H, W), ImageNet-normalised, to (B, 2048)."""
    model = resnet50()
    load_state(model, weights)
    folded = fold_batchnorm(model)
    folded.fc = nn.Identity()
    folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return folded.to(device)


def pooled_features(catalog: Catalog, weights: Weights, size: int) -> npt.NDArray[np.float32]:
    """(N, 2048), rows in the order of the Catalog's records, images squashed to squares."""
    network = pooled_network(weights, torch.device("cpu"))
    parts = [torch.empty(0, 2048)]
    for begin in range(0, len(catalog.records), _BATCH):
        gray = load_batch(catalog, catalog.records[begin : begin + _BATCH], size)
        with torch.no_grad():
            parts.append(network(imagenet_normalise(gray)))
    return torch.cat(parts).numpy()
