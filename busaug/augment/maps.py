"""Relevance weights of content images: computed once an image, kept on disk by content."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from busaug.augment.cache import TensorCache
from busaug.config import Config
from busaug.data.catalog import Record
from busaug.data.images import SIDE_MIN, resize
from busaug.explain.predictor import Predictor
from busaug.explain.relevance import RelevanceModel
from busaug.explain.weighting import content_weights, spatial_relevance
from busaug.trace import span

FOLDER = "relevance"
"""In a run's folder."""
NAME = "weights"
"""Of the tensor in a file of that folder."""
_LAYER = "layer3"
_SIDE_MAX = 448
"""Larger images are explained at this longest side: twice what ImageNet's networks were trained at.
Their memory stays small, and objects the size that the network knows."""


class RelevanceMaps:
    """r(content) on the grid of the predictor's layer3, mean one, on disk by the image's id.

    Relevance is computed on the CPU, in float32, whatever device the images are made on.
    """

    def __init__(self, predictor: Predictor, config: Config, run_folder: Path) -> None:
        self._predictor = predictor
        self._config = config
        self._cache = TensorCache(run_folder / FOLDER)
        self._model = RelevanceModel(
            predictor.model, composite=config.relevance.composite, layers=[_LAYER]
        )

    def weights(self, record: Record, gray: Tensor) -> Tensor:
        """R (1, h, w) of one image (1, H, W) in [0, 1], from disk or computed and kept.

        Images are explained one at a time, so that r does not depend on a batch.
        """
        return self._cache.fetch(record.id, lambda: {NAME: self._compute(record, gray)})[NAME]

    def __contains__(self, record: Record) -> bool:
        """Whether the weights of this image are on disk."""
        return record.id in self._cache

    def _compute(self, record: Record, gray: Tensor) -> Tensor:
        with span("relevance"):
            targets = self._predictor.targets(record)
            result = self._model(self._predictor.inputs(_limited(gray[None].cpu())), targets)
            spatial = spatial_relevance(result.layers[_LAYER])[0]
        return content_weights(spatial, self._config.relevance, self._config.seed, record.sha256)


def _limited(images: Tensor) -> Tensor:
    """Images (B, 1, H, W) with no side above the limit."""
    rows, columns = images.shape[-2:]
    longest = max(rows, columns)
    if longest <= _SIDE_MAX:
        return images
    sides = (max(SIDE_MIN, round(side * _SIDE_MAX / longest)) for side in (rows, columns))
    return resize(images, (next(sides), next(sides)))
