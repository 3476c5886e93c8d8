"""``busaug explain``: relevance maps of a Catalog's images, as arrays and overlays."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from busaug import console
from busaug.data import catalog as data
from busaug.data.images import load_batch
from busaug.errors import InputError
from busaug.explain.choice import Choice
from busaug.explain.conservation import Conservation
from busaug.explain.heatmap import Map, write_overlay
from busaug.explain.predictor import Predictor
from busaug.explain.relevance import Composite, Record, Relevance, RelevanceModel
from busaug.explain.structure import conserving_layers
from busaug.files import atomic_file, write_jsonl, write_text
from busaug.trace import span


@dataclasses.dataclass(frozen=True)
class ExplainSummary:
    """What was explained and how well relevance was conserved."""

    rows: tuple[dict[str, Any], ...]
    skipped: tuple[dict[str, str], ...]
    conservation: Conservation

    @property
    def conservation_error_max(self) -> float | None:
        """Of the input's relevance, over images and composites."""
        errors = [
            each["conservation_error"]
            for row in self.rows
            for each in (row, *row.get("compared", ()))
        ]
        return max(errors, default=None)

    def explained(self, lines_max: int = 10) -> list[str]:
        """Lines that tell which classes were explained, in how many images, how probable."""
        classes: dict[str, list[float | None]] = {}
        for row in self.rows:
            classes.setdefault(row["target"], []).append(row["probability"])
        lines = []
        for name in sorted(classes):
            line = f"{name} in {len(classes[name])} images"
            known = [value for value in classes[name] if value is not None]
            if known:
                line += f", probability {min(known):.2f} to {max(known):.2f}"
                line += f" (median {statistics.median(known):.2f})"
            lines.append(line)
        rest = len(lines) - lines_max
        return [*lines[:lines_max], f"and {rest} more classes"] if rest > 0 else lines


def explain(
    catalog: data.Catalog,
    out: Path,
    predictor: Predictor,
    *,
    size: int,
    composites: Sequence[Composite],
    choice: Choice,
) -> ExplainSummary:
    """Explain every image under every composite; an unreadable one is skipped and listed.

    Written are ``arrays/ID.npy`` (float32 (size, size), channel sum) for the first composite,
    ``arrays/ID.COMPOSITE.npy`` for others, ``overlays/ID.png`` with all of them side by side,
    ``relevance.jsonl`` and ``conservation.csv``. ``choice`` says which logit of an image is
    explained; its probability is told with it.
    """
    layers = conserving_layers(predictor.model)
    models = {
        name: RelevanceModel(predictor.model, composite=name, layers=layers)
        for name in dict.fromkeys(composites)
    }
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    conservation = Conservation()
    with console.progress("explain", len(catalog.records)) as advance:
        for record in catalog.records:
            try:
                gray = load_batch(catalog, [record], size)
            except InputError as error:
                skipped.append({"id": record.id, "reason": catalog.without_root(error.what)})
                advance()
                continue
            wanted = choice(record)
            targets = None if wanted is None else torch.tensor([wanted])
            inputs = predictor.inputs(gray)
            with span("relevance"):
                results = {name: model(inputs, targets) for name, model in models.items()}
            for name, result in results.items():
                conservation.add(name, result.record)
            rows.append(_write_image(out, predictor, record, gray[0, 0], results))
            advance()
    if not rows:
        raise InputError("no image could be explained", remedy="Check the Catalog's image files")
    write_jsonl(out / "relevance.jsonl", rows)
    write_text(out / "conservation.csv", conservation.csv())
    return ExplainSummary(tuple(rows), tuple(skipped), conservation)


def _write_image(
    out: Path,
    predictor: Predictor,
    image: data.Record,
    gray: Tensor,
    results: dict[Composite, Relevance],
) -> dict[str, Any]:
    """The arrays and the overlay of an image (H, W), and its row."""
    maps = {name: result.pixels.sum(dim=1)[0].numpy() for name, result in results.items()}
    found = []
    for index, (name, result) in enumerate(results.items()):
        array = f"arrays/{image.id}.{name}.npy" if index else f"arrays/{image.id}.npy"
        _save(out / array, maps[name])
        found.append(_composite_row(name, result.record, array))
    first, *others = found
    record = next(iter(results.values())).record
    target_index, predicted_index = int(record.targets[0]), int(record.outputs[0].argmax())
    target, predicted = map(predictor.class_name, (target_index, predicted_index))
    shares = _probabilities(record.outputs[0])
    logit = float(record.logits[0])
    overlay = f"overlays/{image.id}.png"
    shown = [
        Map(pixels, name, f"sum {pixels.sum(dtype=np.float64):.2f}, logit {logit:.2f}")
        for name, pixels in maps.items()
    ]
    decision = f"relevance for {target}"
    if shares:
        decision += f", p = {shares[target_index]:.2f}"
    if predicted != target:
        decision += f"; predicted {predicted}"
        if shares:
            decision += f", p = {shares[predicted_index]:.2f}"
    caption = (f"{image.id} ({image.label})", decision)
    write_overlay(out / overlay, gray.numpy(), shown, caption)
    row = {
        "id": image.id,
        "class": image.label,
        "target": target,
        "probability": shares[target_index] if shares else None,
        "predicted": predicted,
        "predicted_probability": shares[predicted_index] if shares else None,
        "logit": logit,
        "overlay": overlay,
        **first,
    }
    return row | {"compared": others} if others else row


def _probabilities(logits: Tensor) -> list[float]:
    """Softmax of an image's logits; empty for a single one, of which it would say nothing."""
    shares: list[float] = logits.softmax(dim=0).tolist()
    return shares if len(shares) > 1 else []


def _composite_row(name: Composite, record: Record, array: str) -> dict[str, Any]:
    return {
        "composite": name,
        "sums": {layer: float(value[0]) for layer, value in record.sums.items()},
        "magnitudes": {layer: float(value[0]) for layer, value in record.magnitudes.items()},
        "conservation_error": float(record.conservation_error[0]),
        "array": array,
    }


def _save(path: Path, pixels: npt.NDArray[np.float32]) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, pixels.astype(np.float32))
