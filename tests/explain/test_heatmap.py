"""Overlays: sign by colour, strength by opacity."""

from pathlib import Path

import numpy as np
from PIL import Image

from busaug.explain.heatmap import overlay, write_overlay


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
    write_overlay(tmp_path / "o.png", gray, np.zeros((64, 64)), "nothing")
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.mode == "RGB"
        assert picture.width > 2 * 224 - 64
