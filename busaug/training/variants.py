"""Training images, each replaced by one of its styled variants now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from busaug.augment.manifest import MANIFEST_FILE
from busaug.classify.inputs import training_rows
from busaug.data.catalog import Catalog, Record
from busaug.data.images import read_gray, resize, to_float
from busaug.errors import InputError
from busaug.files import iterate_jsonl
from busaug.seeding import draw
from busaug.training.scales import require_probability


class StyledVariants(Dataset[tuple[Tensor, int]]):
    """The training split of a Catalog; item i is its i-th image or, with probability p, a variant
    that ``busaug augment`` made of it. The class stays.

    An item is (image, label): float32 (1, H, W) in [0, 1], squashed to ``size`` x ``size`` unless
    that is None, and the index of its class in ``classes``. What is drawn depends on seed, epoch
    and the image's id alone: it is the same for every number and kind of workers, and no two
    workers draw alike. Call ``set_epoch`` before each epoch, as with a DistributedSampler;
    persistent workers see it too. An image without an accepted variant stays itself.

    Args:
        catalog: Folder of 'busaug prepare'.
        runs: Folders of 'busaug augment', made from that Catalog; files or shards.
        p: Probability of a variant, in [0, 1].
        size: Side of the images, pixels; None keeps each image's own size.
        seed: Of the draws.
        transform: What is done to each image (1, H, W) after that; its draws are its own.

    Raises:
        InputError: a folder that is no Catalog or no run, a run made from another Catalog or from
            images that are not in its training split, p or size out of range.
    """

    def __init__(
        self,
        catalog: Path | str,
        runs: Sequence[Path | str],
        *,
        p: float = 0.5,
        size: int | None = 224,
        seed: int = 0,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require_probability("p", p)
        if size is not None and size < 1:
            raise InputError(f"size={size} is no size", remedy="Give a side in pixels, or None")
        source = Catalog.load(Path(catalog))
        originals, *made = training_rows(source, [Catalog.load(Path(run)) for run in runs])
        self.classes = source.labels
        self._originals = originals
        self._variants = _by_content(originals, made)
        self._p, self._size, self._seed = p, size, seed
        self._transform = transform
        # in shared memory: workers that outlive an epoch hold copies of all else
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Have the next epoch draw anew."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._originals.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        original = self._originals.records[index]
        path = self._originals.path(original)
        variants = self._variants.get(original.id, ())
        rng = draw(self._seed, "styled variant", int(self._epoch), original.id)
        if variants and rng.random() < self._p:
            path = variants[int(rng.integers(len(variants)))]
        image = torch.from_numpy(to_float(read_gray(path)))[None]
        if self._size is not None:
            image = resize(image, self._size)
        if self._transform is not None:
            image = self._transform(image)
        return image, self.classes.index(original.label)


def _by_content(originals: Catalog, runs: Sequence[Catalog]) -> dict[str, list[Path]]:
    """Paths of the accepted variants of each training image, by its id."""
    found: dict[str, list[Path]] = {}
    for run in runs:
        contents = {
            row["id"]: row["content"]
            for row in iterate_jsonl(run.root / MANIFEST_FILE)
            if row["accepted"]
        }
        for record in run.records:
            _require_content(record, contents.get(record.id), originals, run)
            found.setdefault(contents[record.id], []).append(run.path(record))
    return found


def _require_content(record: Record, content: str | None, originals: Catalog, run: Catalog) -> None:
    original = originals.by_id.get(content or "")
    if original is None or original.label != record.label:
        raise InputError(
            f"{run.root}: image {record.id} is no variant of a training image of its class",
            remedy="Restore the folder as 'busaug augment' wrote it",
        )
