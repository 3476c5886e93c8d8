"""Burnt-in marks and the surround, drawn on simulated images where every pixel's kind is known."""

from __future__ import annotations

import numpy as np
import pytest
from data.drawing import SIDE, blank, calipers, cross, drawn, jpeg, label, outside_fan, shrunk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont
from scipy.ndimage import binary_dilation, gaussian_filter, gaussian_filter1d
from tolerances import TOLERANCES

from busaug.data.images import read_gray, read_mask, to_float
from busaug.data.overlays import detect_overlays
from busaug.errors import InputError


def recall(found, truth):
    return found[truth].mean()


def astray(found, truth, pixels):
    """Part of the image marked farther than ``pixels`` from the truth."""
    return (found & ~binary_dilation(truth, np.ones((3, 3)), iterations=pixels)).mean()


# --- annotation


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("quality", [None, 80])
def test_a_label_is_covered_and_little_else(number, quality):
    image, truth = drawn(blank(number), label("RT UOQ 11:00 4cm", (40, 240)))
    if quality:
        image = jpeg(image, quality)
    found = detect_overlays(image).annotation
    assert recall(found, truth) > TOLERANCES["overlay recall, letters"]
    assert astray(found, truth, 12) == 0


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("end", [(225, 145), (135, 250), (220, 240)])
def test_calipers_are_covered_with_their_dotted_line(number, end):
    image, truth = drawn(blank(number), calipers((80, 110), end))
    found = detect_overlays(image).annotation
    assert recall(found, truth) > TOLERANCES["overlay recall, calipers"]
    assert astray(found, truth, 12) < TOLERANCES["overlay astray, part of the image"]


@pytest.mark.parametrize("number", range(4))
def test_crosses_without_a_line_leave_what_lies_between(number):
    def both(draw):
        cross(draw, (80, 110))
        cross(draw, (225, 145))

    image, truth = drawn(blank(number), both)
    found = detect_overlays(image).annotation
    assert recall(found, truth) > TOLERANCES["overlay recall, calipers"]
    assert astray(found, truth, 16) == 0


@pytest.mark.parametrize("number", range(4))
def test_marks_survive_resampling_to_256(number):
    def both(draw):
        label("LEFT 2:00", (80, 420), 18)(draw)
        calipers((150, 200), (370, 260))(draw)

    image, truth = drawn(blank(number, 500), both)
    small = shrunk(image, 256)
    there = shrunk(truth, 256) > 0.5
    found = detect_overlays(small).annotation
    assert recall(found, there) > TOLERANCES["overlay recall, resampled"]
    assert astray(found, there, 8) < TOLERANCES["overlay astray, part of the image"]


@pytest.mark.parametrize("number", range(2))
def test_marks_grow_with_the_screen(number):
    screen = Image.fromarray(blank(number)).resize((1100, 1100), Image.Resampling.BICUBIC)
    image = np.clip(np.asarray(screen), 0, 1)
    image, truth = drawn(image, label("RT AXILLA", (120, 900), 32))
    found = detect_overlays(image).annotation
    assert recall(found, truth) > TOLERANCES["overlay recall, letters"]
    assert astray(found, truth, 24) == 0


@pytest.mark.parametrize("number", range(4))
def test_a_doppler_box_is_followed_round(number):
    image, truth = drawn(
        blank(number), lambda draw: draw.rectangle((70, 45, 235, 190), outline=255), 0.8
    )
    found = detect_overlays(image).annotation
    assert recall(found, truth) > TOLERANCES["overlay recall, boxes"]
    assert astray(found, truth, 12) == 0


@pytest.mark.parametrize("number", range(4))
def test_an_outlined_logo_in_the_corner_is_found(number):
    def logo(draw):
        font = ImageFont.load_default(size=18)
        draw.text((2, 0), "Q", fill=255, font=font, stroke_width=2)

    image, outline = drawn(blank(number), logo, 0.0)
    image, letter = drawn(image, label("Q", (4, 2), 18), 0.8)
    found = detect_overlays(image).annotation
    assert recall(found, letter | outline) > TOLERANCES["overlay recall, logo"]
    assert astray(found, outline, 12) == 0


@pytest.mark.parametrize("size", [128, 256, SIDE])
@pytest.mark.parametrize("number", range(6))
def test_tissue_without_marks_stays_unmarked(number, size):
    assert not detect_overlays(blank(number, size)).mask.any()


