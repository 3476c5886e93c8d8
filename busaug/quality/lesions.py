"""Where relevance falls on whole Catalogs: on lesions, before and after their styling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from busaug import console
from busaug.augment.manifest import MANIFEST_FILE
from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch, load_lesion
from busaug.explain.predictor import Predictor
from busaug.explain.relevance import COMPOSITES, RelevanceModel
from busaug.files import iterate_jsonl
from busaug.quality.localisation import (
    gradient_times_input,
    points_at,
    random_map,
    relevance_mass,
)

_DIGITS = 6

Row = dict[str, Any]
Found = dict[str, tuple[float | None, bool]]
"""By method: the share of relevance inside the lesion, and whether the largest lies there."""


def localisation(
    real: Catalog, synthetic: Mapping[str, Catalog], predictor: Predictor, size: int
) -> list[Row]:
    """Relevance on the lesion, a row a set and method: real images, then each synthetic set.

    A synthetic image's lesion is that of its content, which its set's manifest tells; ``before``
    are the figures of these contents. Only images with a lesion mask count: no rows without any.
    """
    measure = _measure(predictor)
    lesions = {record.id: _lesion(real, record, size) for record in real.records}
    sets = {"real": (real, {name: name for name in lesions})}
    sets |= {name: (catalog, _contents(catalog)) for name, catalog in synthetic.items()}
    before: dict[str, Found] = {}
    areas: dict[str, float] = {}
    rows: list[Row] = []
    for name, (catalog, contents) in sets.items():
        found: list[tuple[str, Found]] = []
        shown = [r for r in catalog.records if lesions.get(contents.get(r.id, "")) is not None]
        with console.progress(f"localisation, {name}", len(shown)) as advance:
            for record in shown:
                lesion = lesions[contents[record.id]]
                assert lesion is not None
                image = load_batch(catalog, [record], size)
                found.append((contents[record.id], measure(record, image, lesion)))
                areas[contents[record.id]] = float(lesion.double().mean())
                advance()
        if catalog is real:
            before = dict(found)
        told = None if catalog is real else before
        rows += _rows(name, found, areas, told)
    return rows


def _measure(predictor: Predictor) -> Callable[[Record, Tensor, Tensor], Found]:
    """A function of a record, its image (1, 1, H, W) and the lesion (H, W)."""
    models = {
        rule: RelevanceModel(predictor.model, composite=rule, layers=()) for rule in COMPOSITES
    }

    def found(record: Record, image: Tensor, lesion: Tensor) -> Found:
        inputs = predictor.inputs(image)
        targets = predictor.targets(record)
        maps: dict[str, Tensor] = {
            rule: model(inputs, targets).pixels[0].sum(dim=0) for rule, model in models.items()
        }
        maps["gradient x input"] = gradient_times_input(predictor.model, inputs, targets)[0]
        maps["random"] = random_map(*lesion.shape, record.id)
        return {
            method: (relevance_mass(relevance, lesion), points_at(relevance, lesion))
            for method, relevance in maps.items()
        }

    return found


def _lesion(catalog: Catalog, record: Record, size: int) -> Tensor | None:
    lesion = load_lesion(catalog, record, size)
    return None if lesion is None or not lesion.any() else lesion


def _contents(synthetic: Catalog) -> dict[str, str]:
    """Content by image; of a Catalog without a manifest nothing is known."""
    file = synthetic.root / MANIFEST_FILE
    rows: Iterator[Row] = iterate_jsonl(file) if file.is_file() else iter(())
    return {row["id"]: row["content"] for row in rows}


def _rows(
    name: str,
    found: Sequence[tuple[str, Found]],
    areas: Mapping[str, float],
    before: Mapping[str, Found] | None,
) -> Iterator[Row]:
    for method in found[0][1] if found else ():
        row: Row = {"set": name, "method": method, "images": len(found)}
        row |= _means([each[method] for _, each in found])
        if before is not None:
            earlier = _means([before[content][method] for content, _ in found])
            row |= {f"{figure}_before": value for figure, value in earlier.items()}
        yield {**row, "area": _short([areas[content] for content, _ in found])}


def _means(values: Sequence[tuple[float | None, bool]]) -> Row:
    masses = [mass for mass, _ in values if mass is not None]
    return {
        "mass": _short(masses) if masses else None,
        "pointing": _short([float(hit) for _, hit in values]),
    }


def _short(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), _DIGITS)
