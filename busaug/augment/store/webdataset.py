"""Tar shards for the ``webdataset`` library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from busaug.augment.store.base import Picture
from busaug.data import tar
from busaug.data.webdataset import add_sample


class WebDataset:
    """``ID.png``, ``ID.json`` (the manifest's row) and ``ID.cls`` (index of the class)."""

    suffix = ".tar"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)

    def write(self, path: Path, pictures: Iterable[Picture]) -> None:
        with tar.TarWriter(path) as archive:
            for picture in pictures:
                row = picture.row
                label = self._labels.index(row["class"])
                add_sample(archive, row["id"], {"": picture.png}, row, label)

    def is_whole(self, path: Path) -> bool:
        return tar.is_whole(path)
