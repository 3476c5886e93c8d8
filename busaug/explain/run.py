"""``busaug explain``: relevance maps of a Catalog's images, as arrays and overlays."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from busaug import console
from busaug.data.catalog import Catalog
from busaug.data.images import load_batch
from busaug.errors import InputError
from busaug.explain.heatmap import write_overlay
from busaug.explain.predictor import Predictor
from busaug.explain.relevance import Composite, RelevanceModel
from busaug.files import atomic_file, write_jsonl
from busaug.trace import span


@dataclasses.dataclass(frozen=True)
class ExplainSummary:
    """What was explained and how well relevance was conserved."""

    rows: tuple[dict[str, Any], ...]
    skipped: tuple[dict[str, str], ...]

    @property
    def conservation_error_max(self) -> float | None:
        return max((row["conservation_error"] for row in self.rows), default=None)


def explain(
    catalog: Catalog, out: Path, predictor: Predictor, *, size: int, composite: Composite
) -> ExplainSummary:
    """Write ``arrays/ID.npy`` (float32 (size, size), channel sum), ``overlays/ID.png`` and
    ``relevance.jsonl`` for every image; an unreadable image is skipped, counted and listed.

    A classifier's true-class logit is explained; an ImageNet network's highest one.
    """
    model = RelevanceModel(predictor.model, composite=composite)
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    with console.progress("explain", len(catalog.records)) as advance:
        for record in catalog.records:
            try:
                gray = load_batch(catalog, [record], size)
            except InputError as error:
                skipped.append({"id": record.id, "reason": catalog.without_root(error.what)})
                advance()
                continue
            wanted = predictor.target(record)
            targets = None if wanted is None else torch.tensor([wanted])
            with span("relevance"):
                result = model(predictor.inputs(gray), targets)
            predicted = int(result.record.outputs[0].argmax())
            target = int(result.record.targets[0])
            pixels = result.pixels.sum(dim=1)[0].numpy()
            array = f"arrays/{record.id}.npy"
            picture = f"overlays/{record.id}.png"
            with atomic_file(out / array) as temporary, temporary.open("wb") as file:
                np.save(file, pixels.astype(np.float32))
            logit = float(result.record.logits[0])
            caption = f"{record.id}: {predictor.class_name(target)}, logit {logit:.2f}"
            write_overlay(out / picture, gray[0, 0].numpy(), pixels, caption)
            sums = {name: float(value[0]) for name, value in result.record.sums.items()}
            sizes = {name: float(value[0]) for name, value in result.record.magnitudes.items()}
            rows.append(
                {
                    "id": record.id,
                    "class": record.label,
                    "target": predictor.class_name(target),
                    "predicted": predictor.class_name(predicted),
                    "logit": logit,
                    "sums": sums,
                    "magnitudes": sizes,
                    "conservation_error": float(result.record.conservation_error[0]),
                    "overlay": picture,
                    "array": array,
                }
            )
            advance()
    if not rows:
        raise InputError("no image could be explained", remedy="Check the Catalog's image files")
    write_jsonl(out / "relevance.jsonl", rows)
    return ExplainSummary(tuple(rows), tuple(skipped))
