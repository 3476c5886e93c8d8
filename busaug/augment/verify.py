"""Is a data set what its manifest says, is that what was planned, and did nothing leak?"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from busaug import console
from busaug.augment.manifest import Row
from busaug.augment.past import PastRun
from busaug.augment.plan import Pair, plan_pairs
from busaug.augment.run import COMMAND
from busaug.data.catalog import Catalog, Record, shared_groups
from busaug.data.images import pixel_hash, read_gray
from busaug.errors import InputError
from busaug.runfolder import RunFolder

_FOLDERS = ("images", "shards", "rejected")


@dataclasses.dataclass(frozen=True)
class Check:
    """One question to a run."""

    name: str
    looked_at: int
    faults: tuple[str, ...]
    """What is wrong, one a line; empty where all is well."""


def verify(run: PastRun) -> list[Check]:
    """Ask everything that can be told without making an image again; reads every image."""
    rows = list(run.manifest.rows())
    return [
        Check("the record of the run is unchanged", 1, tuple(_record_faults(run))),
        Check("the manifest is the plan", len(rows), tuple(_plan_faults(run, rows))),
        Check("counts are the manifest's", 3, tuple(_count_faults(run, rows))),
        Check("contents and styles are training images", len(rows), tuple(_leaks(run, rows))),
        _check_images(run, rows),
        Check("no image beside them", *_strangers(run, rows)),
        Check("the Catalog lists the accepted", *_listing(run, rows)),
    ]


def _record_faults(run: PastRun) -> Iterator[str]:
    if RunFolder(run.folder, COMMAND, run.identity).hash != run.hash:
        yield "the hash of its settings is another"
    if run.identity["catalog"] != run.catalog.hash:
        yield f"{run.catalog.root} is not the Catalog that it was made from"
    if run.styles is not None and run.identity["styles"]["catalog"] != run.styles.hash:
        yield f"{run.styles.root} is not the Catalog that its styles are of"


def _plan_faults(run: PastRun, rows: Iterable[Row]) -> Iterator[str]:
    try:
        plan = plan_pairs(run.sources, run.config)
    except InputError as error:
        yield f"the Catalog allows no such plan: {error.what}"
        return
    planned = (pair for unit in plan for pair in unit.pairs)
    for pair, row in itertools.zip_longest(planned, rows):
        if row is None:
            yield f"{pair.id} is planned and missing"
        elif pair is None:
            yield f"{row['id']} is not planned"
        elif _facts(pair) != {name: row[name] for name in _facts(pair)}:
            yield f"{row['id']} is not as planned ({pair.id})"


def _facts(pair: Pair) -> Row:
    return {
        "id": pair.id,
        "content": pair.content.id,
        "references": [record.id for record in pair.references],
        "class": pair.label,
        "group": pair.content.group,
        "content_sha256": pair.content.sha256,
    }


def _count_faults(run: PastRun, rows: Iterable[Row]) -> Iterator[str]:
    accepted = Counter(bool(row["accepted"]) for row in rows)
    found = {"planned": accepted.total(), "accepted": accepted[True]}
    found["rejected"] = accepted[False]
    told = {
        "planned": run.summary["planned"],
        "accepted": run.summary["accepted"],
        "rejected": sum(run.summary["rejected"].values()),
    }
    for name, count in found.items():
        if told[name] != count:
            yield f"{told[name]} {name} in the summary, {count} in the manifest"


def _leaks(run: PastRun, rows: Iterable[Row]) -> Iterator[str]:
    """By split, group, class and pixels: a test image under another id is one all the same."""
    contents, styles = run.catalog.by_id, (run.styles or run.catalog).by_id
    held_out = [record for record in run.catalog.records if record.split != "train"]
    groups = {record.group for record in held_out}
    pixels = {record.sha256 for record in held_out}
    for group in shared_groups(run.catalog.records):
        yield f"the group {group} of the Catalog is in several splits"
    yield from run.sources.leaks
    for row in rows:
        used = {row["content"]: contents.get(row["content"])}
        # of one name in both Catalogs each is looked at
        shown = [*used.items(), *((name, styles.get(name)) for name in row["references"])]
        for name, record in dict.fromkeys(shown):
            fault = _leak(record, row["class"], groups, pixels)
            if fault:
                yield f"{row['id']} uses {name}, {fault}"


def _leak(record: Record | None, label: str, groups: set[str], pixels: set[str]) -> str | None:
    if record is None:
        return "which the Catalog does not have"
    if record.split != "train":
        return f"a {record.split} image"
    if record.group in groups:
        return "of a group that is held out"
    if record.sha256 in pixels:
        return "whose pixels are those of an image that is held out"
    return None if record.label == label else f"of class {record.label}"


def _check_images(run: PastRun, rows: Iterable[Row]) -> Check:
    kept = [row for row in rows if row["file"] is not None]
    faults = []
    with console.progress("verify", len(kept)) as advance:
        for row in kept:
            try:
                if pixel_hash(read_gray(run.folder / row["file"]).pixels) != row["sha256"]:
                    faults.append(f"{row['file']} has other pixels than were written")
            except InputError as error:
                faults.append(str(error.what))
            advance()
    return Check("images are on disk and unchanged", len(kept), tuple(faults))


def _strangers(run: PastRun, rows: Iterable[Row]) -> tuple[int, tuple[str, ...]]:
    """Image files and shards that no row names."""
    named = {row["file"] for row in rows if row["file"] is not None}
    named |= {str(_archive(Path(name), run.folder)) for name in named}
    found = [
        path.relative_to(run.folder).as_posix()
        for name in _FOLDERS
        for path in sorted((run.folder / name).rglob("*"))
        if path.is_file()
    ]
    faults = (f"{name} is in no row of the manifest" for name in found if name not in named)
    return len(found), tuple(faults)


def _archive(file: Path, folder: Path) -> Path:
    """The file on disk that holds an image: itself, or a shard."""
    return next((part for part in (file, *file.parents) if (folder / part).is_file()), file)


def _listing(run: PastRun, rows: Iterable[Row]) -> tuple[int, tuple[str, ...]]:
    wanted = {row["id"]: _catalog_facts(row.get) for row in rows if row["accepted"]}
    if not wanted:
        return 0, ()
    records = [record.row() for record in Catalog.load(run.folder).records]
    listed = {row["id"]: _catalog_facts(row.get) for row in records}
    differ = [name for name in wanted if listed.get(name) != wanted[name]]
    faults = [f"{name} is missing or listed with other facts" for name in differ]
    faults += [f"{name} is listed and not accepted" for name in listed if name not in wanted]
    return len(listed), tuple(faults)


def _catalog_facts(get: Callable[[str], object]) -> tuple[object, ...]:
    return tuple(get(name) for name in ("file", "class", "group", "sha256", "split"))
