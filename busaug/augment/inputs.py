"""What a pair is made from, on the engine's grids: pixels, and the masks that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from busaug.augment.framing import Frame, extent_of, filling, whole
from busaug.augment.gate import Mask
from busaug.augment.plan import Pair
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.catalog import Catalog, Record
from busaug.data.images import Extent, load_batch, load_lesion
from busaug.data.overlays import overlay_mask
from busaug.errors import InputError
from busaug.models.preprocess import despeckled
from busaug.style.features import FeatureExtractor
from busaug.style.masking import Kept, Masks
from busaug.style.pyramid import level_extents, reduced, reduced_overlays


class CoveredError(InputError):
    """An image of which overlays leave too little."""


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """A batch of images with their overlays."""

    pixels: Tensor
    """(B, 1, H, W) in [0, 1]."""
    masks: Masks | None
    """None: no image has any overlay."""

    @property
    def overlays(self) -> Tensor | None:
        """Bool (B, 1, H, W), or None."""
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
class Level:
    """A pair's images on the grid of one level of the pyramid."""

    content: Images
    references: Images


@dataclasses.dataclass(frozen=True, eq=False)
class PairInputs:
    """A pair with its images."""

    pair: Pair
    levels: tuple[Level, ...]
    """Coarse to fine."""
    lesion: Mask | None
    """Of the content, bool (H, W); None where the Catalog has no mask of it."""

    @property
    def content(self) -> Images:
        """At full size, as ``references``."""
        return self.levels[-1].content

    @property
    def references(self) -> Images:
        return self.levels[-1].references

    @property
    def extent(self) -> Extent:
        rows, columns = self.content.pixels.shape[-2:]
        return rows, columns


class Loader:
    """Reads the images of a run's sources as a configuration wants them."""

    def __init__(
        self,
        sources: Sources,
        config: Config,
        extractor: FeatureExtractor,
        *,
        size: int | None = None,
    ) -> None:
        """``size`` other than ``style.size`` gives that, and one level."""
        style = config.style
        self._sources = sources
        self._config = config
        self._extractor = extractor
        self._size = size or style.size
        self._levels = style.levels if size is None else 1

    def pair(self, pair: Pair) -> PairInputs:
        """InputError for an unreadable file, CoveredError where overlays leave too little."""
        aspect = self._config.style.aspect
        extent = extent_of(pair.content, self._size, aspect)
        frames = [filling(record, extent, aspect) for record in pair.references]
        contents = self._load(self._sources.contents, [pair.content], [whole(extent)])
        references = self._load(self._sources.styles, pair.references, frames)
        lesion = load_lesion(self._sources.contents, pair.content, extent)
        return PairInputs(
            pair,
            tuple(Level(*level) for level in zip(contents, references, strict=True)),
            None if lesion is None else lesion.numpy(),
        )

    def content(self, record: Record) -> Images:
        """A content at full size. Errors as ``pair``."""
        frame = whole(extent_of(record, self._size, self._config.style.aspect))
        return self._load(self._sources.contents, [record], [frame])[-1]

    def batch(self, images: Sequence[Images]) -> Images:
        """Batches of one extent as one. It has masks if one of them has; they change nothing for
        the others.
        """
        pixels = torch.cat([each.pixels for each in images])
        if all(each.masks is None for each in images):
            return Images(pixels, None)
        overlays = [
            torch.zeros_like(each.pixels, dtype=torch.bool)
            if each.masks is None
            else each.masks.overlays
            for each in images
        ]
        return Images(pixels, self._masks(torch.cat(overlays)))

    def _load(
        self, catalog: Catalog, records: Sequence[Record], frames: Sequence[Frame]
    ) -> list[Images]:
        """The records' images in the frames' window, at every level."""
        device = self._extractor.device
        both = list(zip(records, frames, strict=True))
        images = [frame.crop(self._read(catalog, each, frame)) for each, frame in both]
        pixels = torch.cat(images).to(device)
        extents = level_extents(frames[0].window, self._levels)
        if self._config.style.mask_overlays:
            overlays = torch.stack(
                [frame.crop(overlay_mask(catalog, each, frame.scaled)) for each, frame in both]
            ).to(device)
            if overlays.any():
                return [self._masked(records, pixels, overlays, extent) for extent in extents]
        return [Images(reduced(pixels, extent), None) for extent in extents]

    def _read(self, catalog: Catalog, record: Record, frame: Frame) -> Tensor:
        """A whole image, despeckled where that is wished."""
        image = load_batch(catalog, [record], frame.scaled)
        return despeckled(image, self._config.style.srad_scale, self._config.srad)

    def _masked(
        self, records: Sequence[Record], pixels: Tensor, overlays: Tensor, extent: Extent
    ) -> Images:
        """The images on a level's grid with their masks; CoveredError where those leave too
        little.
        """
        masks = self._masks(reduced_overlays(overlays, extent))
        for record, share in zip(records, masks.share.tolist(), strict=True):
            if share == 0 or share < self._config.gate.kept_min:
                raise CoveredError(
                    f"overlays leave {share:.0%} of {record.id}",
                    remedy="Leave the image out, or lower gate.kept_min",
                )
        return Images(reduced(pixels, extent), masks)

    def _masks(self, overlays: Tensor) -> Masks:
        rows, columns = overlays.shape[-2:]
        return Masks.of(overlays, self._extractor.grids((rows, columns)))
