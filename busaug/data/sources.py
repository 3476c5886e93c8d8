"""Which images of which data sets are to be taken: listed, nothing decoded."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from busaug.data.naming import slug
from busaug.data.readers import Found, choose_reader
from busaug.errors import InputError


@dataclasses.dataclass(frozen=True)
class Source:
    """One data set's folder and the images that its reader found."""

    name: str
    """Slug of the folder's name, unique among the sources."""
    root: Path
    layout: str
    """Name of the reader."""
    found: tuple[Found, ...]

    def label(self, found: Found) -> str:
        """The image's class as a slug: the class ``Benign`` of one set is ``benign`` of another."""
        return slug(found.label) or found.label

    def of_classes(self, labels: Sequence[str]) -> list[Found]:
        """The images of these classes, those that the data set calls unfit among them."""
        return [found for found in self.found if self.label(found) in labels]

    def file(self, found: Found) -> str:
        """Where an image came from, as a Catalog tells it."""
        return f"{self.name}/{found.key}"

    def without_path(self, text: str) -> str:
        """The text with this machine's path to the source replaced by the source's name."""
        return text.replace(str(self.root), self.name)


def list_sources(folders: Sequence[Path], layout: str) -> list[Source]:
    """List every folder with the reader for its layout; errors as ``choose_reader``."""
    if not folders:
        raise InputError("no source is named", remedy="Name at least one folder of images")
    sources: list[Source] = []
    names: Counter[str] = Counter()
    for folder in folders:
        reader = choose_reader(folder, layout)
        root = folder.resolve()
        name = slug(root.name) or "source"
        names[name] += 1
        if names[name] > 1:
            name = f"{name}-{names[name]}"
        sources.append(Source(name, root, reader.name, tuple(reader.read(root))))
    return sources


def choose_classes(
    sources: Sequence[Source], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The classes to take, sorted, and how many images each of the others has.

    Raises InputError for a class that no source has, and for one that makes no file name.
    """
    counts = Counter(
        source.label(found) for source in sources for found in source.found if not found.unfit
    )
    known = ", ".join(f"{label} ({count})" for label, count in sorted(counts.items()))
    labels = sorted(counts if classes is None else {slug(name) or name for name in classes})
    if not labels:
        raise InputError("no class is named", remedy=f"Name some of: {known}")
    for label in labels:
        if label not in counts:
            raise InputError(
                f"no source has an image of class {label!r}", remedy=f"Classes found: {known}"
            )
        if not slug(label):
            raise InputError(
                f"the class {label!r} has no ASCII letter or digit in its name",
                remedy="Rename its folder",
            )
    left_out = {label: counts[label] for label in sorted(counts) if label not in labels}
    return tuple(labels), left_out
