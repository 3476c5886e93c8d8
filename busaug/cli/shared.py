"""What several commands do with their arguments."""

from __future__ import annotations

import os
from typing import cast, get_args

from busaug.config import Config
from busaug.data.catalog import SPLITS, Catalog, Split
from busaug.distributed.launch import detect
from busaug.errors import InputError
from busaug.runfolder import Resume


def choose_split(catalog: Catalog, name: str) -> Catalog:
    """The named split, or all of it; InputError for another name or an empty split."""
    if name == "all":
        return catalog
    chosen = catalog.split(parse_split(name, "all"))
    if not chosen.records:
        raise InputError(
            f"{catalog.root} has no image in its {name} split", remedy="Choose another --split"
        )
    return chosen


def parse_split(name: str, *others: str) -> Split:
    """The split of that name, or InputError, which also tells of ``others`` that are allowed."""
    if name not in SPLITS:
        allowed = ", ".join((*SPLITS, *others))
        raise InputError(f"unknown split {name!r}", remedy=f"Use one of {allowed}")
    return name


def parse_resume(text: str) -> Resume:
    """The way to treat a run that was stopped, or InputError."""
    for choice in get_args(Resume):
        if text == choice:
            return cast(Resume, choice)
    allowed = ", ".join(get_args(Resume))
    raise InputError(f"unknown --resume {text!r}", remedy=f"Use one of {allowed}")


def first_of_each_class(catalog: Catalog, limit: int) -> Catalog:
    """The first ``limit`` images of each class by id; every one for 0."""
    if limit == 0:
        return catalog
    kept = [
        record for label in catalog.labels for record in catalog.of_class(label).records[:limit]
    ]
    return Catalog(catalog.root, tuple(sorted(kept, key=lambda record: record.id)))


def resolve_compute(config: Config) -> Config:
    """The configuration with what is left to the machine filled in.

    ``compute.threads`` becomes a number: 0 is the cores at hand, which the processes share that a
    launcher started on this machine. ``style.precision`` becomes ``single`` or ``mixed``.
    """
    from busaug.device import resolve_precision  # brings torch

    if not config.compute.threads:
        available = getattr(os, "sched_getaffinity", None)
        cores = len(available(0)) if available else os.cpu_count() or 1
        threads = max(1, cores // detect().local_size)
        compute = config.compute.model_copy(update={"threads": threads})
        config = config.model_copy(update={"compute": compute})
    return resolve_precision(config)


def duration(seconds: float) -> str:
    """A time for a reader: seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
