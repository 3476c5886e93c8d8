"""A contact sheet of several runs on the same contents, a row a content, a column a run.

python docs/compare_sheet.py RUN... --out OUT.png [--rows 8] [--side 150]

Contents that every run has, each with the anchor reference and the runs' results; below a result
the style distance left and the SSIM to the content. Make the runs with --keep-rejected, so that
rejected results are shown as well, with the reason.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from busaug.augment.manifest import Manifest
from busaug.data.catalog import Catalog
from busaug.runfolder import read_run

GAP, HEAD, FOOT = 6, 22, 30
Tile = tuple[Path | None, str]
"""A picture, where there is one, and the lines below it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--side", type=int, default=150)
    arguments = parser.parse_args()
    found: dict[Path, dict[str, dict[str, Any]]] = {}
    catalog = None
    for folder in arguments.runs:
        run = read_run(folder)
        if run is None:
            parser.error(f"{folder} holds no run")
        catalog = Catalog.load((folder / run["summary"]["catalog"]).resolve())
        found[folder] = {row["id"]: row for row in Manifest(folder).rows()}
    assert catalog is not None
    first = next(iter(found.values()))
    shared = [name for name in first if all(name in rows for rows in found.values())]
    lines = []
    for name in shared[: arguments.rows]:
        row = first[name]
        sources = [catalog.by_id[row["content"]], catalog.by_id[row["references"][0]]]
        line: list[Tile] = [(catalog.path(record), record.id) for record in sources]
        line += [_result(folder, rows[name]) for folder, rows in found.items()]
        lines.append(line)
    titles = ["content", "reference", *(folder.name for folder in found)]
    _draw(titles, lines, arguments.side).save(arguments.out, optimize=True)


def _result(folder: Path, row: dict[str, Any]) -> Tile:
    text = row["reason"] or ""
    if row["ssim"] is not None:
        text = f"left {row['style_left']:.2f}, SSIM {row['ssim']:.2f}\n{text}"
    return (folder / row["file"] if row["file"] else None), text


def _draw(titles: list[str], lines: list[list[Tile]], side: int) -> Image.Image:
    across, down = side + GAP, side + FOOT
    sheet = Image.new("L", (across * len(titles) + GAP, HEAD + down * len(lines)), 255)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for x, title in enumerate(titles):
        draw.text((GAP + x * across, 3), title, fill=0, font=font)
    for y, line in enumerate(lines):
        for x, (file, text) in enumerate(line):
            left, top = GAP + x * across, HEAD + y * down
            if file is not None:
                with Image.open(file) as picture:
                    tile = picture.convert("L").resize((side, side), Image.Resampling.BICUBIC)
                sheet.paste(tile, (left, top))
            draw.text((left, top + side), text, fill=0, font=font, spacing=1)
    return sheet


if __name__ == "__main__":
    main()
