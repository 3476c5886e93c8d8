"""From folders of images to one Catalog: decode, group, drop, split, write.

The Catalog's folder appears whole or not at all. An image that cannot be used is skipped and
listed in ``skipped.jsonl``; images of a group that carries more than one class, and those that
their data set itself calls unfit, are dropped and listed in ``dropped.jsonl``. Folds that a data
set gives are kept in ``folds.jsonl``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from busaug.config import canonical_hash
from busaug.console import progress
from busaug.data.catalog import SPLITS, Catalog, Record, Split, shared_groups
from busaug.data.decoders import FIRST, Frame
from busaug.data.duplicates import (
    Fingerprint,
    conflicting_groups,
    fingerprint,
    join_groups,
    near_duplicate_groups,
)
from busaug.data.images import GrayImage, to_float, write_mask, write_pixels
from busaug.data.naming import image_ids
from busaug.data.overlays import detect_overlays
from busaug.data.readers import AUTO, Found
from busaug.data.readers.listing import joined_masks
from busaug.data.sources import Source, choose_classes, list_sources
from busaug.data.split import split_groups
from busaug.errors import InputError
from busaug.files import atomic_folder, write_jsonl
from busaug.runfolder import RunFolder

SKIPPED_FILE = "skipped.jsonl"
DROPPED_FILE = "dropped.jsonl"
FOLDS_FILE = "folds.jsonl"
"""Rows of an image's id and, by partition, the fold in which its data set tests it."""


@dataclasses.dataclass(frozen=True)
class PrepareSummary:
    """What ``prepare`` made and what it left out."""

    images: dict[str, dict[str, int]]
    """Images by class and split."""
    groups: int
    """Groups of images that never part; most hold one image."""
    shared_groups: int
    """Groups found in more than one split: 0, counted on the finished Catalog."""
    near_duplicate_groups: int
    """Groups of near-duplicates kept."""
    near_duplicate_images: int
    """Images in them."""
    dropped_groups: int
    """Groups of near-duplicates that carry more than one class."""
    dropped_images: int
    unfit_images: dict[str, int]
    """Images dropped for what their data set's table says (Doppler frame...), by reason."""
    skipped_images: int
    """Images that could not be used."""
    left_out: dict[str, int]
    """Images of each class not asked for."""
    marked_images: int | None
    """Images with a mask of overlays; None where none was looked for."""
    burnt_in_images: int
    """Images whose DICOM header declares burnt-in annotation, which may tell who the patient is."""


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """A usable image, its pixels already in the new Catalog."""

    id: str
    label: str
    source: str
    file: str
    mask: str | None
    overlay: str | None
    width: int
    height: int
    bit_depth: int
    patient: tuple[str, str] | None
    """(source, patient or case), where the data set tells it."""
    folds: Mapping[str, str]
    """As the data set gives them."""
    burnt_in: bool
    """Whether a DICOM header says so."""
    fingerprint: Fingerprint

    def record(self, group: str, split: Split) -> Record:
        shared = {f.name for f in dataclasses.fields(self)} & {
            f.name for f in dataclasses.fields(Record)
        }
        values = {name: getattr(self, name) for name in shared}
        return Record(group=group, split=split, sha256=self.fingerprint.sha256, **values)


def prepare(
    sources: Sequence[Path],
    out: Path,
    *,
    layout: str = AUTO,
    classes: Sequence[str] | None = ("benign", "malignant"),
    seed: int = 0,
    frame: Frame = FIRST,
    overlays: bool = True,
) -> PrepareSummary:
    """Make the Catalog ``out`` from one or several data sets.

    Class names are compared as slugs (``Benign`` is ``benign``); ``classes=None`` takes every one.
    Near-duplicates are searched across all sources. With ``overlays``, burnt-in marks and the black
    surround are detected, and images that have some get a mask of them. Of a file with several
    frames (a cine loop) ``frame`` is taken: first, middle, last or a number from 1. The Catalog
    depends on the pixels, the names of files and folders, the classes, the seed and these two, not
    on where the sources lie.

    Raises InputError for a source that cannot be read or holds no data set, for a class that is in
    no source or keeps no image, and OutputError where ``out`` is not new or empty.
    """
    with atomic_folder(out) as folder:
        listed = list_sources(sources, layout)
        labels, left_out = choose_classes(listed, classes)
        wanted = [(source, found) for source in listed for found in source.of_classes(labels)]
        unfit = [(source, found) for source, found in wanted if found.unfit]
        usable = [(source, found) for source, found in wanted if not found.unfit]
        decoded, skipped = _decode(usable, _Decoder(folder, frame, overlays))

        near = near_duplicate_groups([image.fingerprint for image in decoded])
        conflicts = conflicting_groups(near, [image.label for image in decoded])
        pairs = list(zip(decoded, near, strict=True))
        kept = [(image, group) for image, group in pairs if group not in conflicts]
        dropped = [(image, group) for image, group in pairs if group in conflicts]
        _require_every_class(labels, [image for image, _ in kept], len(skipped), len(dropped))
        _remove([image for image, _ in dropped], folder)

        groups = join_groups([group for _, group in kept], [image.patient for image, _ in kept])
        splits = split_groups(
            ((group, image.label) for group, (image, _) in zip(groups, kept, strict=True)), seed
        )
        records = [
            image.record(group, splits[group])
            for group, (image, _) in zip(groups, kept, strict=True)
        ]
        Catalog(folder, tuple(records)).save()
        write_jsonl(folder / SKIPPED_FILE, skipped)
        write_jsonl(folder / DROPPED_FILE, [*_dropped_rows(dropped), *_unfit_rows(unfit)])
        folds = [{"id": image.id, **image.folds} for image, _ in kept if image.folds]
        if folds:
            write_jsonl(folder / FOLDS_FILE, sorted(folds, key=lambda row: row["id"]))

        near_sizes = [n for n in Counter(group for _, group in kept).values() if n > 1]
        catalog = Catalog.load(folder)
        summary = PrepareSummary(
            images=_count(catalog),
            groups=len(set(groups)),
            shared_groups=len(shared_groups(catalog.records)),
            near_duplicate_groups=len(near_sizes),
            near_duplicate_images=sum(near_sizes),
            dropped_groups=len(conflicts),
            dropped_images=len(dropped),
            unfit_images=dict(sorted(Counter(found.unfit or "" for _, found in unfit).items())),
            skipped_images=len(skipped),
            left_out=left_out,
            marked_images=sum(bool(r.overlay) for r in catalog.records) if overlays else None,
            burnt_in_images=sum(image.burnt_in for image, _ in kept),
        )
        identity = {
            "sources": {source.name: source.layout for source in listed},
            "classes": list(labels),
            "seed": seed,
            "frame": frame,
            "overlays": overlays,
            "inputs": canonical_hash(
                sorted((image.source, image.fingerprint.sha256) for image in decoded)
            ),
        }
        RunFolder(folder, "prepare", identity).write(**dataclasses.asdict(summary))
    return summary


