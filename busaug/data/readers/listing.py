"""What readers share: the row they return, where pictures and masks come from, listing files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

import numpy as np
import numpy.typing as npt

from busaug.data.decoders import Frame, is_image_file, is_named_image
from busaug.data.images import GrayImage, read_gray, read_mask
from busaug.errors import InputError

_ROOT_DEPTH = 2
_MASK_STEM = re.compile(r"^(?P<image>.+)_mask(_\d+)?$", re.IGNORECASE)


class Picture(Protocol):
    """An image that can be decoded."""

    def gray(self, frame: Frame) -> GrayImage:
        """The image; errors as ``read_gray``."""
        ...


class Lesion(Protocol):
    """A mask that can be decoded."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def inside(self) -> npt.NDArray[np.bool_]:
        """The mask (H, W); errors as ``read_mask``."""
        ...


@dataclass(frozen=True)
class ImageFile:
    """An image that is a file of its own."""

    path: Path

    def gray(self, frame: Frame) -> GrayImage:
        return read_gray(self.path, frame)


@dataclass(frozen=True)
class MaskFile:
    """A mask that is a file of its own."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def inside(self) -> npt.NDArray[np.bool_]:
        return read_mask(self.path)


@dataclass(frozen=True)
class Found:
    """One image of a data set, not decoded yet."""

    key: str
    """Path within the data set, POSIX separators: the same on every machine."""
    label: str
    """Class, as the data set names it."""
    image: Picture
    masks: tuple[Lesion, ...] = ()
    """One a lesion; together they are the image's mask."""
    group: str | None = None
    """Patient or case, where the data set tells it."""
    unfit: str | None = None
    """Why the data set's own table says that this is no plain B-mode image, where it does."""
    folds: Mapping[str, str] = field(default_factory=dict)
    """Folds that the data set gives: name of the partition to the fold that tests the image."""


def found_file(
    root: Path,
    path: Path,
    label: str,
    masks: Sequence[Path] = (),
    *,
    group: str | None = None,
    unfit: str | None = None,
    folds: Mapping[str, str] | None = None,
) -> Found:
    """An image that is a file below ``root``."""
    key = path.relative_to(root).as_posix()
    lesions = tuple(MaskFile(mask) for mask in masks)
    return Found(key, label, ImageFile(path), lesions, group, unfit, folds or {})


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


def find_root(folder: Path, is_root: Callable[[Path], bool]) -> Path | None:
    """The folder or, since archives unpack into folders of their own, the first one or two levels
    below it that ``is_root``; None where there is none.
    """
    level = [folder]
    for _ in range(_ROOT_DEPTH):
        if root := next((path for path in level if is_root(path)), None):
            return root
        level = [below for path in level for below in class_folders(path)]
    return next((path for path in level if is_root(path)), None)


def list_images(folder: Path) -> Iterator[Path]:
    """Every image file below ``folder``, sorted, hidden ones excepted."""
    readable_folder(folder)
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if path.is_dir() and not name.startswith("."):
            yield from list_images(path)
        elif is_image_file(path):
            yield path


def list_class(root: Path, folder: Path, label: str) -> Iterator[Found]:
    """Every image below ``folder``, sorted; ``x_mask.png``, ``x_mask_1.png``... go with ``x``.

    A mask whose image is missing is reported as that missing image, so that it is listed as
    skipped rather than lost.
    """
    images: dict[Path, Path] = {}
    masks: dict[Path, list[Path]] = {}
    for path in list_images(folder):
        if match := _MASK_STEM.match(path.stem):
            masks.setdefault(path.with_name(match["image"]), []).append(path)
        else:
            images[path] = path.with_name(path.stem)
    imaged = set(images.values())
    for stem in masks.keys() - imaged:
        images[stem.with_name(stem.name + masks[stem][0].suffix)] = stem
    for path, stem in sorted(images.items()):
        yield found_file(root, path, label, masks.get(stem, ()))


def file_below(root: Path, name: str, origin: Path) -> Path:
    """The path of an image that a table names, which must lead to a place below ``root``.

    Separators may be those of Windows. Raises InputError, naming the table ``origin``, for a name
    that is empty, absolute, leads outside or is not that of an image.
    """
    relative = PurePosixPath(name.strip().replace("\\", "/"))
    outside = (
        relative.is_absolute() or ".." in relative.parts or bool(PureWindowsPath(relative).drive)
    )
    if outside or "\0" in name:
        raise InputError(
            f"{origin} names {name!r}, which is outside of its folder",
            remedy="Use paths relative to the table's folder",
        )
    if not is_named_image(relative.name):
        raise InputError(
            f"{origin} names {name!r}, which is no image",
            remedy="Give file names with .png, .tif, .jpg, .bmp, .dcm or .npy",
        )
    return root / relative


def list_file(path: Path) -> Found:
    """One image file with the masks ``x_mask.png``, ``x_mask_1.png``... beside it."""
    masks = [
        other
        for other in sorted(path.parent.iterdir())
        if (match := _MASK_STEM.match(other.stem))
        and match["image"] == path.stem
        and is_image_file(other)
    ]
    return found_file(path.parent, path, "", masks)


def joined_masks(found: Found, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """All masks of an image of that shape as one, empty where it has none.

    Raises InputError for a mask of another size, and as the masks themselves do.
    """
    inside = np.zeros(shape, bool)
    for mask in found.masks:
        part = mask.inside()
        if part.shape != inside.shape:
            raise InputError(
                f"{mask.name} is {part.shape[1]}x{part.shape[0]} px,"
                f" its image {shape[1]}x{shape[0]} px",
                remedy="Give a mask of the image's size",
            )
        inside |= part
    return inside
