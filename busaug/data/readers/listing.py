"""What readers share: the row they return, and listing files with their masks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from busaug.data.images import is_image_file
from busaug.errors import InputError

_MASK_STEM = re.compile(r"^(?P<image>.+)_mask(_\d+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """One image of a data set, not decoded yet."""

    path: Path
    label: str
    """Class, as the data set names it."""
    key: str
    """Path within the data set, POSIX separators: the same on every machine."""
    masks: tuple[Path, ...] = ()
    """One file a lesion; together they are the image's mask."""
    group: str | None = None
    """Patient or case, where the data set tells it."""


def readable_folder(folder: Path) -> None:
    """Raise InputError where ``folder`` is missing, no folder, or cannot be listed."""
    if not folder.exists():
        raise InputError(f"{folder} does not exist", remedy="Check the path")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file", remedy="Name the folder of the data set")
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read: {error.strerror}", remedy="Give read permission"
        ) from error


def class_folders(root: Path) -> list[Path]:
    """The visible folders right below ``root``, sorted by name."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def list_class(root: Path, folder: Path, label: str) -> Iterator[Found]:
    """Every image below ``folder``, sorted; ``x_mask.png``, ``x_mask_1.png``... go with ``x``.

    A mask whose image is missing is reported as that missing image, so that it is listed as
    skipped rather than lost.
    """
    images: dict[Path, Path] = {}
    masks: dict[Path, list[Path]] = {}
    for path in _files(folder):
        if match := _MASK_STEM.match(path.stem):
            masks.setdefault(path.with_name(match["image"]), []).append(path)
        else:
            images[path] = path.with_name(path.stem)
    imaged = set(images.values())
    for stem in masks.keys() - imaged:
        images[stem.with_name(stem.name + masks[stem][0].suffix)] = stem
    for path, stem in sorted(images.items()):
        key = path.relative_to(root).as_posix()
        yield Found(path, label, key, tuple(masks.get(stem, ())))


def _files(folder: Path) -> Iterator[Path]:
    readable_folder(folder)
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if path.is_dir() and not name.startswith("."):
            yield from _files(path)
        elif is_image_file(path):
            yield path
