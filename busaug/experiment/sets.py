"""The synthetic images of an arm, made once for all folds: ``OUT/sets/ARM``.

They are made in parts, one a block (or one of everything, where all pairs are), each a folder of
its own; ``catalog.jsonl`` and ``manifest.jsonl`` over all parts come last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from busaug.augment.job import Job
from busaug.augment.manifest import MANIFEST_FILE, Manifest
from busaug.augment.plan import Pair, plan_pairs
from busaug.augment.run import augment
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.catalog import CATALOG_FILE, Catalog, Record
from busaug.data.images import FloatImage, load_batch, pixel_hash, to_gray, write_pixels
from busaug.distributed.communicator import Communicator
from busaug.errors import OutputError
from busaug.experiment.arms import MATCHED, Arm
from busaug.experiment.classical import TRANSFORMS, match_mean_std
from busaug.experiment.samples import Sample, synthetic_sample
from busaug.files import atomic_folder, read_jsonl, write_jsonl
from busaug.models.weights import Weights
from busaug.runfolder import RunFolder, differences, read_run
from busaug.seeding import draw

COMMAND = "experiment"


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
    """An arm's images with what each was made from."""

    catalog: Catalog
    samples: tuple[Sample, ...]
    """In the order of the Catalog's records."""


def part_folder(folder: Path, part: int) -> Path:
    return folder / f"part_{part:03d}"


def make_part(
    arm: Arm, part: Catalog, folder: Path, weights: Weights | None, comm: Communicator
) -> None:
    """The arm's images of one part, all of whose rows are training rows.

    What is there of the same identity is kept. Collective where the images are styled; ``weights``
    are the style network's. Raises OutputError for a folder made otherwise.
    """
    if arm.styled:
        assert weights is not None
        augment(Job(part, arm.config, weights, None), folder, comm=comm)
        return
    identity = {"recipe": arm.recipe, "catalog": part.hash}
    run = RunFolder(folder, COMMAND, identity)
    if before := read_run(folder):
        if before["hash"] != run.hash:
            raise OutputError(
                f"{folder} belongs to another run ({differences(before['identity'], identity)})",
                remedy="Choose another output folder, or repeat the old configuration",
            )
        return
    if comm.is_root:
        with atomic_folder(folder) as scratch:
            _write_part(arm, part, scratch)
            RunFolder(scratch, COMMAND, identity).write()


def is_made(folder: Path) -> bool:
    """Whether a part's images are there, of whatever identity."""
    return (folder / CATALOG_FILE).is_file()


def join_parts(folder: Path, parts: int) -> None:
    """Write the Catalog and the manifest over all parts of a set."""
    rows: list[dict[str, Any]] = []
    records: list[Record] = []
    for number in range(parts):
        part = part_folder(folder, number)
        rows += [_moved(row, part.name) for row in Manifest(part).rows()]
        records += [
            dataclasses.replace(record, file=f"{part.name}/{record.file}")
            for record in _records(part)
        ]
    write_jsonl(folder / MANIFEST_FILE, rows)
    Catalog(folder, tuple(records)).save()


def load_set(folder: Path, source: Catalog) -> SyntheticSet:
    """A set that was joined, its accepted images only."""
    catalog = Catalog(folder, tuple(sorted(_records(folder), key=lambda record: record.id)))
    rows = {row["id"]: row for row in Manifest(folder).rows() if row["accepted"]}
    samples = tuple(synthetic_sample(rows[r.id], source.by_id) for r in catalog.records)
    return SyntheticSet(catalog, samples)


def _records(folder: Path) -> list[Record]:
    """Of a Catalog that may be empty: a gate may reject everything."""
    file = folder / CATALOG_FILE
    return [Record.from_row(row, file) for row in read_jsonl(file)]


def _moved(row: dict[str, Any], part: str) -> dict[str, Any]:
    return row if row["file"] is None else {**row, "file": f"{part}/{row['file']}"}


def _write_part(arm: Arm, part: Catalog, folder: Path) -> None:
    """Images, Catalog and manifest of an arm without style transfer."""
    made = _matched(arm.config, part) if arm.like == MATCHED else _transformed(arm, part)
    records, rows = [], []
    for pair, image in made:
        content = pair.content
        name = f"images/{content.label}/{pair.id}.png"
        pixels = to_gray(image, content.bit_depth).pixels
        write_pixels(folder / name, pixels)
        record = dataclasses.replace(
            content,
            id=pair.id,
            file=name,
            sha256=pixel_hash(pixels),
            width=image.shape[1],
            height=image.shape[0],
            source=f"busaug experiment, {arm.like}",
            mask=None,
            overlay=None,
        )
        records.append(record)
        rows.append(
            {
                "id": pair.id,
                "file": name,
                "content": content.id,
                "references": [reference.id for reference in pair.references],
                "class": content.label,
                "group": content.group,
                "accepted": True,
                "reason": None,
                "sha256": record.sha256,
                "content_sha256": content.sha256,
            }
        )
    Catalog(folder, tuple(records)).save()
    write_jsonl(folder / MANIFEST_FILE, rows)


def _transformed(arm: Arm, part: Catalog) -> Iterator[tuple[Pair, FloatImage]]:
    transform = TRANSFORMS[arm.like]
    for record in part.records:
        draws = draw(arm.config.seed, arm.like, record.sha256)
        image = _read(part, record, arm.config)
        for number, variant in enumerate(transform(image, draws)):
            yield Pair(0, record, (), number), np.ascontiguousarray(variant)


def _matched(config: Config, part: Catalog) -> Iterator[tuple[Pair, FloatImage]]:
    """Each content with its pairs' anchors, the same as those of the style arms."""
    style = config.style.model_copy(update={"references": 1})
    for unit in plan_pairs(Sources.of(part), config.model_copy(update={"style": style})):
        for pair in unit.pairs:
            content = _read(part, pair.content, config)
            yield pair, match_mean_std(content, _read(part, pair.references[0], config))


def _read(catalog: Catalog, record: Record, config: Config) -> FloatImage:
    image: FloatImage = load_batch(catalog, [record], config.style.size)[0, 0].numpy()
    return image