def _decode(
    images: Sequence[tuple[Source, Found]], decoder: _Decoder
) -> tuple[list[_Decoded], list[dict[str, Any]]]:
    """Decode images into the Catalog's folder; list those that fail."""
    ids = image_ids([(source.name, source.label(found), found.key) for source, found in images])
    decoded: list[_Decoded] = []
    skipped: list[dict[str, Any]] = []
    with progress("decoding", len(images)) as advance:
        for (source, found), image_id in zip(images, ids, strict=True):
            try:
                decoded.append(decoder.decode(source, found, image_id))
            except InputError as error:
                reason = source.without_path(error.what)
                skipped.append({"file": source.file(found), "reason": reason})
            advance()
    return decoded, skipped


@dataclasses.dataclass(frozen=True)
class _Decoder:
    """Writes the images that are found into the folder of a new Catalog."""

    folder: Path
    frame: Frame
    overlays: bool

    def decode(self, source: Source, found: Found, image_id: str) -> _Decoded:
        gray = found.image.gray(self.frame)
        height, width = gray.pixels.shape
        inside = joined_masks(found, (height, width))
        label = source.label(found)
        file = f"images/{label}/{image_id}.png"
        write_pixels(self.folder / file, gray.pixels)
        return _Decoded(
            id=image_id,
            label=label,
            source=source.file(found),
            file=file,
            # a black mask marks no lesion and is none
            mask=self._write_mask("masks", image_id, inside),
            overlay=self._write_overlay(gray, image_id),
            width=width,
            height=height,
            bit_depth=gray.bit_depth,
            patient=(source.name, found.group) if found.group else None,
            folds=found.folds,
            burnt_in=bool(gray.burnt_in),
            fingerprint=fingerprint(gray),
        )

    def _write_overlay(self, gray: GrayImage, image_id: str) -> str | None:
        """Detect an image's overlays and write their mask, if there are any; its name."""
        if not self.overlays:
            return None
        return self._write_mask("overlays", image_id, detect_overlays(to_float(gray)).mask)

    def _write_mask(self, kind: str, image_id: str, mask: npt.NDArray[np.bool_]) -> str | None:
        if not mask.any():
            return None
        file = f"{kind}/{image_id}.png"
        write_mask(self.folder / file, mask)
        return file


def _require_every_class(
    labels: Sequence[str], kept: Sequence[_Decoded], skipped: int, dropped: int
) -> None:
    counts = Counter(image.label for image in kept)
    for label in labels:
        if not counts[label]:
            raise InputError(
                f"class {label!r} keeps no image ({skipped} images of all classes could not be"
                f" decoded, {dropped} were near-duplicates of another class)",
                remedy="Check the files of that class, or leave it out with --classes",
            )


def _remove(images: Sequence[_Decoded], folder: Path) -> None:
    for image in images:
        for file in filter(None, (image.file, image.mask, image.overlay)):
            (folder / file).unlink()


def _dropped_rows(dropped: Sequence[tuple[_Decoded, str]]) -> list[dict[str, Any]]:
    classes: dict[str, set[str]] = {}
    for image, group in dropped:
        classes.setdefault(group, set()).add(image.label)
    return [
        {
            "file": image.source,
            "class": image.label,
            "group": group,
            "reason": f"near-duplicates carry the classes {', '.join(sorted(classes[group]))}",
        }
        for image, group in sorted(dropped, key=lambda pair: (pair[1], pair[0].source))
    ]


def _unfit_rows(unfit: Sequence[tuple[Source, Found]]) -> list[dict[str, Any]]:
    return [
        {
            "file": source.file(found),
            "class": source.label(found),
            "group": None,
            "reason": f"{found.unfit}, says the data set",
        }
        for source, found in unfit
    ]


def _count(catalog: Catalog) -> dict[str, dict[str, int]]:
    counts = Counter((record.label, record.split) for record in catalog.records)
    return {label: {split: counts[label, split] for split in SPLITS} for label in catalog.labels}
