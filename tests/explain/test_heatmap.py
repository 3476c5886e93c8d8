"""Overlays: sign by colour, strength by opacity."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from busaug.explain.heatmap import Map, overlay, write_overlay


def test_red_for_and_blue_against_on_a_symmetric_scale() -> None:
    gray = np.full((40, 40), 0.5, np.float32)
    relevance = np.zeros((40, 40))
    relevance[5:15, 5:15], relevance[25:35, 25:35] = 1.0, -1.0
    picture = overlay(gray, relevance).astype(int)
    red, blue, empty = picture[10, 10], picture[30, 30], picture[20, 5]
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    assert empty[0] == empty[1] == empty[2]


def test_a_map_of_zeros_shows_the_image(tmp_path: Path) -> None:
    gray = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    write_overlay(tmp_path / "o.png", gray, [Map(np.zeros((64, 64)), "none")], ["nothing"])
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.mode == "RGB"
        panels = panels_of(np.asarray(picture), 256, 2)
    assert np.array_equal(*panels)


def test_maps_stand_side_by_side_each_on_its_own_scale(tmp_path: Path) -> None:
    """A map a thousand times as large looks the same; its negative has the colours swapped."""
    gray = np.full((64, 64), 0.5, np.float32)
    relevance = np.zeros((64, 64))
    relevance[8:24, 8:24], relevance[40:56, 40:56] = 1.0, -1.0
    maps = [Map(relevance, "a"), Map(1000 * relevance, "b"), Map(-relevance, "c")]
    write_overlay(tmp_path / "o.png", gray, maps, ["a rather long caption " * 20, "two"])
    with Image.open(tmp_path / "o.png") as picture:
        plain, one, thousand, negative = panels_of(np.asarray(picture).astype(int), 256, 4)
    assert np.array_equal(one, thousand)
    assert (plain == 128).all()
    red = one[..., 0] - one[..., 2]
    assert red[64, 64] > 60
    assert red[192, 192] < -60
    turned = negative[..., 0] - negative[..., 2]
    assert turned[64, 64] < -60
    assert turned[192, 192] > 60


def panels_of(picture: npt.NDArray[Any], side: int, count: int) -> list[npt.NDArray[Any]]:
    """The pictures of a sheet: columns and rows that hold no white margin."""
    rows = [y for y in range(len(picture)) if (picture[y, 8 : 8 + side] < 255).any()]
    top = next(y for y in rows if all(y + dy in rows for dy in range(side)))
    lefts = [8 + index * (side + 8) for index in range(count)]
    return [picture[top : top + side, left : left + side] for left in lefts]