def test_bright_interfaces_and_calcifications_are_tissue():
    image = blank(1)
    rows = np.arange(SIDE)[:, None]
    columns = np.arange(SIDE)[None, :]
    skin = np.exp(-(((rows - 12) / 2.0) ** 2))
    rib = np.exp(-(((rows - 230 - 25 * np.cos(columns / 60)) / 2.5) ** 2))
    spots = np.zeros((SIDE, SIDE))
    for y, x in np.random.default_rng(0).integers(40, 270, (30, 2)):
        spots[y, x] = 1
    spots = gaussian_filter(spots, (1.5, 3.0))
    bright = np.maximum(np.maximum(skin, rib), spots / spots.max()).astype(np.float32)
    assert not detect_overlays(np.maximum(image, bright)).mask.any()


# --- surround


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("quality", [None, 90])
def test_the_outside_of_a_fan_is_surround(number, quality):
    image = blank(number)
    truth = outside_fan(SIDE)
    image = np.where(truth, 0, np.maximum(image, np.float32(0.12)))
    if quality:
        image = jpeg(image, quality)
    found = detect_overlays(image).surround
    assert recall(found, truth) > TOLERANCES["overlay recall, surround"]
    assert astray(found, truth, 3) == 0


def test_black_margins_are_surround_and_text_on_them_is_annotation():
    image = blank(0)
    truth = np.zeros((SIDE, SIDE), bool)
    truth[:, :45] = truth[278:] = True
    image = np.where(truth, 0, np.maximum(image, np.float32(0.12)))
    image, letters = drawn(image, label("4.1", (8, 150)))
    found = detect_overlays(image)
    assert recall(found.surround, truth & ~letters) > TOLERANCES["overlay recall, surround"]
    assert recall(found.annotation, letters) > TOLERANCES["overlay recall, letters"]
    np.testing.assert_array_equal(found.mask, found.annotation | found.surround)


