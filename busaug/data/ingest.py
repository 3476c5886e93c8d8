"""From folders of images to one Catalog: decode, group, drop, split, write.

The Catalog's folder appears whole or not at all. An image that cannot be used is skipped and
listed in ``skipped.jsonl``; images of a group that carries more than one class are dropped and
listed in ``dropped.jsonl``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from busaug.config import canonical_hash
from busaug.console import progress
from busaug.data.catalog import SPLITS, Catalog, Record, Split, shared_groups
from busaug.data.duplicates import (
    Fingerprint,
    conflicting_groups,
    fingerprint,
    join_groups,
    near_duplicate_groups,
)
from busaug.data.images import GrayImage, read_gray, read_mask, to_float, write_mask, write_pixels
from busaug.data.naming import image_ids
from busaug.data.overlays import detect_overlays
from busaug.data.readers import AUTO, Found
from busaug.data.sources import Source, choose_classes, list_sources
from busaug.data.split import split_groups
from busaug.errors import InputError
from busaug.files import atomic_folder, write_jsonl
from busaug.runfolder import RunFolder

SKIPPED_FILE = "skipped.jsonl"
DROPPED_FILE = "dropped.jsonl"


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
    skipped_images: int
    """Images that could not be used."""
    left_out: dict[str, int]
    """Images of each class not asked for."""
    marked_images: int | None
    """Images with a mask of overlays; None where none was looked for."""


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
    fingerprint: Fingerprint

    def record(self, group: str, split: Split) -> Record:
        shared = {f.name for f in dataclasses.fields(self)} - {"patient", "fingerprint"}
        values = {name: getattr(self, name) for name in shared}
        return Record(group=group, split=split, sha256=self.fingerprint.sha256, **values)


def prepare(
    sources: Sequence[Path],
    out: Path,
    *,
    layout: str = AUTO,
    classes: Sequence[str] | None = ("benign", "malignant"),
    seed: int = 0,
    overlays: bool = True,
) -> PrepareSummary:
    """Make the Catalog ``out`` from one or several data sets.

    Class names are compared as slugs (``Benign`` is ``benign``); ``classes=None`` takes every one.
    Near-duplicates are searched across all sources. With ``overlays``, burnt-in marks and the black
    surround are detected, and images that have some get a mask of them. The Catalog depends on the
    pixels, the names of files and folders, the classes, the seed and that switch, not on where the
    sources lie.

    Raises InputError for a source that cannot be read or holds no data set, for a class that is in
    no source or keeps no image, and OutputError where ``out`` is not new or empty.
    """
    with atomic_folder(out) as folder:
        listed = list_sources(sources, layout)
        labels, left_out = choose_classes(listed, classes)
        decoded, skipped = _decode(listed, labels, folder, overlays)

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
        write_jsonl(folder / DROPPED_FILE, _dropped_rows(dropped))

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
            skipped_images=len(skipped),
            left_out=left_out,
            marked_images=sum(bool(r.overlay) for r in catalog.records) if overlays else None,
        )
        identity = {
            "sources": {source.name: source.layout for source in listed},
            "classes": list(labels),
            "seed": seed,
            "overlays": overlays,
            "inputs": canonical_hash(
                sorted((image.source, image.fingerprint.sha256) for image in decoded)
            ),
        }
        RunFolder(folder, "prepare", identity).write(**dataclasses.asdict(summary))
    return summary


def _decode(
    sources: Sequence[Source], labels: Sequence[str], folder: Path, overlays: bool
) -> tuple[list[_Decoded], list[dict[str, Any]]]:
    """Decode the images of the classes into the Catalog's folder; list those that fail."""
    wanted = [(source, found) for source in sources for found in source.of_classes(labels)]
    ids = image_ids([(source.name, source.label(found), found.key) for source, found in wanted])
    decoded: list[_Decoded] = []
    skipped: list[dict[str, Any]] = []
    with progress("decoding", len(wanted)) as advance:
        for (source, found), image_id in zip(wanted, ids, strict=True):
            try:
                decoded.append(_decode_one(source, found, image_id, folder, overlays))
            except InputError as error:
                reason = source.without_path(error.what)
                skipped.append({"file": f"{source.name}/{found.key}", "reason": reason})
            advance()
    return decoded, skipped


def _decode_one(
    source: Source, found: Found, image_id: str, folder: Path, overlays: bool
) -> _Decoded:
    gray = read_gray(found.path)
    height, width = gray.pixels.shape
    inside = np.zeros((height, width), bool)
    for path in found.masks:
        mask = read_mask(path)
        if mask.shape != inside.shape:
            raise InputError(
                f"{path} is {mask.shape[1]}x{mask.shape[0]} px, its image {width}x{height} px",
                remedy="Give a mask of the image's size",
            )
        inside |= mask
    label = source.label(found)
    file = f"images/{label}/{image_id}.png"
    write_pixels(folder / file, gray.pixels)
    # a black mask marks no lesion and is none
    mask_file = f"masks/{image_id}.png" if inside.any() else None
    if mask_file:
        write_mask(folder / mask_file, inside)
    return _Decoded(
        id=image_id,
        label=label,
        source=f"{source.name}/{found.key}",
        file=file,
        mask=mask_file,
        overlay=_write_overlay(gray, image_id, folder) if overlays else None,
        width=width,
        height=height,
        bit_depth=gray.bit_depth,
        patient=(source.name, found.group) if found.group else None,
        fingerprint=fingerprint(gray),
    )


def _write_overlay(gray: GrayImage, image_id: str, folder: Path) -> str | None:
    """Detect an image's overlays and write their mask, if there are any; its name."""
    marked = detect_overlays(to_float(gray)).mask
    if not marked.any():
        return None
    file = f"overlays/{image_id}.png"
    write_mask(folder / file, marked)
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


def _count(catalog: Catalog) -> dict[str, dict[str, int]]:
    counts = Counter((record.label, record.split) for record in catalog.records)
    return {label: {split: counts[label, split] for split in SPLITS} for label in catalog.labels}
