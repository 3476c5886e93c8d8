"""Small run folders of every command, as the commands leave them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from busaug.augment import maps
from busaug.augment.cache import TensorCache
from busaug.data.catalog import Catalog, Record, Split
from busaug.data.images import pixel_hash, to_gray, write_gray
from busaug.files import write_json, write_jsonl
from busaug.runfolder import RunFolder
from busaug.seeding import draw

SIZE = 48
STYLE_SIZE = 40
SPLITS: tuple[Split, ...] = ("train", "train", "train", "train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Runs:
    """Run folders under one root."""

    root: Path
    labels: tuple[str, str]

    def __getattr__(self, name: str) -> Path:
        return self.root / name


def noise(*key: str | int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Speckle-like texture over a dark ellipse, (48, 48) in [0, 1]."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]  # type: ignore[misc]
    texture = gaussian_filter(draw("report-test", *key).random((SIZE, SIZE)), 1.2)
    lesion = 1 - 0.7 * ((x / 0.5) ** 2 + (y / 0.3) ** 2 < 1)
    image = (texture - texture.min()) / np.ptp(texture) * lesion
    return image.astype(np.float32)


def build_runs(root: Path, labels: tuple[str, str] = ("benign", "malignant")) -> Runs:
    """Folders catalog, despeckled, classifier, explained and augmented below ``root``."""
    catalog = _prepare(root / "catalog", labels)
    _despeckle(root / "despeckled", catalog)
    _train(root / "classifier", catalog)
    _explain(root / "explained", catalog)
    _augment(root / "augmented", catalog)
    return Runs(root, labels)


def _prepare(root: Path, labels: tuple[str, str]) -> Catalog:
    records = []
    for number, label in enumerate(labels):
        for index, split in enumerate(SPLITS):
            name = f"set-{number}-{index:04d}"
            image = noise(label, index)
            write_gray(root / "images" / f"{name}.png", image, 8)
            digest = pixel_hash(to_gray(image, 8).pixels)
            records.append(
                Record(
                    id=name,
                    file=f"images/{name}.png",
                    label=label,
                    group=digest[:16],
                    split=split,
                    sha256=digest,
                    width=SIZE,
                    height=SIZE,
                    bit_depth=8,
                    source=f"set/{index}.png",
                )
            )
    Catalog(root, tuple(records)).save()
    write_jsonl(root / "skipped.jsonl", [{"file": "set/broken.png", "reason": "is truncated"}])
    row = {"file": "set/twin.png", "class": labels[0], "group": "g", "reason": "two classes"}
    write_jsonl(root / "dropped.jsonl", [row])
    RunFolder(root, "prepare", {"seed": 0, "classes": list(labels)}).write(
        groups=12,
        shared_groups=0,
        near_duplicate_groups=1,
        near_duplicate_images=2,
        dropped_images=1,
        skipped_images=1,
        left_out={"normal": 3},
    )
    return Catalog.load(root)


def _despeckle(root: Path, catalog: Catalog) -> None:
    (root / "strips").mkdir(parents=True)
    for label in catalog.labels:
        name = catalog.of_class(label).records[0].id
        strip = np.concatenate([noise(label, 0)] * 3, axis=1)
        Image.fromarray((strip * 255).astype(np.uint8)).save(root / "strips" / f"{name}.png")
    config = {"srad": {"scales": 2, "iterations": 10, "q0": "auto"}}
    RunFolder(root, "despeckle", {"catalog": catalog.hash, "config": config}).write(
        images=12, skipped=[], variation=[0.4, 0.2, 0.1], equivalent_looks=[6.25, 25.0, None]
    )


def _train(root: Path, catalog: Catalog) -> None:
    history = [
        {
            "epoch": epoch,
            "train_loss": 0.7 / epoch,
            "val_loss": 0.6 / epoch,
            "val_accuracy": 0.5,
            "lr": 1e-4,
            "updates": 2 * epoch,
        }
        for epoch in (1, 2, 3)
    ]
    write_jsonl(root / "history.jsonl", history)
    for split, undefined in (("val", {}), ("test", {"precision": "no image was predicted so"})):
        write_json(root / f"metrics_{split}.json", metrics_row(split, catalog, undefined))
    config = {"train": {"size": 48, "epochs": 3}, "compute": {"threads": 1}}
    RunFolder(root, "train", {"config": config, "catalog": catalog.hash}).write(
        classes=list(catalog.labels),
        weights="random (seed 0)",
        pretrained=False,
        images={"train": dict.fromkeys(catalog.labels, 4), "val": dict.fromkeys(catalog.labels, 1)},
        synthetic=2,
        epochs=3,
        best_epoch=3,
        updates=6,
        skipped=[{"id": "set-0-0003", "reason": "images/set-0-0003.png is truncated"}],
    )


def metrics_row(split: Split, catalog: Catalog, undefined: dict[str, str]) -> dict[str, Any]:
    names = [
        *("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision"),
        *("f1", "mcc", "auc", "brier", "ece"),
    ]
    first, last = catalog.labels
    return {
        "split": split,
        "n": 41,
        "positive": last,
        "classes": [first, last],
        "confusion": [[17, 4], [6, 14]],
        "metrics": {n: None if n in undefined else 0.756 for n in names},
        "undefined": undefined,
        "per_class": {},
        "predictions": [
            {
                "id": record.id,
                "class": record.label,
                "predicted": last,
                "probability": {first: 0.4, last: 0.6},
            }
            for record in catalog.records
        ],
        "skipped": [],
    }


def _explain(root: Path, catalog: Catalog) -> None:
    rows = []
    (root / "overlays").mkdir(parents=True)
    for record in catalog.split("test").records:
        overlay = f"overlays/{record.id}.png"
        pixels = np.repeat((noise(record.label, 5) * 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(pixels).save(root / overlay)
        rows.append(
            {
                "id": record.id,
                "class": record.label,
                "target": record.label,
                "predicted": catalog.labels[0],
                "logit": 1.25,
                "conservation_error": 3e-6,
                "overlay": overlay,
                "array": f"arrays/{record.id}.npy",
            }
        )
    write_jsonl(root / "relevance.jsonl", rows)
    RunFolder(root, "explain", {"config": {"split": "test"}, "catalog": catalog.hash}).write(
        catalog=str(catalog.root.resolve()), images=2, skipped=[], conservation_error_max=3e-6
    )


def keep_weights(run: Path, content: str, weights: npt.NDArray[np.float32]) -> None:
    """Relevance weights (h, w) of a content as a run of augment leaves them."""
    TensorCache(run / maps.FOLDER).fetch(
        content, lambda: {maps.NAME: torch.from_numpy(weights)[None]}
    )


def _augment(root: Path, catalog: Catalog) -> None:
    rows = []
    for label in catalog.labels:
        training = [r for r in catalog.split("train").records if r.label == label]
        for index, content in enumerate(training):
            kind, file = outcome_of(label == catalog.labels[0], index, content.id)
            if file:
                made = noise("made", label, index)[:STYLE_SIZE, :STYLE_SIZE]
                write_gray(root / file, made, 8)
            weights = draw("weights", content.id).random((6, 6)).astype(np.float32) * 2
            keep_weights(root, content.id, weights)
            references = [record.id for record in training if record is not content][:2]
            start, end = 5000.0 + index, 2500.0 - 100 * index
            if label != catalog.labels[0]:
                end += 30
            rows.append(
                {
                    "id": f"{content.id}--0000",
                    "file": file,
                    "content": content.id,
                    "references": references,
                    "class": label,
                    "accepted": kind is None,
                    "reason": kind,
                    "seed": 7,
                    "loss_initial": start,
                    "loss_final": end,
                    "style_left": 0.2 + 0.05 * index,
                    "ssim": 0.7 + 0.05 * index,
                    "loss_curve": [[0, start], [1, start * 0.8], [10, end]],
                }
            )
    write_jsonl(root / "manifest.jsonl", rows)
    config = {
        "seed": 0,
        "style": {"size": STYLE_SIZE, "fusion": "FM", "gamma": 100.0},
        "relevance": {"mode": "LA"},
        "gate": {"ssim_max": 0.995, "saturated_max": 0.02},
    }
    RunFolder(root, "augment", {"config": config, "catalog": catalog.hash}).write(
        catalog="../catalog",
        weights="random (seed 0)",
        pretrained=False,
        unmasked=True,
        explainer="another",
        explained_from_elsewhere=True,
        balance=19500.0,
        planned=8,
        accepted=6,
        style_left_median=0.25,
        ssim_median=0.75,
    )


def outcome_of(first: bool, index: int, content: str) -> tuple[str | None, str | None]:
    """(reason, file) of a content: the last of a class is rejected, and kept in one class."""
    if index < 3:
        return None, f"images/{content}--0000.png"
    if first:
        return "near-copy of its content", None
    return "saturated", f"rejected/{content}--0000.png"


@pytest.fixture(scope="session")
def shared_runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """To be read only."""
    return build_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """To be damaged."""
    return build_runs(tmp_path / "runs")
