"""Dotted lines on B-mode images: the straight lines between the crosses of calipers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from busaug.data.overlays.strokes import Image, Mask

Points = npt.NDArray[np.float64]

_FIRST = 5
"""Pixels from a cross's middle where its arms have ended and a line may be looked at."""

_BLOCK = 8
"""Pixels of a line looked at together, at least one period of its dots."""

_CONTRAST_MIN = 0.02
"""Least contrast of a block with both sides of the line."""
_CONTRAST_FULL = 0.12
"""What a block counts at most."""
_SHARE_MIN = 0.8
"""Part of a line's blocks that must stand out."""

_WAYS_TRIED = 6
_THIN_MIN = 0.015
_THIN_FULL = 0.06
"""Mean contrast of thin strokes along a way that is worth trying, and what a pixel counts."""

_BLOCKS_MIN = 3
"""Shortest line that ends at a mark, blocks."""
_BLOCKS_ALONE = 9
_LENGTH_ALONE = 0.25
"""Shortest line that ends at none, in blocks and over the image's shorter side..."""
_STEEP = 0.5
"""...where its angle has this sine; else twice that: interfaces lie across the beams."""

_ASIDE_MAX = 4
"""Pixels that a cross may lie aside of its line."""


@dataclass(frozen=True, eq=False)
class _Line:
    """A straight line that starts at a cross."""

    strength: float
    ends: tuple[int, ...]
    """The crosses at its ends, one or two."""
    rows: Points
    columns: Points


def find_dotted_lines(image: Image, thin: Image, centres: Points, marks: Mask) -> Mask:
    """Dotted (or plain) straight lines from crosses, two pixels wide: (H, W).

    ``thin`` is the image's contrast of thin strokes in any direction, ``centres`` (N, 2) are the
    crosses, ``marks`` everything where a short line may end. A cross has one line, the strongest:
    what else runs between crosses is the lesion's outline.
    """
    lines: list[_Line] = []
    for start, centre in enumerate(centres):
        for way in (*_likely_ways(thin, centre), *_ways_to(centres, centre)):
            line = _line(image, marks, centres, start, way)
            if line is not None:
                lines.append(line)
    found = np.zeros(image.shape, bool)
    taken: set[int] = set()
    for line in sorted(lines, key=lambda line: -line.strength):
        if taken.isdisjoint(line.ends):
            taken.update(line.ends)
            y, x = np.rint(line.rows).astype(int), np.rint(line.columns).astype(int)
            inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
            found[y[inside], x[inside]] = True
    return found


def _likely_ways(thin: Image, centre: Points) -> list[float]:
    """Directions in radians along which thin strokes leave the centre, the likeliest first."""
    reach = _last(_BLOCKS_MIN)
    count = 2 * int(np.pi * reach)
    ways = np.arange(count) * (2 * np.pi / count)
    radii = np.arange(_FIRST, reach)
    rows, columns = _along(centre, ways[:, None], radii, 0.0)
    strength = np.clip(_at(thin, rows, columns), 0.0, _THIN_FULL).mean(axis=1)
    peak = (strength >= np.roll(strength, 1)) & (strength > np.roll(strength, -1))
    order = np.argsort(np.where(peak, -strength, 0.0), kind="stable")[:_WAYS_TRIED]
    return [float(ways[i]) for i in order if strength[i] > _THIN_MIN]


def _ways_to(centres: Points, centre: Points) -> list[float]:
    """Directions from one centre to those of the others that are far enough for a line."""
    down, right = (centres - centre).T
    far = np.hypot(down, right) > _last(_BLOCKS_MIN)
    return [float(way) for way in np.arctan2(down, right)[far]]


def _line(image: Image, marks: Mask, centres: Points, start: int, way: float) -> _Line | None:
    """The line from a cross that runs along ``way``, if there is one."""
    centre = centres[start]
    way, contrast = _follow(image, centre, way)
    if len(contrast) < _BLOCKS_MIN:
        return None
    end = _end_cross(centres, start, way, contrast)
    if end is None and not _may_end(image, marks, centre, way, len(contrast)):
        return None
    last = _last(len(contrast)) if end is None else int(np.hypot(*(centres[end] - centre)))
    aside = np.array([[-0.5], [0.5]])
    rows, columns = _along(centre, way, np.arange(0, last, 0.5), aside)
    strength = float(np.clip(contrast, 0.0, _CONTRAST_FULL).sum())
    return _Line(strength, (start,) if end is None else (start, end), rows, columns)


def _last(blocks: int) -> int:
    return _FIRST + _BLOCK * blocks


