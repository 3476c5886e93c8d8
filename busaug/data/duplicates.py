"""Near-duplicate images: the same scan saved twice, cropped, marked with calipers, re-labelled.

Two images are near-duplicates when their perceptual hashes (64-bit DCT hash, ImageHash) are near
and their 64x64 thumbnails correlate; the nearer the hashes, the less correlation is asked for
(``NCC_MIN``). Near-duplicates of near-duplicates are one group.

Measured on BUSI at 256x256 (437 benign, 210 malignant, 20 normal images) against a reference
list of pairs with thumbnail correlation above 0.95, of which 139 pairs lie within these
images and 61 of them correlate above 0.985:

==========================  =====  ======  ======  ======================
rule                        pairs  of 139  of 61   images in groups
==========================  =====  ======  ======  ======================
hash distance <= 8 alone    160    131     61      257 in 117
correlation > 0.95 alone    157    139     61      233 in 104
this module                 181    139     61      265 in 119 (largest 7)
==========================  =====  ======  ======  ======================

All pairs that only one measure finds were looked at; they show the same lesion. The hash alone
misses slow sweeps (correlation .95-.97 at distance 12-20), the correlation alone copies with a
shifted crop or changed gain (.83-.95 at distance 0-8). Just below the limits the pairs start to
be different lesions that look alike. A near-duplicate missed leaks between splits and a pair
grouped wrongly costs little, so the limits lean to grouping. Seven groups carry more than one
class. Mirrored copies are not searched for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from busaug.data.images import GrayImage, pixel_hash, resize, to_float

NCC_MIN: Sequence[tuple[int, float]] = ((8, 0.80), (12, 0.90), (64, 0.95))
"""(largest hash distance in bits, correlation above which images are near-duplicates)."""

_THUMBNAIL_SIDE = 64
_HASH_SIDE = 8
_BLOCK = 512
_NAME_DIGITS = 16

Pairs = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What an image is compared by, 17 kB whatever its size."""

    sha256: str
    """Of the pixels."""
    thumbnail: npt.NDArray[np.float32]
    """(4096,), 64x64 px, zero mean, unit norm: a dot product is the correlation."""
    hash_signs: npt.NDArray[np.float32]
    """(64,), perceptual hash as -1 and 1."""


def fingerprint(gray: GrayImage) -> Fingerprint:
    """The fingerprint of an image, squashed to a square: scale and aspect ratio do not count."""
    image = torch.from_numpy(to_float(gray))
    thumbnail = resize(image, _THUMBNAIL_SIDE).numpy().ravel()
    thumbnail = thumbnail - thumbnail.mean()
    thumbnail /= max(float(np.linalg.norm(thumbnail)), np.finfo(np.float32).tiny)
    levels = np.rint(image.numpy() * 255).astype(np.uint8)
    bits = imagehash.phash(Image.fromarray(levels), hash_size=_HASH_SIDE).hash.ravel()
    return Fingerprint(pixel_hash(gray.pixels), thumbnail, np.where(bits, 1, -1).astype(np.float32))


def near_duplicate_groups(fingerprints: Sequence[Fingerprint]) -> list[str]:
    """The group of each image, named by the smallest pixel hash in it; most hold one image.

    Equal pixels always group. Time is quadratic but a matrix product: 20,000 images take about ten
    seconds on two cores.
    """
    if not fingerprints:
        return []
    hashes = [print_.sha256 for print_ in fingerprints]
    pairs = [_links(hashes), *_similar(fingerprints)]
    return _joined([f"g{sha256[:_NAME_DIGITS]}" for sha256 in hashes], pairs)


def join_groups(groups: Sequence[str], hints: Sequence[Hashable | None]) -> list[str]:
    """Groups joined where their images share a hint (a patient); images without one stay."""
    return _joined(groups, [_links(groups), _links(hints)]) if groups else []


def conflicting_groups(groups: Sequence[str], labels: Sequence[str]) -> set[str]:
    """Groups whose images carry more than one class."""
    classes: dict[str, set[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        classes.setdefault(group, set()).add(label)
    return {group for group, names in classes.items() if len(names) > 1}


def _joined(names: Sequence[str], pairs: Sequence[Pairs]) -> list[str]:
    """Each item's smallest name among the items that ``pairs`` connect it with."""
    ends = np.concatenate(pairs)
    shape = (len(names), len(names))
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape)
    _, numbers = connected_components(graph, directed=False)
    smallest: dict[int, str] = {}
    for name, number in zip(names, numbers, strict=True):
        smallest[number] = min(name, smallest.get(number, name))
    return [smallest[number] for number in numbers]


def _links(keys: Sequence[Hashable | None]) -> Pairs:
    """Pairs (P, 2) that link every item to the first with an equal key; None links nothing."""
    first: dict[Hashable, int] = {}
    pairs = [
        (first.setdefault(key, index), index) for index, key in enumerate(keys) if key is not None
    ]
    return np.array(pairs, np.intp).reshape(-1, 2)


def _similar(fingerprints: Sequence[Fingerprint]) -> Iterator[Pairs]:
    thumbnails = np.stack([print_.thumbnail for print_ in fingerprints])
    signs = np.stack([print_.hash_signs for print_ in fingerprints])
    bits = signs.shape[1]
    ncc_min = np.empty(bits + 1, np.float32)
    for distance, limit in reversed(NCC_MIN):
        ncc_min[: distance + 1] = limit
    for start in range(0, len(fingerprints), _BLOCK):
        stop = start + _BLOCK
        ncc = thumbnails[start:stop] @ thumbnails[start:].T
        distance_bits = ((bits - signs[start:stop] @ signs[start:].T) / 2).astype(np.int64)
        # the upper triangle only: each pair once, no image with itself
        yield np.argwhere(np.triu(ncc > ncc_min[distance_bits], k=1)) + start
