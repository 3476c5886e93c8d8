"""A contact sheet of an augmentation run: content, result, references; some rows of each class.

python docs/sheet.py RUN OUT.png [--rows 2] [--side 150]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from busaug.augment.manifest import Manifest
from busaug.data.catalog import Catalog
from busaug.runfolder import read_run

GAP, HEAD = 6, 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--side", type=int, default=150)
    arguments = parser.parse_args()
    run = read_run(arguments.run)
    if run is None:
        parser.error(f"{arguments.run} holds no run")
    catalog = Catalog.load((arguments.run / run["summary"]["catalog"]).resolve())
    rows = [row for row in Manifest(arguments.run).rows() if row["accepted"]]
    chosen = [
        row
        for label in catalog.labels
        for row in [row for row in rows if row["class"] == label][: arguments.rows]
    ]
    lines = [
        [
            catalog.path(catalog.by_id[row["content"]]),
            arguments.run / row["file"],
            *(catalog.path(catalog.by_id[name]) for name in row["references"]),
        ]
        for row in chosen
    ]
    step = arguments.side + GAP
    width, height = step * len(lines[0]) + GAP, HEAD + step * len(lines)
    sheet = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for column, title in enumerate(("content", "result", "references")):
        draw.text((GAP + column * step, 3), title, fill=0, font=font)
    size = (arguments.side, arguments.side)
    for y, line in enumerate(lines):
        for x, file in enumerate(line):
            with Image.open(file) as picture:
                tile = picture.convert("L").resize(size, Image.Resampling.BICUBIC)
            sheet.paste(tile, (GAP + x * step, HEAD + y * step))
    sheet.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
