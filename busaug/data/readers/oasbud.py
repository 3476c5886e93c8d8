"""OASBUD: Piotrzkowska-Wróblewska et al., Med. Phys. 44:6105 (2017), Zenodo 545928.

``OASBUD.mat`` holds a struct array ``data`` with id, rf1, rf2 (radio-frequency lines of two
orthogonal views), roi1, roi2 (lesion masks of the same size), birads and class (1 malignant). Both
views of a lesion are one group. There are 100 lesions of 78 women, and no field tells which lesions
are of one woman, so that they may part.

B-mode is made here: Hilbert envelope along each line, averaged over four samples (samples of 40 MHz
lie 0.019 mm apart, 510 lines over 38 mm 0.075 mm: pixels become nearly square), in decibels below
the largest, 50 dB from black to white.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.signal import hilbert

from busaug.data.decoders import Frame
from busaug.data.decoders.levels import require_size
from busaug.data.images import GrayImage, require_content
from busaug.data.readers.listing import Found
from busaug.errors import InputError

_FILE = "OASBUD.mat"
_FIELDS = ("id", "rf1", "rf2", "roi1", "roi2", "class")
_LABELS = {0: "benign", 1: "malignant"}
_VIEWS = (1, 2)
_SAMPLES_A_PIXEL = 4
_DYNAMIC_RANGE_DB = 50.0

Stamp = tuple[int, int]
Lesions = Sequence[Any]
"""Records with the fields of ``_FIELDS``."""


class OasbudReader:
    """Reads ``OASBUD.mat`` in a folder."""

    name = "oasbud"
    looks_for = _FILE

    def matches(self, folder: Path) -> bool:
        return (folder / _FILE).is_file()

    def read(self, folder: Path) -> list[Found]:
        path = folder / _FILE
        if not path.is_file():
            return []
        return [
            Found(
                f"{_FILE}/{number:03d}/view{view}",
                _label(lesion, path),
                _View(path, number, view),
                (_Outline(path, number, view),),
                group=f"lesion {number}",
            )
            for number, lesion in enumerate(_lesions(path), start=1)
            for view in _VIEWS
        ]


def b_mode(rf: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Radio-frequency lines (samples, lines), any real type, to levels (samples // 4, lines)."""
    lines = rf.astype(np.float64)
    envelope = _averaged(np.abs(hilbert(lines - lines.mean(axis=0), axis=0)))
    loudest = float(envelope.max()) or 1.0  # silence is black
    level_db = 20 * np.log10(np.maximum(envelope / loudest, 1e-300))
    gray = np.clip(1 + level_db / _DYNAMIC_RANGE_DB, 0.0, 1.0)
    return np.rint(gray * 255).astype(np.uint8)


@dataclass(frozen=True)
class _View:
    path: Path
    number: int
    view: int

    def gray(self, frame: Frame) -> GrayImage:
        name = f"{self.path}: rf{self.view} of lesion {self.number}"
        rf = _matrix(self.path, self.number, f"rf{self.view}")
        gray = GrayImage(b_mode(rf))
        require_content(gray, name)
        return gray


@dataclass(frozen=True)
class _Outline:
    path: Path
    number: int
    view: int

    @property
    def name(self) -> str:
        return f"{self.path}: roi{self.view} of lesion {self.number}"

    def inside(self) -> npt.NDArray[np.bool_]:
        roi = _matrix(self.path, self.number, f"roi{self.view}") > 0
        return np.asarray(_averaged(roi.astype(np.float64)) >= 0.5)


def _averaged(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of four rows each; up to three rows are left over at the bottom."""
    height = len(image) // _SAMPLES_A_PIXEL
    rows = image[: height * _SAMPLES_A_PIXEL].reshape(height, _SAMPLES_A_PIXEL, -1)
    return np.asarray(rows.mean(axis=1))


def _label(lesion: Any, path: Path) -> str:
    values = np.asarray(lesion["class"]).ravel().tolist()
    if len(values) != 1 or values[0] not in _LABELS:
        raise InputError(
            f"{path} has a class {values!r}", remedy="Download it again: 0 and 1 are published"
        )
    return _LABELS[int(values[0])]


def _matrix(path: Path, number: int, field: str) -> npt.NDArray[Any]:
    lesions = _lesions(path)
    values: npt.NDArray[Any] = (
        np.asarray(lesions[number - 1][field]) if number <= len(lesions) else np.empty(0)
    )
    name = f"{path}: {field} of lesion {number}"
    if values.ndim != 2 or values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise InputError(f"{name} is no matrix of finite numbers", remedy="Download the file again")
    require_size(values.shape[0], values.shape[1], name)
    if len(values) < _SAMPLES_A_PIXEL:
        raise InputError(f"{name} has {len(values)} samples", remedy="Download the file again")
    return values


def _lesions(path: Path) -> Lesions:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} does not exist", remedy="Restore the file") from error
    return _loaded(path, (status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=1)
def _loaded(path: Path, stamp: Stamp) -> Lesions:
    """The struct array; ``stamp`` tells a replaced file from the one that was read."""
    try:
        data = loadmat(path, variable_names=["data"])["data"].ravel()
        names = data.dtype.names or ()
    except Exception as error:  # what damage makes the parser raise has no limit
        raise InputError(
            f"{path} holds no struct array 'data' that can be read ({type(error).__name__})",
            remedy="Download the file again",
        ) from error
    missing = [name for name in _FIELDS if name not in names]
    if missing:
        raise InputError(
            f"{path} has no field {missing[0]!r} in 'data'", remedy="Download the file again"
        )
    lesions: Lesions = data
    return lesions
