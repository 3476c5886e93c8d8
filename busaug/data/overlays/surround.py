"""The black surround of a B-mode image's sector, and black margins.

Black alone does not tell it: echo-free shadows, cysts and depths are as black and as constant and
may touch the image's rim. The scanner draws the sector's edge, so it is a straight line or an arc;
the edge of a shadow is ragged. A black region counts only if its edge is smooth. Where a surround
has run together with a shadow, the part behind straight pieces of its edge is taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import find_contours

from busaug.data.overlays.strokes import Image, Mask, near

Points = npt.NDArray[np.float64]

_RIM_QUANTILE = 0.005
"""The surround's level is about the least on the rim; the very least may be ringing."""

_CORE_TOLERANCE = 2.5 / 255
"""What a constant area may differ from that level, by rounding and compression."""
_EDGE_TOLERANCE = 16 / 255
"""The same at its edge, where compression rings."""
_RINGING = (4, 8)
"""How far it rings, at most a block of JPEG; the less, the less of dark tissue is taken for it."""
_CLOSED = 2
"""Notches up to twice as wide are closed."""
_LEVEL_MAX = 0.1
"""A brighter rim surrounds nothing."""

_AREA_MIN = 0.0015
"""Least part of the image."""

_CHORD = 0.12
_BOW_MAX = 0.003
"""An edge is smooth where no point between the ends of a chord so long (over the image's shorter
side) lies farther from it. An arc so flat has a radius above half that side: no cyst's is."""
_BOW_PIXELS = 1.0
"""What the rounding of edges to pixels asks for at least."""

_SMOOTH_MIN = 0.7
"""Least smooth part of a surround's edge."""
_STEP_MIN = 0.1
"""Least rise from the surround to the picture at that edge; shadows darken gradually."""

_LINE_MIN = 0.2
_STEEP_MIN = 0.7
"""Length of a straight piece that stands for itself, over the shorter side, and the sine of its
angle: sectors have steep sides, tissue has level layers."""
_BEHIND_MIN = 0.9
"""Dark part of what lies behind that piece."""


def find_surround(image: Image) -> Mask:
    """Pixels outside the sector of a gray image (H, W) in [0, 1]."""
    found = np.zeros(image.shape, bool)
    rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    level = float(np.quantile(rim, _RIM_QUANTILE))
    if level > _LEVEL_MAX:
        return found
    constant = ~near(image > level + _CORE_TOLERANCE, 1)
    dark = image <= level + _EDGE_TOLERANCE
    for core in _at_rim(constant):
        for ringing in _RINGING:
            part = _smooth_part(image, level, _region(core, dark, ringing))
            if part is not None:
                found |= part
                break
    return found


def _smooth_part(image: Image, level: float, region: Mask) -> Mask | None:
    """The region if its edge is smooth, else what lies behind straight pieces of it, if any."""
    side = min(image.shape)
    edges = [_spaced(contour) for contour in find_contours(region, 0.5)]
    smooth = [_smooth(edge, side) for edge in edges]
    if edges and sum(map(np.sum, smooth)) >= _SMOOTH_MIN * sum(map(len, edges)):
        before = image[near(region, 4) & ~near(region, 2)]
        return region if before.size and np.median(before) - level >= _STEP_MIN else None
    dark = image <= level + _EDGE_TOLERANCE
    behind = np.zeros_like(region)
    for edge, part in zip(edges, smooth, strict=True):
        labels, count = ndimage.label(part)
        for number in range(1, count + 1):
            behind |= _behind_line(image, dark, edge[labels == number])
    return region & behind if behind.any() else None


def _region(core: Mask, dark: Mask, ringing: int) -> Mask:
    """A constant area with its dark edge, from which compression has bitten pieces."""
    grown = np.pad(near(core, ringing) & dark, _CLOSED, mode="edge")
    closed = ~near(~near(grown, _CLOSED), _CLOSED)[_CLOSED:-_CLOSED, _CLOSED:-_CLOSED]
    return np.asarray(ndimage.binary_fill_holes(closed))


def _at_rim(constant: Mask) -> Iterator[Mask]:
    """The connected parts that touch the image's rim and are large enough."""
    labels, _ = ndimage.label(constant)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    sizes = np.bincount(labels.ravel())
    for number in np.unique(rim[rim > 0]):
        if sizes[number] >= _AREA_MIN * constant.size:
            yield labels == number


def _spaced(contour: Points) -> Points:
    """The contour's points (N, 2) a pixel apart."""
    steps = np.hypot(*np.diff(contour, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.arange(0.0, along[-1] + 1e-9)
    return np.stack([np.interp(at, along, contour[:, axis]) for axis in (0, 1)], axis=1)


def _smooth(edge: Points, side: int) -> Mask:
    """Which points (N, 2) of an edge lie in a stretch that hardly leaves its chord."""
    length = max(round(_CHORD * side), 8) + 1
    if len(edge) < length:
        return np.zeros(len(edge), bool)
    windows = np.lib.stride_tricks.sliding_window_view(edge, length, axis=0)
    first, last = windows[:, :, :1], windows[:, :, -1:]
    chord, offset = last - first, windows - first
    area = np.abs(offset[:, 0] * chord[:, 1] - offset[:, 1] * chord[:, 0])
    flat = (area <= _bow_max(side) * np.linalg.norm(chord, axis=1)).all(axis=1)
    # a point is smooth if one of the stretches that hold it is flat
    counts = np.concatenate([[0], np.cumsum(flat)])
    ends = np.arange(len(edge)) + 1
    return np.asarray(counts[np.minimum(ends, len(flat))] > counts[np.maximum(ends - length, 0)])


def _bow_max(side: int) -> float:
    return max(_BOW_PIXELS, _BOW_MAX * side)


def _behind_line(image: Image, dark: Mask, piece: Points) -> Mask:
    """The half plane behind a piece of an edge if that is long, straight and steep; else empty.

    Empty also if not all is dark there, or the picture before it hardly brighter.
    """
    nothing = np.zeros(image.shape, bool)
    if len(piece) < _LINE_MIN * min(image.shape):
        return nothing
    middle = piece.mean(axis=0)
    normal = np.linalg.svd(piece - middle, full_matrices=False)[2][1]
    if abs(normal[1]) < _STEEP_MIN:
        return nothing
    # its ends may bend where the surround has run together with a shadow
    if np.quantile(np.abs((piece - middle) @ normal), 0.9) > _bow_max(min(image.shape)):
        return nothing
    # turned so that it points from the dark side to the picture
    one, other = (_level_at(image, piece + side * normal) for side in (4, -4))
    normal = normal if one > other else -normal
    if abs(one - other) < _STEP_MIN:
        return nothing
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    behind = (rows - middle[0]) * normal[0] + (columns - middle[1]) * normal[1] < 0.5
    return behind if dark[behind].mean() >= _BEHIND_MIN else nothing


def _level_at(image: Image, points: Points) -> float:
    rows, columns = np.rint(points).astype(int).clip(0, np.array(image.shape) - 1).T
    return float(np.median(image[rows, columns]))
