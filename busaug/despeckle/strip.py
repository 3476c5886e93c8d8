"""A picture of one image through the scales, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from busaug.files import atomic_file

_PANEL_PX = 240  # height of a panel
_GAP_PX = 6
_LINE_PX = 22
_PANELS_A_ROW = 5


def write_strip(path: Path, stack: npt.NDArray[np.float32], title: str, *, iterations: int) -> None:
    """Write the stack (1 + L, H, W) in [0, 1], original first, as a labelled PNG.

    Scale l stands for l x ``iterations`` iterations. Panels wrap after five.
    """
    height, width = stack.shape[1:]
    panel_width = max(1, round(width * _PANEL_PX / height))
    columns = min(len(stack), _PANELS_A_ROW)
    rows = -(-len(stack) // columns)
    size = (
        columns * (panel_width + _GAP_PX) + _GAP_PX,
        _LINE_PX + rows * (_PANEL_PX + _LINE_PX),
    )
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=13)
    draw.text((_GAP_PX, 4), title, fill="black", font=font)
    for index, image in enumerate(stack):
        row, column = divmod(index, columns)
        left = _GAP_PX + column * (panel_width + _GAP_PX)
        top = _LINE_PX + row * (_PANEL_PX + _LINE_PX)
        panel = Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8))
        canvas.paste(panel.resize((panel_width, _PANEL_PX), Image.Resampling.LANCZOS), (left, top))
        label = f"scale {index}: {index * iterations} iterations" if index else "original"
        draw.text((left, top + _PANEL_PX + 3), label, fill="black", font=font)
    with atomic_file(path) as temporary:
        canvas.save(temporary, format="PNG")
