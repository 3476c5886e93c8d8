"""BreastMNIST: Yang et al., Scientific Data 10:41 (2023).

``breastmnist_224.npz`` with ``{train,val,test}_images`` and ``_labels`` (N, 1). Its labels are the
reverse of everyone else's: 0 is malignant, 1 is normal or benign together. The pictures are BUSI's,
whose near-duplicates lie across the given splits; these are kept in the names only.
"""

from __future__ import annotations

import functools
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from busaug.data.decoders import Frame
from busaug.data.decoders.npy import read_array
from busaug.data.images import SIDE_MIN, GrayImage, require_content
from busaug.data.readers.listing import Found
from busaug.errors import InputError

_FILE_NAME = re.compile(r"^breastmnist(_(?P<side>\d{1,4}))?\.npz$", re.IGNORECASE)
_SIDE = 28  # of the file without a number
_SPLITS = ("train", "val", "test")
_LABELS = {0: "malignant", 1: "benign"}

Stamp = tuple[int, int]


class BreastMnistReader:
    """Reads the largest ``breastmnist*.npz`` of a folder."""

    name = "breastmnist"
    looks_for = "breastmnist_224.npz (or _128, _64)"

    def matches(self, folder: Path) -> bool:
        return bool(_files(folder))

    def read(self, folder: Path) -> list[Found]:
        files = _files(folder)
        if not files:
            return []
        side, path = max(files)
        if side < SIDE_MIN:
            raise InputError(
                f"{path} has images of {side}x{side} px",
                remedy=f"Give breastmnist_224.npz; at least {SIDE_MIN} px are needed",
            )
        found = [
            Found(
                f"{path.name}/{split}/{index + 1:04d}",
                _label(label, path),
                _Member(path, f"{split}_images", index),
            )
            for split in _SPLITS
            for index, label in enumerate(_array(path, f"{split}_labels").ravel().tolist())
        ]
        return sorted(found, key=lambda image: image.key)


@dataclass(frozen=True)
class _Member:
    """One picture of a stack (N, H, W)."""

    path: Path
    array: str
    index: int

    def gray(self, frame: Frame) -> GrayImage:
        stack = _array(self.path, self.array)
        name = f"{self.path}/{self.array}[{self.index}]"
        if stack.ndim != 3 or stack.dtype != np.uint8:
            raise InputError(
                f"{self.path} holds {self.array} as {stack.dtype} {stack.shape}",
                remedy="Download it again: uint8 (N, H, W) are published",
            )
        if self.index >= len(stack):
            raise InputError(f"{name} does not exist", remedy="Download the file again")
        gray = GrayImage(np.array(stack[self.index]))
        require_content(gray, name)
        return gray


def _files(folder: Path) -> list[tuple[int, Path]]:
    found = ((path, _FILE_NAME.match(path.name)) for path in folder.iterdir() if path.is_file())
    return [(int(match["side"] or _SIDE), path) for path, match in found if match]


def _label(value: Any, path: Path) -> str:
    if value not in _LABELS:
        raise InputError(
            f"{path} has a label {value!r}", remedy="Download it again: 0 and 1 are published"
        )
    return _LABELS[int(value)]


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} does not exist", remedy="Restore the file") from error
    return _unpacked(path, (status.st_size, status.st_mtime_ns), name)


@functools.lru_cache(maxsize=2 * len(_SPLITS))
def _unpacked(path: Path, stamp: Stamp, name: str) -> npt.NDArray[Any]:
    """A member of the archive; ``stamp`` tells a replaced file from the one that was read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
            return read_array(member, f"{path}/{name}.npy")  # type: ignore[arg-type]
    except KeyError as error:
        raise InputError(f"{path} holds no {name}", remedy="Download the file again") from error
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} cannot be unpacked", remedy="Download the file again") from error
