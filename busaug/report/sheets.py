"""Sheet rows: content, references, result and relevance side by side, with what they measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from busaug.augment import maps
from busaug.augment.cache import read_tensors
from busaug.augment.framing import extent_of
from busaug.data.catalog import Catalog
from busaug.data.images import FloatImage
from busaug.errors import InputError
from busaug.quality.speckle import speckle
from busaug.report.collect import Notes, Run, file_of
from busaug.report.items import Item
from busaug.report.pictures import gray_uri, load_gray, relevance_uri

REFERENCE_SIDE = 160
_REFERENCES_MAX = 9


@dataclasses.dataclass(frozen=True)
class Texture:
    """Speckle SNR (mean over standard deviation) of an output and what it was made from."""

    content: float
    references: float | None
    """Median of the references, each in its own quietest window."""
    result: float
    """In the quietest window of the content, as ``content``."""


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """One output with what it was made from; a picture is None where its file is missing."""

    item: Item
    anchor: str
    content: str | None
    references: Sequence[tuple[str, str | None]]
    """(id, picture)."""
    result: str | None
    relevance: str | None
    texture: Texture | None

    @property
    def side(self) -> int:
        """Of the square grid of references."""
        return max(1, int(np.ceil(np.sqrt(len(self.references)))))

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(what, figure) to be read beside the pictures."""
        if self.texture is None:
            return self.item.facts
        found = f"{self.texture.content:.2f} to {self.texture.result:.2f}"
        if self.texture.references is not None:
            found += f", references {self.texture.references:.2f}"
        return [*self.item.facts, ("speckle SNR", found)]


class SheetMaker:
    """Makes the sheet rows of a run from its files and its Catalog's."""

    def __init__(
        self, run: Run, catalog: Catalog | None, styles: Catalog | None, notes: Notes
    ) -> None:
        """``styles`` is None where the run took them from ``catalog`` too."""
        self._run, self._catalog, self._notes = run, catalog, notes
        self._styles = styles if run.identity.get("styles") else catalog
        self._weights: dict[str, FloatImage] = {}
        self.weight_max = 1.0
        """Weight at which the colours of relevance end."""

    def weigh(self, items: Sequence[Item]) -> None:
        """Read the relevance weights of the contents; their 99th percentile is the limit."""
        if self._run.setting("relevance", "mode") == "L0":
            return
        for content in sorted({item.content for item in items}):
            file = f"{maps.FOLDER}/{content}.safetensors"
            try:
                kept = read_tensors(file_of(self._run, file))
            except InputError:
                kept = None
            if kept is None:
                self._notes.add(self._run, f"{file} cannot be read")
            else:
                self._weights[content] = kept[maps.NAME][0].numpy()
        if self._weights:
            pooled = np.concatenate([weight.ravel() for weight in self._weights.values()])
            self.weight_max = float(np.percentile(pooled, 99))

    def make(self, item: Item, anchor: str) -> SheetRow:
        """The pictures and figures of one image."""
        content = self._source(self._catalog, item.content)
        shown = item.references[:_REFERENCES_MAX]
        references = [(name, self._source(self._styles, name)) for name in shown]
        result = self._result(item)
        weight = self._weights.get(item.content)
        relevance = None
        if content is not None and weight is not None and weight.ndim == 2:
            relevance = relevance_uri(content, weight, self.weight_max)
        return SheetRow(
            item=item,
            anchor=anchor,
            content=None if content is None else gray_uri(content),
            references=[
                (name, None if image is None else gray_uri(image, REFERENCE_SIDE))
                for name, image in references
            ],
            result=None if result is None else gray_uri(result),
            relevance=relevance,
            texture=_texture(content, [image for _, image in references], result),
        )

    def _result(self, item: Item) -> FloatImage | None:
        if item.file is None:
            return None
        try:
            return load_gray(file_of(self._run, item.file))
        except InputError:
            self._notes.add(self._run, f"{item.file} cannot be read")
            return None

    def _source(self, catalog: Catalog | None, name: str) -> FloatImage | None:
        """A Catalog image as the run saw it, or None and a note."""
        if catalog is None:
            return None
        record = catalog.by_id.get(name)
        try:
            if record is not None:
                setting = self._run.setting
                size, aspect = setting("style", "size"), setting("style", "aspect")
                extent = extent_of(record, size, aspect or "square") if size else None
                return load_gray(catalog.path(record), extent)
        except InputError:
            pass
        self._notes.add(self._run, f"the source image {name} is missing or unreadable")
        return None


def _texture(
    content: FloatImage | None,
    references: Sequence[FloatImage | None],
    result: FloatImage | None,
) -> Texture | None:
    """None where the content or the result is missing, or nothing varies."""
    if content is None or result is None or content.shape != result.shape:
        return None
    before, after = speckle(content, content).snr, speckle(result, content).snr
    if before is None or after is None:
        return None
    own = [speckle(image, image).snr for image in references if image is not None]
    known = [value for value in own if value is not None]
    return Texture(before, float(np.median(known)) if known else None, after)
