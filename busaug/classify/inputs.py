"""Catalog images as the classifier sees them: read once, despeckled once, kept in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from busaug import console
from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch
from busaug.distributed.communicator import Communicator, Single, agreed
from busaug.errors import InputError
from busaug.models.classifier import ClassifierInfo
from busaug.models.preprocess import despeckle_inputs
from busaug.runfolder import read_run

_CHUNK = 32


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images ready for a classifier, in the order of the Catalogs they came from."""

    ids: tuple[str, ...]
    images: Tensor
    """(N, 1, S, S) float32 in [0, 1], despeckled as the classifier wants it; 4 N S^2 bytes."""
    targets: Tensor
    """(N,) int64, index into the classifier's classes."""
    skipped: tuple[dict[str, str], ...]
    """Images that could not be read: their id and the reason."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> ImageSet:
        """The images at some rows (n,), in that order."""
        ids = tuple(self.ids[row] for row in rows.tolist())
        return ImageSet(ids, self.images[rows], self.targets[rows], self.skipped)

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Images a class."""
        found = torch.bincount(self.targets, minlength=len(classes)).tolist()
        return dict(zip(classes, found, strict=True))


def load_set(
    catalogs: Sequence[Catalog], info: ClassifierInfo, what: str, comm: Communicator | None = None
) -> ImageSet:
    """Read and prepare every image of the Catalogs (filter them to a split first).

    Every rank reads its share, and all get the whole. An unreadable image is skipped, warned of and
    listed. Raises InputError for a class that the classifier does not have, and where no image is
    left; ``what`` names the set there.
    """
    comm = comm or Single()
    items = [(catalog, record) for catalog in catalogs for record in catalog.records]
    with agreed(comm):
        share = _read(items[comm.share(len(items))], info, what)
    own = share.images
    shares = comm.gather(dataclasses.replace(share, images=torch.empty(0)))
    chunks = []
    for rank, part in enumerate(shares):
        images = own if rank == comm.rank else own.new_empty(len(part), *own.shape[1:])
        chunks.append(comm.broadcast(images, root=rank))
    if not sum(map(len, shares)):
        raise InputError(f"there is no readable {what} image", remedy="Prepare a larger data set")
    return ImageSet(
        tuple(name for part in shares for name in part.ids),
        torch.cat(chunks) if len(chunks) > 1 else own,
        torch.cat([part.targets for part in shares]),
        tuple(row for part in shares for row in part.skipped),
    )


def _read(items: Sequence[tuple[Catalog, Record]], info: ClassifierInfo, what: str) -> ImageSet:
    ids: list[str] = []
    targets: list[int] = []
    chunks = [torch.empty(0, 1, info.size, info.size)]
    skipped: list[dict[str, str]] = []
    with console.progress(f"read {what} images", len(items)) as advance:
        for begin in range(0, len(items), _CHUNK):
            planes: list[Tensor] = []
            for catalog, record in items[begin : begin + _CHUNK]:
                target = _target(record, info, catalog)
                try:
                    planes.append(load_batch(catalog, [record], info.size))
                except InputError as error:
                    console.warn(f"skipped {record.id}: {error}")
                    reason = error.what.replace(str(catalog.path(record)), record.file)
                    skipped.append({"id": record.id, "reason": reason})
                    continue
                ids.append(record.id)
                targets.append(target)
            if planes:
                chunks.append(despeckle_inputs(torch.cat(planes), info))
            advance(len(items[begin : begin + _CHUNK]))
    found = torch.tensor(targets, dtype=torch.int64)
    return ImageSet(tuple(ids), torch.cat(chunks), found, tuple(skipped))


def training_rows(catalog: Catalog, synthetic: Sequence[Catalog]) -> list[Catalog]:
    """The training rows of a Catalog and of synthetic Catalogs made from it.

    Raises InputError for a synthetic Catalog without training rows or whose run record names
    another Catalog, and for a row whose group is in the main Catalog's validation or test split,
    or not in that Catalog at all: its content would leak, or could not be shown not to.
    """
    expected = catalog.hash
    splits = {record.group: record.split for record in catalog.records}
    for made in synthetic:
        run = read_run(made.root)
        if run and run["identity"].get("catalog", expected) != expected:
            raise InputError(
                f"{made.root} was made from another Catalog than {catalog.root}",
                remedy="Augment this Catalog's own training split",
            )
        for leak in run["summary"].get("leaks", ()) if run else ():
            console.warn(f"{made.root} leaks: {leak}")
        rows = made.split("train").records
        if not rows:
            raise InputError(
                f"{made.root} has no training image", remedy="Name a folder of 'busaug augment'"
            )
        for record in rows:
            split = splits.get(record.group)
            if split == "train":
                continue
            where = (
                f"the {split} split of {catalog.root}"
                if split
                else f"no split of {catalog.root}, so that leakage cannot be excluded"
            )
            raise InputError(
                f"{made.root}: image {record.id} is of group {record.group}, which is in {where}",
                remedy="Augment this Catalog's own training split",
            )
    return [part.split("train") for part in (catalog, *synthetic)]


def _target(record: Record, info: ClassifierInfo, catalog: Catalog) -> int:
    if record.label not in info.classes:
        raise InputError(
            f"{catalog.root}: image {record.id} is of class {record.label!r}, unknown to the "
            f"classifier of {', '.join(info.classes)}",
            remedy="Prepare the data set with these --classes",
        )
    return info.classes.index(record.label)
