"""What a pair is made from, on the engine's grid: pixels, and the masks that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from busaug.augment.gate import Mask
from busaug.augment.plan import Pair
from busaug.config import Config
from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch, load_lesion
from busaug.data.overlays import overlay_mask
from busaug.errors import InputError
from busaug.style.features import FeatureExtractor
from busaug.style.masking import Kept, kept_positions


class CoveredError(InputError):
    """An image of which overlays leave too little."""


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A batch of images with their overlays."""

    pixels: Tensor
    """(B, 1, S, S) in [0, 1]."""
    overlays: Tensor | None
    """Bool (B, 1, S, S); None: no image has any."""
    kept: Kept | None
    """The positions of every layer that are free of overlays; None likewise."""

    @property
    def free(self) -> Mask:
        """Pixels (S, S) of the only image that are no overlay."""
        if self.overlays is None:
            return np.ones(self.pixels.shape[2:], bool)
        (overlays,) = self.overlays.squeeze(1)
        return np.asarray(~overlays.cpu().numpy())

    def masks(self, grids: Mapping[str, torch.Size]) -> tuple[Tensor, Kept]:
        """``overlays`` and ``kept``, spelt out where there are none."""
        if self.overlays is not None and self.kept is not None:
            return self.overlays, self.kept
        count, device = len(self.pixels), self.pixels.device
        kept = {
            name: torch.ones((count, *grid), dtype=torch.bool, device=device)
            for name, grid in grids.items()
        }
        return torch.zeros_like(self.pixels, dtype=torch.bool), kept

    def laid_over(self, start: Tensor) -> Tensor:
        """Other images of this shape with the overlay pixels of these."""
        return start if self.overlays is None else torch.where(self.overlays, self.pixels, start)


@dataclasses.dataclass(frozen=True, eq=False)
class PairInputs:
    """A pair with its images."""

    pair: Pair
    content: Images
    references: Images
    lesion: Mask | None
    """Of the content, bool (S, S); None where the Catalog has no mask of it."""


class Loader:
    """Reads the images of a Catalog as a configuration wants them."""

    def __init__(self, catalog: Catalog, config: Config, extractor: FeatureExtractor) -> None:
        self._catalog = catalog
        self._config = config
        self._extractor = extractor

    def pair(self, pair: Pair) -> PairInputs:
        """InputError for an unreadable file, CoveredError where overlays leave too little."""
        content, references = self.images([pair.content]), self.images(pair.references)
        lesion = load_lesion(self._catalog, pair.content, self._config.style.size)
        return PairInputs(pair, content, references, None if lesion is None else lesion.numpy())

    def images(self, records: Sequence[Record]) -> Images:
        """The records' images. Errors as ``pair``."""
        size, device = self._config.style.size, self._extractor.device
        pixels = load_batch(self._catalog, records, size).to(device)
        masks = [self._overlay(record) for record in records]
        if not any(mask.any() for mask in masks):
            return Images(pixels, None, None)
        overlays = torch.stack(masks).to(device)
        grids = self._extractor.grids(size).items()
        kept = {layer: kept_positions(overlays, grid) for layer, grid in grids}
        for index, record in enumerate(records):
            left = min(float(layer[index].float().mean()) for layer in kept.values())
            if left == 0 or left < self._config.gate.kept_min:
                raise CoveredError(
                    f"overlays leave {left:.0%} of {record.id}",
                    remedy="Leave the image out, or lower gate.kept_min",
                )
        return Images(pixels, overlays, kept)

    def _overlay(self, record: Record) -> Tensor:
        if self._config.style.mask_overlays:
            return overlay_mask(self._catalog, record, self._config.style.size)
        return torch.zeros((1, self._config.style.size, self._config.style.size), dtype=torch.bool)


def batch(images: Sequence[Images]) -> Images:
    """Batches as one. It has masks if one of them has; they change nothing for the others."""
    pixels = torch.cat([each.pixels for each in images])
    masked = next((each for each in images if each.kept is not None), None)
    if masked is None or masked.kept is None:
        return Images(pixels, None, None)
    grids = {name: layer.shape[1:] for name, layer in masked.kept.items()}
    full = [each.masks(grids) for each in images]
    kept = {name: torch.cat([layers[name] for _, layers in full]) for name in grids}
    return Images(pixels, torch.cat([overlays for overlays, _ in full]), kept)
