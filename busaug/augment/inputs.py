"""What a pair is made from, on the engine's grid: pixels, and the masks that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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
from busaug.style.masking import Kept, Masks


class CoveredError(InputError):
    """An image of which overlays leave too little."""


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A batch of images with their overlays."""

    pixels: Tensor
    """(B, 1, S, S) in [0, 1]."""
    masks: Masks | None
    """None: no image has any overlay."""

    @property
    def overlays(self) -> Tensor | None:
        """Bool (B, 1, S, S), or None."""
        return None if self.masks is None else self.masks.overlays

    @property
    def kept(self) -> Kept | None:
        """The positions of every layer that are free of overlays, or None."""
        return None if self.masks is None else self.masks.kept

    def laid_over(self, start: Tensor) -> Tensor:
        """Other images of this shape with the overlay pixels of these."""
        if self.masks is None:
            return start
        return torch.where(self.masks.overlays, self.pixels, start)


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
        images = Images(load_batch(self._catalog, records, size).to(device), None)
        if not self._config.style.mask_overlays:
            return images
        overlays = torch.stack([overlay_mask(self._catalog, record, size) for record in records])
        if not overlays.any():
            return images
        masks = Masks.of(overlays.to(device), self._extractor.grids(size))
        for record, share in zip(records, masks.share.tolist(), strict=True):
            if share == 0 or share < self._config.gate.kept_min:
                raise CoveredError(
                    f"overlays leave {share:.0%} of {record.id}",
                    remedy="Leave the image out, or lower gate.kept_min",
                )
        return Images(images.pixels, masks)

    def batch(self, images: Sequence[Images]) -> Images:
        """Batches as one. It has masks if one of them has; they change nothing for the others."""
        pixels = torch.cat([each.pixels for each in images])
        if all(each.masks is None for each in images):
            return Images(pixels, None)
        overlays = [
            torch.zeros_like(each.pixels, dtype=torch.bool)
            if each.masks is None
            else each.masks.overlays
            for each in images
        ]
        grids = self._extractor.grids(self._config.style.size)
        return Images(pixels, Masks.of(torch.cat(overlays), grids))
