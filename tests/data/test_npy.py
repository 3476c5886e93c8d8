"""``.npy`` pictures: exact levels; objects, absurd shapes and damage refused unread."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
from data.miniatures import colour, opaque, picture

from busaug.data.images import read_gray, read_mask, to_float
from busaug.errors import InputError

GRAY = picture(1)
DEEP = picture(2, np.uint16)


def saved(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    return tmp_path / "a.npy"


@pytest.mark.parametrize(
    ("array", "levels"),
    [
        (GRAY, GRAY),
        (DEEP, DEEP),
        (DEEP.astype(">u2"), DEEP),
        (np.asfortranarray(GRAY), GRAY),
        (GRAY[..., None], GRAY),
        (colour(GRAY), GRAY),
        (opaque(GRAY), GRAY),
        (colour(DEEP), (DEEP >> 8).astype(np.uint8)),
        ((DEEP / 65535).astype(np.float64), DEEP),
        ((DEEP / 65535).astype(np.float32), DEEP),
    ],
    ids=["8", "16", "big-endian", "fortran", "axis", "rgb", "rgba", "rgb16", "double", "float"],
)
def test_levels_are_exact(tmp_path, array, levels):
    found = read_gray(saved(tmp_path, array))
    assert found.pixels.dtype == levels.dtype
    np.testing.assert_array_equal(found.pixels, levels)


def test_truth_values_are_a_mask(tmp_path):
    np.testing.assert_array_equal(read_mask(saved(tmp_path, GRAY > 99)), GRAY > 99)


def test_transparent_pixels_lie_over_black(tmp_path):
    half = opaque(GRAY)
    half[:, :20, 3] = 0
    found = to_float(read_gray(saved(tmp_path, half)))
    assert not found[:, :20].any()
    np.testing.assert_array_equal(found[:, 20:], to_float(read_gray(saved(tmp_path, GRAY)))[:, 20:])


class Payload:
    """Unpickled, it would tell."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def header(text):
    data = (text + " " * (-(len(text) + 11) % 64) + "\n").encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data


def object_array():
    buffer = io.BytesIO()
    np.save(buffer, np.array([[Payload()] * 40] * 40, object), allow_pickle=True)
    return buffer.getvalue()


HUGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000), }"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (object_array(), "holds Python objects, which could run any program"),
        (pickle.dumps(Payload()), "no image"),
        (header(HUGE), r"claims an array of shape \(60000, 60000\)"),
        (header(HUGE.replace("60000", "30000")), "is cut short"),
        (header(HUGE.replace("(60000, ", "(-1, ")), "holds uint8 of shape"),
        (header("__import__('os').abort()"), "no valid header"),
        (header("(" * 9000), "no valid header"),
        (b"\x93NUMPY\x09\x00", "no valid header"),
        (b"\x93NUMPY", "no valid header"),
    ],
    ids=["objects", "pickle", "huge", "short", "negative", "code", "deep", "version", "cut"],
)
def test_what_is_hostile_is_named(tmp_path, content, message):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_gray(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((40, 40), np.int32), "int32 pixels that are no levels"),
        (np.full((40, 40), np.nan), "no levels"),
        (np.linspace(0, 255, 1600).reshape(40, 40), "from 0 to 255. Scale floats"),
        (np.zeros((2, 3, 40, 40), np.uint8), "shape .2, 3, 40, 40"),
        (np.zeros((0, 40), np.uint8), "40x0 px"),
        (np.zeros(40, [("a", "u1")]), "holds"),
        (np.zeros((40, 40), "U3"), "holds <U3"),
    ],
    ids=["int32", "nan", "range", "batch", "empty", "struct", "text"],
)
def test_what_is_no_picture_is_named(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        read_gray(saved(tmp_path, array))