def shadow(size, seed):
    """An echo-free region with a ragged edge down to the image's lower rim."""
    rng = np.random.default_rng(seed)
    edge = gaussian_filter1d(rng.standard_normal((2, size)), 2.0, axis=1) * 12
    columns = np.arange(size)[None, :]
    rows = np.arange(size)[:, None]
    left, right = size * 0.3 + edge[0][:, None], size * 0.7 + edge[1][:, None]
    return (columns > left) & (columns < right) & (rows > size // 2 + edge[0][None, :])


@pytest.mark.parametrize("seed", range(6))
def test_echo_free_cysts_and_shadows_are_tissue(seed):
    image = blank(2 * seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    cyst = np.hypot((rows - 95) / 30, (columns - 150) / 50) < 1
    cut_by_the_rim = np.hypot((rows - 60) / 30, columns / 40) < 1
    black = cyst | cut_by_the_rim | shadow(SIDE, seed)
    tissue = np.maximum(image, np.float32(0.02))
    soft = gaussian_filter(np.where(black, np.float32(0), tissue), 1.0)
    assert not detect_overlays(np.where(black, np.float32(0), soft)).surround.any()


# --- any input


@st.composite
def odd_images(draw):
    """Noise, strokes and rectangles of any level: no picture a scanner makes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = tuple(draw(st.tuples(*[st.sampled_from([1, 40, 96, 97, 128, 160])] * 2)))
    image = rng.random(shape, np.float32) * draw(st.sampled_from([0.0, 0.1, 1.0]))
    for _ in range(draw(st.integers(0, 30))):
        top, left = (int(rng.integers(0, side)) for side in shape)
        tall, wide = rng.integers(1, [[6, 60], [60, 6], [60, 60]][int(rng.integers(3))])
        image[top : top + tall, left : left + wide] = rng.choice([0.0, 0.5, 1.0])
    return image


@settings(max_examples=25)
@given(image=odd_images(), margin=st.integers(0, 3))
def test_any_image_gives_two_masks_of_its_shape(image, margin):
    before = image.copy()
    first, again = detect_overlays(image, margin), detect_overlays(image, margin)
    for one, other in ((first.annotation, again.annotation), (first.surround, again.surround)):
        assert one.shape == image.shape
        assert one.dtype == bool
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(image, before)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), margin=st.integers(0, 4))
def test_a_margin_grows_the_mask_by_so_many_pixels(seed, margin):
    at = tuple(np.random.default_rng(seed).integers(10, 120, 2))
    image, _ = drawn(blank(seed % 2, 192), label("LT 3", at))
    bare, grown = detect_overlays(image, 0).annotation, detect_overlays(image, margin).annotation
    assert bare.any()
    side = 2 * margin + 1
    np.testing.assert_array_equal(grown, binary_dilation(bare, np.ones((side, side))))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_the_float_type_does_not_matter(dtype):
    image = np.rint(drawn(blank(0), label("LT", (50, 50)))[0] * 255) / 256
    expected = detect_overlays(image.astype(np.float32)).mask
    np.testing.assert_array_equal(detect_overlays(image.astype(dtype)).mask, expected)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (40, 33), (256, 256)])
def test_a_constant_image_has_no_overlay(shape, level):
    found = detect_overlays(np.full(shape, level, np.float32))
    assert found.annotation.shape == found.surround.shape == shape
    assert not found.mask.any()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((40, 40), np.nan, np.float32), "not finite"),
        (np.full((40, 40), 128.0, np.float32), "from 128 to 128"),
        (np.full((40, 40), -0.1, np.float32), "from -0.1 to"),
        (np.zeros((40, 40), np.uint8), "type uint8"),
        (np.zeros((3, 40, 40), np.float32), r"shape \(3, 40, 40\)"),
        (np.zeros((0, 40), np.float32), r"shape \(0, 40\)"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        detect_overlays(image)


def test_a_negative_margin_is_refused():
    with pytest.raises(InputError, match="margin=-1"):
        detect_overlays(np.zeros((40, 40), np.float32), -1)


# --- real images

NATIVE_CALIPERS = {"benign (22)", "malignant (2)", "malignant (10)"}
NATIVE_LABELS = {"benign (19)", "malignant (2)", "malignant (10)"}
NATIVE_PLAIN = {"benign (15)", "benign (20)"}


@pytest.mark.real
def test_native_images(busi_native):
    files = [file for file in sorted(busi_native.rglob("*.png")) if "_mask" not in file.name]
    assert len(files) == 20
    for file in files:
        found = detect_overlays(to_float(read_gray(file)))
        assert not found.surround.any()
        assert bool(found.annotation.any()) == (file.stem not in NATIVE_PLAIN)
        beyond_the_logo = found.annotation.copy()
        beyond_the_logo[:40, :80] = False
        assert bool(beyond_the_logo.any()) == (file.stem in NATIVE_CALIPERS | NATIVE_LABELS)
        if file.stem not in NATIVE_CALIPERS:
            lesion = read_mask(file.with_name(f"{file.stem}_mask.png"))
            assert not found.mask[lesion].any()


@pytest.mark.real
def test_lesions_at_256_are_hardly_touched(busi_256):
    marked, pixels = {}, 0
    for file in sorted(busi_256.rglob("*_mask.png")):
        lesion = read_mask(file)
        image = to_float(read_gray(file.with_name(file.name.replace("_mask", ""))))
        inside = int(detect_overlays(image).mask[lesion].sum())
        pixels += int(lesion.sum())
        if inside:
            marked[file.stem.removesuffix("_mask")] = inside
    # of 85 masked images these have calipers or a label on the lesion
    known = {"benign (22)", *(f"malignant ({n})" for n in (2, 10, 12, 13, 14, 15, 26))}
    assert set(marked) >= known - {"malignant (2)"}
    false = sum(count for name, count in marked.items() if name not in known)
    assert false / pixels < TOLERANCES["overlay false, part of real lesions"]


@pytest.mark.real
def test_known_marks_at_256(busi_256):
    """Images seen to have calipers, a fan, a Doppler box, and no mark beyond the corner logo."""
    calipers_ = (5, 97, 141, 209, 217, 229, 237, 249, 265, 281, 285, 297, 373)
    fans = (64, 65, 67, 69, 81, 95, 98, 101, 102, 106, 108, 113, 163)
    boxes = (6, 13, 102, 234, 240, 255, 261, 277, 323, 330)
    plain = (17, 25, 33, 37, 53, 77, 93, 113, 117, 121, 173, 189, 269, 317, 341, 357, 385, 413)
    for numbers, label_, least, most in (
        (calipers_, "benign", 100, 1e9),
        (boxes, "benign", 500, 1e9),
        (plain, "benign", 0, 0),
    ):
        for number in numbers:
            file = busi_256 / label_ / f"{label_} ({number}).png"
            found = detect_overlays(to_float(read_gray(file))).annotation
            found[:24, :40] = False
            assert least <= found.sum() <= most, file.name
    for number in fans:
        file = busi_256 / "malignant" / f"malignant ({number}).png"
        assert detect_overlays(to_float(read_gray(file))).surround.mean() > 0.01, file.name
