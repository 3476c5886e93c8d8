"""Decoding, quantising and resampling, against Pillow, tifffile and hand-made pixels."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tolerances import TOLERANCES

from busaug.data.catalog import Catalog, Record
from busaug.data.images import (
    GrayImage,
    load_batch,
    pixel_hash,
    read_gray,
    read_mask,
    resize,
    to_float,
    to_gray,
    write_gray,
    write_pixels,
)
from busaug.errors import InputError

RAMP8 = np.add.outer(np.arange(40), 5 * np.arange(36)).astype(np.uint8)
RAMP16 = (RAMP8.astype(np.uint16) << 8) + np.arange(36, dtype=np.uint16)


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_gray_8_bit_is_exact(tmp_path, suffix):
    gray = read_gray(saved(tmp_path / f"a.{suffix}", Image.fromarray(RAMP8)))
    assert gray.bit_depth == 8
    np.testing.assert_array_equal(gray.pixels, RAMP8)


def test_gray_16_bit_png_is_exact(tmp_path):
    gray = read_gray(saved(tmp_path / "a.png", Image.fromarray(RAMP16)))
    assert gray.bit_depth == 16
    np.testing.assert_array_equal(gray.pixels, RAMP16)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_gray_16_bit_tiff_of_either_byte_order_is_exact(tmp_path, byteorder):
    tifffile.imwrite(tmp_path / "a.tif", RAMP16.astype(f"{byteorder}u2"), byteorder=byteorder)
    gray = read_gray(tmp_path / "a.tif")
    assert gray.pixels.dtype == np.uint16
    np.testing.assert_array_equal(gray.pixels, RAMP16)


def test_equal_colour_channels_stay_exact(tmp_path):
    every_level = np.arange(256, dtype=np.uint8).reshape(32, 8).repeat(4, axis=1)
    gray = read_gray(saved(tmp_path / "a.png", Image.fromarray(np.dstack([every_level] * 3))))
    np.testing.assert_array_equal(gray.pixels, every_level)


def test_colour_becomes_bt601_luma(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    gray = read_gray(saved(tmp_path / "a.png", Image.fromarray(colour)))
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray.pixels - luma).max() <= TOLERANCES["luma levels, absolute"]


def test_transparent_pixels_lie_over_black(tmp_path):
    alpha = np.zeros_like(RAMP8)
    alpha[:20] = 255
    alpha[20:30] = 128
    image = Image.fromarray(np.dstack([RAMP8, RAMP8, RAMP8, alpha]))
    pixels = read_gray(saved(tmp_path / "a.png", image)).pixels
    np.testing.assert_array_equal(pixels[:20], RAMP8[:20])
    half = RAMP8[20:30] * (128 / 255)
    assert np.abs(pixels[20:30] - half).max() <= TOLERANCES["luma levels, absolute"]
    assert not pixels[30:].any()


def test_palette_and_bilevel(tmp_path):
    palette = Image.fromarray(RAMP8).convert("P")
    np.testing.assert_array_equal(read_gray(saved(tmp_path / "p.png", palette)).pixels, RAMP8)
    bilevel = Image.fromarray(RAMP8 > 99)
    pixels = read_gray(saved(tmp_path / "b.png", bilevel)).pixels
    np.testing.assert_array_equal(pixels, np.where(RAMP8 > 99, 255, 0))


def test_jpeg_is_near(tmp_path):
    smooth = np.linspace(20, 220, 48 * 48).reshape(48, 48).astype(np.uint8)
    gray = read_gray(saved(tmp_path / "a.jpg", Image.fromarray(smooth), quality=95))
    assert np.abs(gray.pixels.astype(int) - smooth).max() <= TOLERANCES["jpeg levels, absolute"]


def test_16_bit_colour_keeps_the_upper_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([RAMP16] * 3), photometric="rgb")
    np.testing.assert_array_equal(read_gray(tmp_path / "a.tif").pixels, RAMP16 >> 8)


def png_bytes(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def float_tiff():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, RAMP8.astype(np.float32))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_bytes(RAMP8)[:-30], "cannot be decoded"),
        (png_bytes(RAMP8)[:20], "cannot be decoded|no image"),
        (b"not an image", "no image"),
        (b"", "no image"),
        (png_bytes(RAMP8[:31]), "36x31 px"),
        (png_bytes(np.full((40, 40), 7, np.uint8)), "every pixel is 7"),
        (float_tiff(), "floating-point"),
    ],
    ids=["truncated", "header only", "text", "empty", "small", "constant", "float"],
)
def test_what_cannot_be_used_is_named(tmp_path, content, message):
    path = tmp_path / "scan (1).png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_gray(path)
    assert str(path) in caught.value.what


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        read_gray(tmp_path / "gone.png")


def test_decompression_bomb(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP8))
    # Pillow warns at the first limit and fails at the second
    for limit in (RAMP8.size - 1, RAMP8.size // 3):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match=f"more than {limit} pixels"):
            read_gray(path)


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG", "BMP"])
def test_damaged_files_never_raise_anything_else(tmp_path, format_):
    buffer = io.BytesIO()
    Image.fromarray(RAMP8).save(buffer, format=format_)
    whole = buffer.getvalue()
    path = tmp_path / "damaged"

    @settings(max_examples=60)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 255), st.integers(0, len(whole)))
    def check(where, value, length):
        path.write_bytes((whole[:where] + bytes([value]) + whole[where + 1 :])[:length])
        with warnings.catch_warnings(), contextlib.suppress(InputError):
            warnings.simplefilter("ignore")  # Pillow's own remarks on odd metadata
            assert read_gray(path).pixels.ndim == 2

    check()


def test_mask_reads_alike_as_01_0255_and_resampled(tmp_path):
    inside = RAMP8 > 99
    for name, level in (("one", 1), ("full", 255)):
        path = saved(tmp_path / f"{name}.png", Image.fromarray((inside * level).astype(np.uint8)))
        np.testing.assert_array_equal(read_mask(path), inside)
    path = saved(tmp_path / "bits.png", Image.fromarray(inside))
    np.testing.assert_array_equal(read_mask(path), inside)
    black = saved(tmp_path / "black.png", Image.fromarray(np.zeros((8, 8), np.uint8)))
    assert not read_mask(black).any()


def test_pixel_hash_is_of_the_picture(tmp_path):
    expected = hashlib.sha256(b"uint16:40x36:" + RAMP16.astype("<u2").tobytes()).hexdigest()
    assert pixel_hash(RAMP16) == expected
    assert pixel_hash(RAMP16.astype(">u2")) == expected
    assert pixel_hash(np.asfortranarray(RAMP16)) == expected
    png = read_gray(saved(tmp_path / "a.png", Image.fromarray(RAMP8))).pixels
    bmp = read_gray(saved(tmp_path / "a.bmp", Image.fromarray(RAMP8))).pixels
    assert pixel_hash(png) == pixel_hash(bmp)
    others = [RAMP8.reshape(36, 40), RAMP8.astype(np.uint16), RAMP8[::-1]]
    assert pixel_hash(RAMP8) not in {pixel_hash(other) for other in others}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_float(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    image = to_float(GrayImage(levels))
    assert image.dtype == np.float32
    assert image.min() == 0.0
    assert image.max() == 1.0
    np.testing.assert_array_equal(to_gray(image, 8 * levels.dtype.itemsize).pixels, levels)


def test_quantising_clips_rounds_and_refuses_nan():
    image = np.array([[-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0]], np.float32)
    assert to_gray(image, 8).pixels.tolist() == [[0, 0, 0, 1, 255, 255]]
    with pytest.raises(ValueError, match="NaN"):
        to_gray(np.array([[np.nan]], np.float32), 8)
    with pytest.raises(ValueError, match="bit depth"):
        to_gray(image, 12)


@pytest.mark.parametrize("bit_depth", [8, 16])
def test_written_files_are_one_channel_and_equal(tmp_path, bit_depth):
    image = np.random.default_rng(0).random((33, 47), dtype=np.float32)
    text = {"references": "b1 b2", "content": "a", "note": "µ"}
    for name, entries in (("a.png", text), ("b.png", dict(reversed(text.items())))):
        write_gray(tmp_path / name, image, bit_depth, entries)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == {8: "L", 16: "I;16"}[bit_depth]
        assert file.text == text
    step = 1 / (2**bit_depth - 1)
    assert np.abs(to_float(read_gray(tmp_path / "a.png")) - image).max() <= step / 2 * (1 + 1e-3)


@pytest.mark.parametrize(("height", "width", "size"), [(300, 500, 64), (64, 64, 64), (40, 50, 96)])
def test_resize_is_pillows_antialiased_bilinear(height, width, size):
    image = np.random.default_rng(0).random((height, width), dtype=np.float32)
    ours = resize(torch.from_numpy(image)[None, None], size)
    peer = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
    assert ours.shape == (1, 1, size, size)
    assert np.abs(ours[0, 0].numpy() - peer).max() < TOLERANCES["resize, float32 absolute"]


@given(st.integers(2, 90), st.integers(2, 90), st.integers(2, 64))
@settings(max_examples=40)
def test_resize_keeps_range_and_constants(height, width, size):
    noise = torch.rand(2, height, width).round()
    small = resize(noise, size)
    assert small.shape == (2, size, size)
    assert small.min() >= 0.0
    assert small.max() <= 1.0
    level = resize(torch.full((height, width), 0.3), size)
    assert (level - 0.3).abs().max() < TOLERANCES["resize, float32 absolute"]


def test_batches_and_masks_of_a_catalog(tmp_path):
    shared = {"label": "benign", "group": "g", "split": "train", "sha256": "", "source": "x"}
    wide = Record("wide", "wide.png", width=80, height=40, bit_depth=8, **shared)
    deep = Record("deep", "deep.png", width=40, height=60, bit_depth=16, **shared)
    left = np.zeros((40, 80), np.uint8)
    left[:, :40] = 255
    write_pixels(tmp_path / "wide.png", left)
    write_pixels(tmp_path / "deep.png", np.repeat(np.uint16([[0], [65535]]), 40, 1).repeat(30, 0))
    catalog = Catalog(tmp_path, (deep, wide))

    batch = load_batch(catalog, [wide, deep], 32)
    assert batch.shape == (2, 1, 32, 32)
    assert batch.dtype == torch.float32
    assert batch[0, 0, 16].round().tolist() == [1] * 16 + [0] * 16
    assert batch[1, 0, :, 16].round().tolist() == [0] * 16 + [1] * 16