def _may_end(image: Image, marks: Mask, centre: Points, way: float, blocks: int) -> bool:
    """Whether a line of so many blocks ends at a mark or is too long for an interface."""
    beyond = np.arange(_last(blocks - 1), _last(blocks + 1))
    if _at(marks, *_along(centre, way, beyond, 0.0)).any():
        return True
    alone = max(_BLOCKS_ALONE, _LENGTH_ALONE * min(image.shape) / _BLOCK)
    return bool(blocks >= (alone if abs(np.sin(way)) > _STEEP else 2 * alone))


def _end_cross(centres: Points, start: int, way: float, contrast: Points) -> int | None:
    """The last cross on a line unless the line clearly goes on beyond it.

    Where two lines intersect, a cross may be seen as well; beyond its end, a line may seem to go
    on for some blocks.
    """
    down, right = (centres - centres[start]).T
    along = down * np.sin(way) + right * np.cos(way)
    aside = np.abs(down * np.cos(way) - right * np.sin(way))
    on = (aside < _ASIDE_MAX) & (along > _last(1)) & (along < _last(len(contrast) + 1))
    if not on.any():
        return None
    number = int(np.where(on, along, 0.0).argmax())
    block = int(along[number] - _FIRST) // _BLOCK
    before, beyond = contrast[:block], contrast[block + 1 :]
    if len(beyond) >= _BLOCKS_MIN and np.median(beyond) > np.median(before) / 2:
        return None
    return number


def _follow(image: Image, centre: Points, way: float) -> tuple[float, Points]:
    """The direction near ``way`` that keeps to a line, and the contrast of the line's blocks.

    The farther it is followed, the finer the direction is sought.
    """
    looked_at = 4
    while True:
        step = 1.0 / _last(looked_at)
        ways = way + step * np.array([0.0, -1.0, 1.0, -2.0, 2.0])
        runs = [_run(contrast) for contrast in _contrast(image, centre, ways, looked_at)]
        strengths = [np.clip(run, 0.0, _CONTRAST_FULL).sum() for run in runs]
        best = int(np.argmax(strengths))
        way, run = float(ways[best]), runs[best]
        if len(run) < 0.75 * looked_at or looked_at * _BLOCK > max(image.shape):
            return way, run
        looked_at *= 2


def _contrast(image: Image, centre: Points, ways: Points, blocks: int) -> Points:
    """(W, N) contrast of each block with the brighter of its sides, -1 beyond the image's rim."""
    radii = np.arange(_FIRST, _last(blocks))
    rows, columns = _along(centre, ways[:, None, None], radii, np.arange(-4, 5)[:, None])
    peaks = _at(image, rows, columns).reshape(len(ways), 9, blocks, _BLOCK).max(axis=3)
    side = np.maximum(peaks[:, :2].max(axis=1), peaks[:, 7:].max(axis=1))
    far_rows, far_columns = rows[:, 4, _BLOCK - 1 :: _BLOCK], columns[:, 4, _BLOCK - 1 :: _BLOCK]
    inside = (far_rows >= 0) & (far_rows < image.shape[0])
    inside &= (far_columns >= 0) & (far_columns < image.shape[1])
    return np.asarray(np.where(inside, peaks[:, 3:6].max(axis=1) - side, -1.0))


def _run(contrast: Points) -> Points:
    """The blocks up to the last that stands out before a wide gap; none if too few of them do."""
    stands_out = contrast > _CONTRAST_MIN
    gaps = np.flatnonzero(~(stands_out[:-2] | stands_out[1:-1] | stands_out[2:]))
    seen = np.flatnonzero(stands_out[: gaps[0]] if len(gaps) else stands_out)
    count = int(seen[-1]) + 1 if len(seen) else 0
    return contrast[: count if len(seen) >= _SHARE_MIN * count else 0]


def _along(
    centre: Points, way: npt.ArrayLike, radii: npt.NDArray[Any], offset: npt.ArrayLike
) -> tuple[Points, Points]:
    """Rows and columns at ``radii`` from the centre, ``offset`` pixels aside."""
    down, right = np.sin(way), np.cos(way)
    rows = centre[0] + radii * down + np.asarray(offset) * right
    columns = centre[1] + radii * right - np.asarray(offset) * down
    return rows, columns


def _at(image: npt.NDArray[Any], rows: Points, columns: Points) -> npt.NDArray[Any]:
    """The nearest pixels, those of the rim outside."""
    y = np.clip(np.rint(rows).astype(np.intp), 0, image.shape[0] - 1)
    x = np.clip(np.rint(columns).astype(np.intp), 0, image.shape[1] - 1)
    return np.asarray(image[y, x])
