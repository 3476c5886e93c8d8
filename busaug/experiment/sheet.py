"""A contact sheet: the same contents across runs or arms, with where a network looks in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from busaug.augment.manifest import MANIFEST_FILE, Manifest
from busaug.data.catalog import Catalog, Record
from busaug.data.images import FloatImage, load_batch
from busaug.errors import InputError
from busaug.explain.heatmap import overlay, smooth
from busaug.explain.predictor import Predictor
from busaug.explain.relevance import RelevanceModel
from busaug.files import atomic_file
from busaug.report.pictures import load_gray

_GAP, _HEAD, _LINE = 6, 22, 15

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A picture and the lines below it."""

    image: FloatImage
    """(S, S) in [0, 1]."""
    words: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """A content and what each run made of it."""

    content: Record
    tiles: Sequence[Tile]


def compare(source: Catalog, runs: Mapping[str, Path], rows: int, side: int) -> list[Line]:
    """``rows`` contents a class of which every run has a picture, by id; one picture a run.

    ``runs`` are folders of ``busaug augment`` or sets of ``busaug experiment run``. Of a content
    that a run has several pictures of, the first is shown. Raises InputError for a folder without
    a manifest and where the runs share no content.
    """
    made = {name: _pictures(folder) for name, folder in runs.items()}
    shared = set.intersection(*(set(found) for found in made.values())) & set(source.by_id)
    if not shared:
        raise InputError(
            f"{', '.join(map(str, runs.values()))} have no content in common",
            remedy="Name runs of one Catalog",
        )
    chosen = [
        record
        for label in source.labels
        for record in [r for r in source.of_class(label).records if r.id in shared][:rows]
    ]
    return [_line(source, record, runs, made, side) for record in chosen]


def write_sheet(
    path: Path, runs: Sequence[str], lines: Sequence[Line], side: int, predictor: Predictor | None
) -> None:
    """A PNG: a row a content, a column a run; with a predictor its relevance below each picture.

    Relevance is for the content's class, each map on its own scale: red for, blue against.
    """
    words = max(len(tile.words) for line in lines for tile in line.tiles)
    words = max(words, 1)
    across = side + _GAP
    down = (side + 2) * (1 if predictor is None else 2) + words * _LINE + _GAP
    canvas = Image.new("RGB", (across * (1 + len(runs)) + _GAP, _HEAD + down * len(lines)), "white")
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12)
    for x, title in enumerate(("content", *runs)):
        pen.text((_GAP + x * across, 4), fitted(title, side, font), fill="black", font=font)
    model = None
    if predictor is not None:
        model = RelevanceModel(predictor.model, layers=())
    for y, line in enumerate(lines):
        for x, tile in enumerate(line.tiles):
            left, top = _GAP + x * across, _HEAD + y * down
            gray = np.rint(tile.image.clip(0, 1) * 255).astype(np.uint8)
            canvas.paste(Image.fromarray(gray).convert("RGB"), (left, top))
            top += side + 2
            if predictor is not None and model is not None:
                seen = _relevance(predictor, model, line.content, tile.image)
                canvas.paste(Image.fromarray(overlay(tile.image, smooth(seen))), (left, top))
                top += side + 2
            text = "\n".join(fitted(words, side, font) for words in tile.words)
            pen.text((left, top), text, fill=(70, 70, 70), font=font, spacing=2)
    with atomic_file(path) as temporary:
        canvas.save(temporary, format="PNG", optimize=True)


def fitted(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, without its beginning if broader than ``width`` pixels: ids differ at the end."""
    shorter = ("\N{HORIZONTAL ELLIPSIS}" + text[begin:] for begin in range(1, len(text)))
    return next((t for t in (text, *shorter) if font.getlength(t) <= width), "")


def _pictures(folder: Path) -> dict[str, tuple[Row, Path]]:
    """The manifest row and file of the first picture of each content."""
    if not (folder / MANIFEST_FILE).is_file():
        raise InputError(
            f"{folder} has no {MANIFEST_FILE}",
            remedy="Name a folder of 'busaug augment', or OUT/sets/ARM of an experiment",
        )
    found: dict[str, tuple[Row, Path]] = {}
    for row in Manifest(folder).rows():
        if row["file"] is not None:
            found.setdefault(row["content"], (row, folder / row["file"]))
    return found


def _line(
    source: Catalog,
    record: Record,
    runs: Mapping[str, Path],
    made: Mapping[str, Mapping[str, tuple[Row, Path]]],
    side: int,
) -> Line:
    content: FloatImage = load_batch(source, [record], side)[0, 0].numpy()
    tiles = [Tile(content, (record.id, record.label))]
    for name in runs:
        row, file = made[name][record.id]
        words = [] if row.get("reason") is None else [str(row["reason"])]
        if row.get("ssim") is not None and row.get("style_left") is not None:
            words.insert(0, f"left {row['style_left']:.2f}, SSIM {row['ssim']:.2f}")
        tiles.append(Tile(load_gray(file, (side, side)), words))
    return Line(record, tiles)


def _relevance(
    predictor: Predictor, model: RelevanceModel, record: Record, image: FloatImage
) -> FloatImage:
    targets = predictor.targets(record)
    found = model(predictor.inputs(torch.from_numpy(image)[None, None].float()), targets)
    relevance: FloatImage = found.pixels[0].sum(dim=0).numpy()
    return relevance
