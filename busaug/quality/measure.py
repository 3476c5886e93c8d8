"""The quality figures of Catalogs: real images, and synthetic ones made from them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from busaug import __version__, console
from busaug.augment.gate import ssim_map
from busaug.config import SradConfig
from busaug.data.catalog import Catalog, Record
from busaug.data.duplicates import fingerprint, near_duplicate_groups
from busaug.data.images import load_batch, load_lesion, read_gray
from busaug.explain.predictor import Predictor
from busaug.models.weights import Weights
from busaug.ops.srad import srad
from busaug.quality.distances import frechet_distance, kernel_distance
from busaug.quality.features import pooled_features
from busaug.quality.lesions import localisation
from busaug.quality.memory import nearest
from busaug.quality.speckle import Speckle, speckle
from busaug.quality.spectrum import radial_spectrum, spectral_distance
from busaug.quality.transfer import transfers
from busaug.seeding import draw

FORMAT = "busaug quality 1"
_DIGITS = 6

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class _Set:
    """A Catalog with what it is compared by."""

    catalog: Catalog
    features: npt.NDArray[np.float32]

    def rows_of(self, label: str) -> list[int]:
        return [i for i, record in enumerate(self.catalog.records) if record.label == label]


def measure(
    real: Catalog,
    synthetic: Mapping[str, Catalog],
    weights: Weights,
    predictor: Predictor,
    *,
    size: int,
    despeckling: SradConfig,
) -> Row:
    """Every quality figure, as plain values for JSON.

    ``weights`` are those of the feature space, ``predictor`` is explained. Lesion figures are of
    the images with a mask.
    """
    own = _Set(real, pooled_features(real, weights, size))
    made = {name: _Set(c, pooled_features(c, weights, size)) for name, c in synthetic.items()}
    return {
        "format": FORMAT,
        "busaug": __version__,
        "size": size,
        "weights": weights.name,
        "predictor": predictor.name,
        "images": {"real": len(real.records)}
        | {name: len(catalog.records) for name, catalog in synthetic.items()},
        "splits": _splits(real),
        "transfer": transfers(synthetic),
        "despeckling": _despeckling(real, size, despeckling),
        "distances": [*_floor(own, size), *_distances(own, made, size)],
        "memory": [_memory(name, part, own, size) for name, part in made.items()],
        "localisation": localisation(real, synthetic, predictor, size),
    }


def _splits(catalog: Catalog) -> Row:
    """Images of each class by split."""
    return {
        label: dict(sorted(Counter(r.split for r in catalog.of_class(label).records).items()))
        for label in catalog.labels
    }


def _despeckling(catalog: Catalog, size: int, options: SradConfig) -> list[Row]:
    """Medians over images, before (scale 0) and at every scale."""
    found: list[list[Speckle]] = []
    with console.progress("speckle", len(catalog.records)) as advance:
        for _, given, lesion in _images(catalog, size):
            stack = [given, *srad(given, **options.model_dump())]
            mask = None if lesion is None else lesion.numpy()
            found.append([speckle(image, given, mask) for image in stack])
            advance()
    rows = []
    for scale, figures in enumerate(zip(*found, strict=True)):
        row: Row = {"scale": scale, "images": len(figures)}
        for field in dataclasses.fields(Speckle):
            known = [v for each in figures if (v := getattr(each, field.name)) is not None]
            row[field.name] = _short(float(np.median(known))) if known else None
        rows.append(row)
    return rows


def _floor(real: _Set, size: int) -> list[Row]:
    """Real images against real ones, what no set can be expected to be below: halves of a class by
    groups, and one class against the others.
    """
    rows = []
    for label in real.catalog.labels:
        indices = real.rows_of(label)
        groups = sorted({real.catalog.records[i].group for i in indices})
        chosen = set(draw("halves", label).permutation(groups)[: len(groups) // 2].tolist())
        halves: tuple[list[int], list[int]] = ([], [])
        for i in indices:
            halves[real.catalog.records[i].group in chosen].append(i)
        others = [i for i, r in enumerate(real.catalog.records) if r.label != label]
        rows.append(_distance("real halves", label, (real, halves[0]), (real, halves[1]), size))
        rows.append(_distance("other classes", label, (real, others), (real, indices), size))
    return rows


def _distances(real: _Set, made: Mapping[str, _Set], size: int) -> list[Row]:
    """Synthetic images of a class against the real ones of it."""
    return [
        _distance(name, label, (part, part.rows_of(label)), (real, real.rows_of(label)), size)
        for name, part in made.items()
        for label in real.catalog.labels
    ]


def _distance(
    name: str, label: str, one: tuple[_Set, list[int]], other: tuple[_Set, list[int]], size: int
) -> Row:
    row: Row = {"set": name, "class": label, "images": len(one[1]), "real": len(other[1])}
    if min(len(one[1]), len(other[1])) < 2:
        return {**row, "kid": None, "frechet": None, "spectrum_db": None}
    a, b = (part.features[indices] for part, indices in (one, other))
    frechet = frechet_distance(a, b)
    spectra = [_spectrum(part.catalog, indices, size) for part, indices in (one, other)]
    return {
        **row,
        "kid": _short(kernel_distance(a, b)),
        "frechet": None if frechet is None else _short(frechet),
        "spectrum_db": _short(spectral_distance(*spectra)),
    }


def _spectrum(catalog: Catalog, indices: Sequence[int], size: int) -> Floats:
    records = [catalog.records[i] for i in indices]
    spectra = [radial_spectrum(load_batch(catalog, [r], size)[0, 0].numpy()) for r in records]
    return np.asarray(np.mean(spectra, axis=0))


def _memory(name: str, part: _Set, real: _Set, size: int) -> Row:
    """How near synthetic images come to a case that is not their content's."""
    records, sources = part.catalog.records, real.catalog.records
    found = nearest(
        part.features, [r.group for r in records], real.features, [r.group for r in sources]
    )
    similarities, repeats = [], 0
    for record, index in zip(records, found.other_index.tolist(), strict=True):
        pair = ((part.catalog, record), (real.catalog, sources[index]))
        images = [load_batch(catalog, [r], size)[0, 0].numpy() for catalog, r in pair]
        similarities.append(float(ssim_map(*images).mean()))
        prints = [fingerprint(read_gray(catalog.path(r))) for catalog, r in pair]
        repeats += len(set(near_duplicate_groups(prints))) == 1
    nearer = found.nearer_to_another
    return {
        "set": name,
        "images": len(records),
        "nearer_to_another": None if nearer is None else _short(nearer),
        "cosine_own": _median(found.own),
        "cosine_other": _median(found.other),
        "ssim_other_max": _short(max(similarities)) if similarities else None,
        "near_duplicates_of_another": repeats,
    }


def _images(
    catalog: Catalog, size: int
) -> Iterator[tuple[Record, npt.NDArray[np.float32], Tensor | None]]:
    """Every record with its image (size, size) and its lesion."""
    for record in catalog.records:
        image = load_batch(catalog, [record], size)[0, 0].numpy()
        yield record, image, load_lesion(catalog, record, size)


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return _short(float(np.median(known))) if len(known) else None


def _short(value: float) -> float:
    return round(value, _DIGITS)
