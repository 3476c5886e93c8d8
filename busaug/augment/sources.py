"""Where a run's contents and styles come from, and what leaks if another Catalog gives styles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from busaug.data.catalog import Catalog, Record
from busaug.data.duplicates import fingerprint, near_duplicate_groups
from busaug.data.images import read_gray
from busaug.errors import InputError


@dataclasses.dataclass(frozen=True)
class Sources:
    """Two sets of rows, each with the folder that its images lie in."""

    contents: Catalog
    """Training rows."""
    styles: Catalog
    """Rows that may serve as style; by default the contents."""
    leaks: tuple[str, ...] = ()
    """What was let pass, in words that name no folder."""

    @classmethod
    def of(cls, training: Catalog) -> Sources:
        """Training rows that are contents and styles."""
        return cls(training, training)

    @classmethod
    def between(cls, catalog: Catalog, styles: Catalog, *, allow_leak: bool) -> Sources:
        """The training rows of a Catalog, styled by those of another.

        Held-out images must not teach their look, nor a class lend it to another. So InputError
        where ``styles`` has no training rows, lacks a class, or has near-duplicates of held-out
        images of ``catalog``. ``allow_leak`` lets all that pass: then held-out images serve where
        there are no others, and every class where one is missing.
        """
        contents, rows = catalog.split("train"), styles.split("train")
        leaks = []
        if not rows.records:
            rows = styles
            leaks.append("its styles are held-out images: no image of their Catalog is of training")
        if missing := [label for label in contents.labels if label not in rows.labels]:
            leaks.append(f"no style is of class {', '.join(missing)}: those of all classes serve")
        held_out = catalog.where(lambda record: record.split != "train")
        if copies := sorted(_near(held_out, rows)):
            leaks.append(
                f"{len(copies)} of its {len(rows.records)} styles are near-duplicates of held-out "
                f"images ({copies[0]} is one)"
            )
        if leaks and not allow_leak:
            raise InputError(
                f"styles from {styles.root} would leak: {'; '.join(leaks)}",
                remedy="Take styles from another Catalog, or say --allow-leak, which the report"
                " will tell",
            )
        return cls(contents, rows, tuple(leaks))

    def pool(self, label: str) -> tuple[Record, ...]:
        """The rows that may style a content of this class."""
        own = self.styles.of_class(label).records
        return own or self.styles.records

    def without_roots(self, text: str) -> str:
        """``text`` with paths into both folders made relative."""
        return self.styles.without_root(self.contents.without_root(text))


def _near(held_out: Catalog, styles: Catalog) -> Iterator[str]:
    """Ids of the styles that show what a held-out image shows, as near as can be read."""
    groups: dict[str, set[bool]] = {}
    names: list[tuple[str, bool]] = []
    prints = []
    for catalog, known in ((held_out, True), (styles, False)):
        for record in catalog.records:
            try:
                prints.append(fingerprint(read_gray(catalog.path(record))))
            except InputError:  # an image that cannot be read styles nothing
                continue
            names.append((record.id, known))
    found = near_duplicate_groups(prints)
    for (_, known), group in zip(names, found, strict=True):
        groups.setdefault(group, set()).add(known)
    for (name, known), group in zip(names, found, strict=True):
        if not known and len(groups[group]) == 2:
            yield name
