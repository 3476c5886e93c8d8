"""Relevance weights of content images: computed once an image, kept on disk by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from busaug.config import Config
from busaug.data.catalog import Record
from busaug.explain.predictor import Predictor
from busaug.explain.relevance import RelevanceModel
from busaug.explain.weighting import content_weights, spatial_relevance
from busaug.files import atomic_file
from busaug.trace import span

_LAYER = "layer3"


class RelevanceMaps:
    """r(content) on the grid of the predictor's layer3, mean one, as ``FOLDER/ID.npy``.

    Relevance is computed on the CPU, in float32, whatever device the images are made on.
    """

    def __init__(self, predictor: Predictor, config: Config, folder: Path) -> None:
        self._predictor = predictor
        self._config = config
        self._folder = folder
        self._model = RelevanceModel(
            predictor.model, composite=config.relevance.composite, layers=[_LAYER]
        )

    def weights(self, record: Record, gray: Tensor) -> Tensor:
        """R (1, h, w) of one image (1, H, W) in [0, 1], from disk or computed and kept.

        Images are explained one at a time, so that r does not depend on a batch.
        """
        file = self._folder / f"{record.id}.npy"
        if not file.is_file():
            self._keep(file, self._compute(record, gray))
        return torch.from_numpy(np.load(file))[None]

    def _compute(self, record: Record, gray: Tensor) -> Tensor:
        with span("relevance"):
            target = self._predictor.target(record)
            targets = None if target is None else torch.tensor([target])
            result = self._model(self._predictor.inputs(gray[None].cpu()), targets)
            spatial = spatial_relevance(result.layers[_LAYER])[0]
        return content_weights(spatial, self._config.relevance, self._config.seed, record.sha256)

    @staticmethod
    def _keep(file: Path, weights: Tensor) -> None:
        with atomic_file(file) as temporary, temporary.open("wb") as handle:
            np.save(handle, weights[0].numpy())
