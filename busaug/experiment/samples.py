"""What a classifier is trained and tested on, each with all that it was made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from busaug.data.catalog import Catalog, Record
from busaug.data.duplicates import fingerprint, near_duplicate_groups
from busaug.data.images import read_gray
from busaug.errors import InputError


class LeakError(InputError):
    """A test image that a training image is, repeats or was made from."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """An image, real or synthetic."""

    id: str
    label: str
    group: str
    """Its own; of a synthetic image its content's."""
    origins: frozenset[str]
    """The groups of everything it was made from: of a real image its own alone."""
    hashes: frozenset[str]
    """Pixel hashes of the image and of everything it was made from."""
    synthetic: bool


def real_sample(record: Record) -> Sample:
    return Sample(
        record.id,
        record.label,
        record.group,
        frozenset({record.group}),
        frozenset({record.sha256}),
        synthetic=False,
    )


def synthetic_sample(row: Mapping[str, Any], source: Mapping[str, Record]) -> Sample:
    """From a manifest's row and the records it was made from, by id."""
    made_from = [source[name] for name in (row["content"], *row["references"])]
    return Sample(
        row["id"],
        row["class"],
        row["group"],
        frozenset(record.group for record in made_from),
        frozenset({row["sha256"], *(record.sha256 for record in made_from)}),
        synthetic=True,
    )


def check_apart(training: Iterable[Sample], test: Sequence[Sample]) -> None:
    """Raise LeakError where a test image is among the training images or their sources.

    By near-duplicate group and by pixels, of content and style images alike.
    """
    group_of = {group: sample.id for sample in test for group in sample.origins}
    hash_of = {sha256: sample.id for sample in test for sha256 in sample.hashes}
    for sample in training:
        for found, how in (
            (_shared(sample.origins, group_of), "is of its near-duplicate group"),
            (_shared(sample.hashes, hash_of), "has its pixels"),
        ):
            if found is not None:
                what = "was made from an image that" if sample.synthetic else "itself"
                raise LeakError(
                    f"test image {found} leaks: training image {sample.id} {what} {how}",
                    remedy="Make the Catalog with 'busaug prepare' and the sets anew",
                )


def check_groups(catalog: Catalog) -> None:
    """Raise LeakError where two images look the same and are of different groups.

    Groups are taken on trust everywhere else; a Catalog may have been written by hand.
    """
    prints = [fingerprint(read_gray(catalog.path(record))) for record in catalog.records]
    first: dict[str, Record] = {}
    for record, look in zip(catalog.records, near_duplicate_groups(prints), strict=True):
        other = first.setdefault(look, record)
        if other.group != record.group:
            raise LeakError(
                f"{catalog.root}: {other.id} and {record.id} are near-duplicates in different "
                f"groups",
                remedy="Make the Catalog with 'busaug prepare'",
            )


def _shared(own: Collection[str], theirs: Mapping[str, str]) -> str | None:
    return next((theirs[key] for key in own if key in theirs), None)
