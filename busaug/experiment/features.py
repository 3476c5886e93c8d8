"""What the frozen network makes of an image: pooled features, computed once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from busaug.augment.cache import TensorCache
from busaug.config import SradConfig, canonical_hash
from busaug.data.catalog import Catalog
from busaug.data.images import load_batch
from busaug.experiment.config import InputsConfig
from busaug.models.classifier import ClassifierInfo
from busaug.models.preprocess import despeckle_inputs, imagenet_normalise
from busaug.models.weights import Weights
from busaug.quality.features import pooled_network

Features = npt.NDArray[np.float32]

_BATCH = 32


class FeatureStore:
    """Pooled ResNet-50 features of whole Catalogs, on disk by what they depend on."""

    def __init__(self, folder: Path, weights: Weights, device: torch.device) -> None:
        self._cache = TensorCache(folder)
        self._weights = weights
        self._device = device
        self._network: nn.Module | None = None

    def fetch(self, catalog: Catalog, inputs: InputsConfig) -> Features:
        """(N, 2048), rows in the order of the Catalog's records.

        An image is read, despeckled and seen by itself: its features do not depend on the others.
        """
        key = canonical_hash(
            {
                "catalog": catalog.hash,
                "inputs": inputs.model_dump(),
                "weights": self._weights.sha256,
            }
        )
        kept = self._cache.fetch(key, lambda: {"features": self._compute(catalog, inputs)})
        features: Features = kept["features"].numpy()
        return features

    def _compute(self, catalog: Catalog, inputs: InputsConfig) -> Tensor:
        network = self._network = self._network or pooled_network(self._weights, self._device)
        info = ClassifierInfo((), inputs.size, inputs.srad_scale, SradConfig())
        parts = [torch.empty(0, 2048)]
        for begin in range(0, len(catalog.records), _BATCH):
            gray = load_batch(catalog, catalog.records[begin : begin + _BATCH], inputs.size)
            images = imagenet_normalise(despeckle_inputs(gray, info)).to(self._device)
            with torch.no_grad():
                parts.append(network(images.contiguous(memory_format=torch.channels_last)).cpu())
        return torch.cat(parts)
