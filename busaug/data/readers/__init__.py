"""Readers: what a data set's folders and file names mean, one module a layout.

A further layout is one module with an object that satisfies ``Reader`` and one line in ``READERS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from busaug.data.readers.breast import BreastReader
from busaug.data.readers.breastmnist import BreastMnistReader
from busaug.data.readers.bus_bra import BusBraReader
from busaug.data.readers.bus_uclm import BusUclmReader
from busaug.data.readers.busi import BusiReader
from busaug.data.readers.csv_table import CsvReader
from busaug.data.readers.curated_busi import CuratedBusiReader
from busaug.data.readers.folder import FolderReader
from busaug.data.readers.gdph_sysucc import GdphSysuccReader
from busaug.data.readers.listing import Found, readable_folder
from busaug.data.readers.oasbud import OasbudReader
from busaug.data.readers.udiat import UdiatReader
from busaug.errors import InputError

__all__ = ["AUTO", "READERS", "Found", "Reader", "choose_reader"]

AUTO = "auto"


class Reader(Protocol):
    """Lists the images of one data-set layout; decodes nothing."""

    name: str
    """What ``--layout`` calls it."""
    looks_for: str
    """The layout in words, for the message when nothing is found."""

    def matches(self, folder: Path) -> bool:
        """Whether the folder has this layout."""
        ...

    def read(self, folder: Path) -> list[Found]:
        """Every image of the folder, sorted by key."""
        ...


READERS: Sequence[Reader] = (
    BusiReader(),
    CuratedBusiReader(),
    UdiatReader(),
    BusBraReader(),
    BreastReader(),
    BusUclmReader(),
    BreastMnistReader(),
    OasbudReader(),
    GdphSysuccReader(),
    CsvReader(),
    FolderReader(),
)
"""In the order in which ``auto`` tries them: the most particular layout first."""


def choose_reader(folder: Path, layout: str = AUTO) -> Reader:
    """The reader named ``layout``, or with ``auto`` the first that matches the folder.

    Raises InputError for a folder that is missing, unreadable or holds no such data set, and for
    an unknown layout.
    """
    names = [reader.name for reader in READERS]
    if layout not in (AUTO, *names):
        raise InputError(
            f"unknown layout {layout!r}", remedy=f"Use one of {', '.join((AUTO, *names))}"
        )
    readable_folder(folder)
    candidates = [reader for reader in READERS if layout in (AUTO, reader.name)]
    for reader in candidates:
        if reader.matches(folder):
            return reader
    wanted = "; or ".join(f"{reader.name}: {reader.looks_for}" for reader in candidates)
    raise InputError(f"{folder} holds no data set (looked for {wanted})", remedy="Check the path")
