"""Rectangles drawn on B-mode images around a region of interest, as colour Doppler does.

Their lines are faint, but long, one or two pixels wide, and exactly along rows and columns. The
upright sides are looked for first: tissue has no such lines. A level side, of which tissue does
have the like, must run between them from end to end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from busaug.data.overlays.strokes import Image, Mask, Neighbours, running

_CLIP = 0.08
"""Contrast that counts for a pixel, at most: a line is told by its length."""

_SIDE_LENGTH = 40
_SIDE_CONTRAST = 0.045
"""Least mean contrast over that length of upright pixels."""

_FOLLOW_LENGTH = 12
_FOLLOW_CONTRAST = 0.015
"""The same as far as a side is followed."""

_GAP = 12
"""A side is followed over gaps twice as long: bright tissue hides it."""

_LEVEL_CONTRAST = 0.015
"""Least mean contrast of a level side over its whole width."""

_DEPTH_TOLERANCE = 8
_WIDTH_MIN = 24


@dataclass(frozen=True)
class _Side:
    """An upright line."""

    column: int
    top: int
    bottom: int


def find_boxes(neighbours: Neighbours) -> Mask:
    """The lines of measuring or Doppler boxes: (H, W)."""
    found = np.zeros(neighbours.image.shape, bool)
    upright = np.clip(neighbours.bright(2, (0, 1)), -_CLIP, _CLIP)
    sides = _sides(upright)
    if len(sides) < 2:
        return found
    level = np.clip(neighbours.bright(2, (1, 0)), -_CLIP, _CLIP)
    for number, left in enumerate(sides):
        for right in sides[number + 1 :]:
            if right.column - left.column >= _WIDTH_MIN:
                _draw_box(found, level, left, right)
    return found


def _sides(contrast: Image) -> list[_Side]:
    """Upright lines, from left to right; one a column or two."""
    core = _mean_down(contrast, _SIDE_LENGTH)
    followed = _mean_down(contrast, _FOLLOW_LENGTH) > _FOLLOW_CONTRAST
    bridged = running(np.maximum, followed, _GAP, _GAP, 0)
    sides: list[_Side] = []
    best = core.max(axis=0)
    for column in np.flatnonzero(best > _SIDE_CONTRAST).tolist():
        if best[max(column - 2, 0) : column + 3].max() > best[column]:
            continue
        row = int(core[:, column].argmax())
        broken = np.flatnonzero(~bridged[:, column])
        first, last = np.searchsorted(broken, row) + np.array([-1, 0])
        above = int(broken[first]) + 1 if first >= 0 else 0
        below = int(broken[last]) if last < len(broken) else len(contrast)
        seen = above + np.flatnonzero(followed[above:below, column])
        sides.append(_Side(column, int(seen[0]), int(seen[-1])))
    return sides


def _mean_down(contrast: Image, length: int) -> Image:
    """Mean over so many rows around each pixel, 0 beyond the rim."""
    sums = np.cumsum(np.pad(contrast, ((length // 2 + 1, length // 2), (0, 0))), axis=0)
    return np.asarray((sums[length:] - sums[:-length])[: len(contrast)] / length)


def _draw_box(found: Mask, level: Image, left: _Side, right: _Side) -> None:
    """Add the box between two sides where a level line joins their lower or upper ends."""
    across = level[:, left.column : right.column + 1].mean(axis=1)
    top = _level_row(across, (left.top, right.top))
    bottom = _level_row(across, (left.bottom, right.bottom))
    if top is None and bottom is None:
        return
    for side in (left, right):
        first = side.top if top is None else top
        last = side.bottom if bottom is None else bottom
        found[first : last + 1, max(side.column - 1, 0) : side.column + 2] = True
    for row in (top, bottom):
        if row is not None:
            found[max(row - 1, 0) : row + 2, left.column : right.column + 1] = True


def _level_row(across: Image, ends: tuple[int, int]) -> int | None:
    """The row near an end of one of the sides where a level line runs, None where there is none.

    ``across`` is each row's mean contrast between the sides.
    """
    beside = np.abs(np.arange(len(across))[:, None] - np.array(ends)).min(axis=1)
    row = int(np.where(beside <= _DEPTH_TOLERANCE, across, -_CLIP).argmax())
    return row if across[row] > _LEVEL_CONTRAST else None
