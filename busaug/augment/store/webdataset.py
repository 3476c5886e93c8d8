"""Tar shards for the ``webdataset`` library: three members an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from busaug.augment.store.base import Picture
from busaug.data import tar
from busaug.files import json_line


class WebDataset:
    """``ID.png``, ``ID.json`` (the manifest's row) and ``ID.cls`` (index of the class)."""

    suffix = ".tar"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)

    def write(self, path: Path, pictures: Iterable[Picture]) -> None:
        with tar.TarWriter(path) as archive:
            for picture in pictures:
                name = picture.row["id"]
                archive.add(f"{name}.png", picture.png)
                archive.add(f"{name}.json", json_line(picture.row).encode())
                archive.add(f"{name}.cls", str(self._labels.index(picture.row["class"])).encode())

    def is_whole(self, path: Path) -> bool:
        return tar.is_whole(path)
