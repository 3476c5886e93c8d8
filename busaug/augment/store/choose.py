"""The store that a run's configuration asks for."""

from __future__ import annotations

from busaug.augment.job import Job
from busaug.augment.manifest import Manifest
from busaug.augment.plan import Plan
from busaug.augment.store.base import Store
from busaug.augment.store.folder import Folder
from busaug.augment.store.parquet import Parquet
from busaug.augment.store.shards import Layout, ShardFormat, Shards
from busaug.augment.store.webdataset import WebDataset
from busaug.data.archives import require_pyarrow
from busaug.data.webdataset import check_ids


def open_store(job: Job, plan: Plan, manifest: Manifest) -> Store:
    """The store of the job's format in the manifest's folder; nothing is written yet.

    Raises InputError where a library is missing or the Catalog's ids do not fit the format.
    """
    if job.format == "png":
        return Folder(manifest.folder)
    shape: ShardFormat
    if job.format == "parquet":
        require_pyarrow("output.format=parquet is asked for")
        shape = Parquet(job.catalog.labels)
    else:
        check_ids(job.training.records)
        shape = WebDataset(job.catalog.labels)
    return Shards(manifest, Layout.of(plan, job.config.output.shard), shape)
