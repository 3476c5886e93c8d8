"""What is detected of drawn overlays, and which positions to leave out: tables of docs/overlays.md.

    pytest benchmarks/test_overlays.py --benchmark-enable --benchmark-json FILE
    python benchmarks/overlays.py [--drawn FILE] [--catalog CATALOG --weights FILE]

With --drawn the figures of that file are kept in docs/overlays.json first. With --catalog marks of
real images are cut out along their masks and laid on images that have none, and the Gram matrices
compared with those of the images without marks, for several choices of positions to leave out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import bars
import torch
from bars import DOCS
from real_pairs import weights_row
from torch import Tensor
from torch.nn import functional

from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch
from busaug.data.overlays import overlay_mask
from busaug.files import write_json, write_text
from busaug.models.weights import resolve_weights
from busaug.seeding import key_digest
from busaug.style.features import FeatureExtractor
from busaug.style.masking import Masks, kept_positions

SIZE, IMAGES = 224, 20
# Shares of an image that marks cover, for those to be laid on others.
_MARKED = (0.005, 0.08)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drawn", type=Path, help="of pytest-benchmark")
    parser.add_argument("--catalog", type=Path)
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    file, page = DOCS / "overlays.json", DOCS / "overlays.md"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if arguments.drawn:
        found["drawn"] = bars.kept([arguments.drawn])
    if arguments.catalog:
        found["positions"] = positions(Catalog.load(arguments.catalog), arguments.weights)
    write_json(file, found)
    write_text(page, updated(page.read_text(encoding="utf-8"), found))


# --- positions


@torch.inference_mode()
def positions(catalog: Catalog, weights: str | None) -> dict[str, Any]:
    """Relative differences of Gram matrices by choice and layer, and what is kept of the last."""
    resolved = resolve_weights(weights)
    extractor = FeatureExtractor("resnet50", resolved)
    layers = extractor.style_layers
    marked, bare = _chosen(catalog)
    marks = torch.stack([overlay_mask(catalog, record, SIZE) for record in marked])
    clean = load_batch(catalog, bare, SIZE)
    laid = torch.where(marks, load_batch(catalog, marked, SIZE), clean)
    differences: dict[str, dict[str, list[float]]] = {}
    kept: dict[str, list[float]] = {}
    for one, other, mark in zip(clean.split(1), laid.split(1), marks.split(1), strict=True):
        wanted, features = extractor(one), extractor(other)
        for layer in layers:
            goal = _gram(wanted[layer], torch.ones_like(wanted[layer][:, :1]))
            for name, weight in _choices(mark, features[layer]):
                error = (_gram(features[layer], weight) - goal).norm() / goal.norm()
                row = differences.setdefault(name, {each: [] for each in layers})
                row[layer].append(float(error))
                if layer == layers[-1]:
                    kept.setdefault(name, []).append(float(weight.mean()))
    return {
        "size": SIZE,
        "pairs": len(bare),
        "weights": weights_row(resolved),
        "differences": {
            name: {layer: round(median(values), 4) for layer, values in row.items()}
            for name, row in differences.items()
        },
        "kept": {name: round(median(values), 3) for name, values in kept.items()},
        "least kept of any image": round(_least_kept(catalog, extractor), 3),
    }


def _chosen(catalog: Catalog) -> tuple[list[Record], list[Record]]:
    """As many images with marks as without any, in an order that their names do not tell."""
    records = sorted(catalog.records, key=lambda record: key_digest("overlays", record.id))
    shares = {r.id: float(overlay_mask(catalog, r, SIZE).float().mean()) for r in records}
    marked = [r for r in records if _MARKED[0] <= shares[r.id] <= _MARKED[1]]
    bare = [r for r in records if shares[r.id] == 0]
    count = min(IMAGES, len(marked), len(bare))
    return marked[:count], bare[:count]


def _choices(mark: Tensor, features: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Weights (1, 1, h, w) of a layer's positions."""
    grid = features.shape[-2], features.shape[-1]
    area = functional.adaptive_avg_pool2d(mark.float(), grid)
    free = kept_positions(mark, grid)
    touched = functional.max_pool2d((~free).float(), 3, stride=1, padding=1)
    yield "nothing", torch.ones_like(area)
    yield "in proportion to the marked area", 1 - area
    yield "squares at least half marked", (area < 0.5).float()
    yield "**squares with any marked pixel**", free.float()
    yield "those and their neighbours", 1 - touched


def _gram(features: Tensor, weight: Tensor) -> Tensor:
    columns = features.flatten(2)
    return (columns * weight.flatten(2)) @ columns.mT / weight.sum()


def _least_kept(catalog: Catalog, extractor: FeatureExtractor) -> float:
    grids = extractor.grids((SIZE, SIZE))
    masks = (overlay_mask(catalog, record, SIZE)[None] for record in catalog.records)
    return min(float(Masks.of(mask, grids).share) for mask in masks)


# --- the page


def updated(document: str, found: Mapping[str, Any]) -> str:
    """The page with its tables made anew."""
    tests = found["drawn"]["tests"]
    document = bars.updated(document, _drawn_lines(tests), "drawn")
    return bars.updated(document, _position_lines(found["positions"]), "positions")


def _drawn_lines(tests: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, test in tests.items():
        if "covered" in test:
            shares = test["covered"][0]
            case = name.removeprefix("test_drawn[").removesuffix("]")
            rows.append((case, str(len(shares)), f"{median(shares):.2f}", f"{min(shares):.2f}"))
    without = [
        f"{test['marked'][0]} of {test['images'][0]} at {name.split('[')[1].split('-')[0]} px"
        for name, test in tests.items()
        if "marked" in test
    ]
    times = [
        f"{median(test['milliseconds'][0]):.0f} ms at {name.split('[')[1][:-1]}² (at most "
        f"{max(test['milliseconds'][0]):.0f})"
        for name, test in tests.items()
        if "milliseconds" in test
    ]
    return [
        *bars.markdown(("drawn", "images", "covered: median", "least"), rows),
        "",
        f"Of simulated images without overlays are marked: {', '.join(without)}. "
        f"Time by one core: {', '.join(times)}.",
    ]


def _position_lines(found: Mapping[str, Any]) -> list[str]:
    layers = list(next(iter(found["differences"].values())))
    heads = ("left out", *(f"`{layer}`" for layer in layers), f"kept of `{layers[-1]}`")
    rows = [
        (name, *(f"{row[layer]:.3f}" for layer in layers), f"{found['kept'][name]:.2f}")
        for name, row in found["differences"].items()
    ]
    return [
        *bars.markdown(heads, rows),
        "",
        f"{found['pairs']} images at {found['size']}². Of no image of BUSI is less than "
        f"{found['least kept of any image']:.2f} of the positions kept.",
    ]


if __name__ == "__main__":
    main()
