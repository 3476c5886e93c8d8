"""``busaug despeckle`` on image files without a Catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.miniatures import picture, put, spot
from data.test_dicom import PERSONAL, dicom
from PIL import Image
from scipy.ndimage import laplace
from tolerances import TOLERANCES
from typer.testing import CliRunner

import busaug
from busaug.cli.app import app
from busaug.data.images import read_gray, to_float
from busaug.data.phantom import write_phantoms
from busaug.despeckle.figures import dark_and_bright, lesion_and_band, measure
from busaug.errors import InputError
from busaug.files import read_json, read_jsonl

FAST = ("--scales", "2", "--iterations", "3")


def run(source: Path, out: Path, *options: str):
    command = ["despeckle", str(source), str(out), *FAST, *options]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_single_file_keeps_its_depth(tmp_path, dtype):
    put(tmp_path / "scan (1).png", picture(1, dtype))
    result = run(tmp_path / "scan (1).png", tmp_path / "out")
    assert result.exit_code == 0
    assert "1 image despeckled, 0 skipped" in result.stdout
    assert files(tmp_path / "out") == [
        "figures.jsonl", "run.json", "scale_1/scan (1).png", "scale_2/scan (1).png",
        "skipped.jsonl", "strips/scan (1).png",
    ]  # fmt: skip
    found = read_gray(tmp_path / "out/scale_2/scan (1).png")
    assert found.pixels.dtype == dtype
    original = to_float(read_gray(tmp_path / "scan (1).png"))
    expected = busaug.srad(original, scales=2, iterations=3)[1]
    full = np.iinfo(dtype).max
    np.testing.assert_allclose(to_float(found), expected, rtol=0, atol=0.51 / full)


def test_a_folder_of_many_kinds_with_masks_and_a_bad_file(tmp_path):
    source = tmp_path / "in"
    put(source / "a.png", picture(1))
    put(source / "a.tif", picture(2, np.uint16))
    put(source / "deep" / "b.bmp", picture(3))
    put(source / "deep" / "b_mask.png", spot())
    dicom(source / "deep" / "IM1", picture(4), BurnedInAnnotation="YES")
    (source / "c.jpg").write_bytes(b"broken")
    put(source / "d.png", picture(5))
    put(source / "d_mask.png", np.zeros((9, 9), np.uint8))
    result = run(source, tmp_path / "out")
    assert "4 images despeckled, 2 skipped" in result.stdout
    scale = tmp_path / "out" / "scale_1"
    assert files(scale) == ["a.png.png", "a.tif.png", "deep/IM1.png", "deep/b.png"]
    assert read_gray(scale / "a.tif.png").bit_depth == 16
    rows = {row["file"]: row for row in read_jsonl(tmp_path / "out/figures.jsonl")}
    assert {name: row["areas"] for name, row in rows.items()} == {
        "a.png": "dark and bright",
        "a.tif": "dark and bright",
        "deep/IM1": "dark and bright",
        "deep/b.bmp": "lesion and band",
    }
    skipped = {r["file"]: r["reason"] for r in read_jsonl(tmp_path / "out/skipped.jsonl")}
    assert skipped["d.png"] == "d_mask.png is 9x9 px, its image 56x48 px"
    for file in (tmp_path / "out").rglob("*.*"):
        if file.is_file():
            data = file.read_bytes()
            assert str(tmp_path).encode() not in data
            assert not [v for v in PERSONAL.values() if v.encode() in data]


def test_figures_are_printed_and_speckle_falls(tmp_path):
    write_phantoms(tmp_path / "in", per_class=1, size=128, seed=0)
    file = tmp_path / "in" / "benign" / "benign (1).png"
    result = run(file, tmp_path / "out", "--iterations", "10")
    (row,) = read_jsonl(tmp_path / "out/figures.jsonl")
    looks, contrast, edges = row["looks"], row["contrast"], row["edges"]
    assert looks[0] < looks[1] < looks[2]
    assert edges[0] == pytest.approx(1)
    assert 1 > edges[1] > edges[2] > 0.5
    shown = [line.split() for line in result.stdout.splitlines()]
    assert ["2", "20", f"{looks[2]:.1f}", f"{contrast[2]:.2f}", f"{edges[2]:.3f}"] in shown
    assert read_json(tmp_path / "out/run.json")["summary"]["figures"]["looks"] == looks
    with Image.open(tmp_path / "out/strips/benign (1).png") as strip:
        assert strip.size[0] > 3 * 240


def test_figures_of_what_is_known():
    """Two areas of known means and spreads, with a step between them."""
    rng = np.random.default_rng(0)
    shape = (96, 120)
    lesion = np.zeros(shape, bool)
    lesion[30:60, 40:80] = True
    noisy = np.where(lesion, 0.2, 0.6) + rng.normal(0, 0.05, shape)
    smooth = np.where(lesion, 0.2, 0.6) + rng.normal(0, 0.01, shape)
    stack = np.stack([noisy, smooth, np.where(lesion, 0.2, 0.6)]).astype(np.float32)
    figures = measure(stack, (0, 0, 20, 100), lesion_and_band(lesion))
    bar = TOLERANCES["despeckling figures"]
    assert figures.looks[0] == pytest.approx((0.6 / 0.05) ** 2, rel=bar)
    assert figures.looks[1] == pytest.approx((0.6 / 0.01) ** 2, rel=bar)
    assert figures.contrast[0] == pytest.approx(0.4 / np.hypot(0.05, 0.05), rel=bar)
    assert figures.contrast[1] == pytest.approx(0.4 / np.hypot(0.01, 0.01), rel=bar)
    assert figures.edges[0] == pytest.approx(1)
    # speckle is no edge: Sattar's own index, on the bare Laplacian, is far lower
    bare = [laplace(image.astype(float)) for image in stack[:2]]
    sattar = np.corrcoef(bare[0].ravel(), bare[1].ravel())[0, 1]
    assert sattar < figures.edges[1] < 1

    dark, bright = dark_and_bright(stack[0])
    assert (dark == lesion).mean() > 0.97
    assert not (dark & bright).any()


def test_flat_images_have_no_figures():
    flat = np.full((2, 40, 40), 0.5, np.float32)
    lesion = np.zeros((40, 40), bool)
    lesion[:20] = True
    figures = measure(flat, (0, 0, 8, 8), lesion_and_band(lesion))
    assert figures.looks == (None, None)
    assert figures.contrast == (None, None)
    assert figures.edges == (None, None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gone", (), "gone does not exist"),
        ("empty", (), "holds no image .looked for PNG"),
        ("bad.png", (), "no image of .* could be despeckled: bad.png is no image"),
        ("good.png", ("--split", "train"), "--split train is for a Catalog"),
        ("good.png", ("--format", "webdataset"), "--format webdataset is for a Catalog"),
        ("good.png", ("--frame", "third"), "unknown frame 'third'"),
        ("good.png", ("--frame", "2"), "has 1 frame, not a frame 2"),
        ("good.png", ("--q0", "0,0,500,500"), "500x500 px does not lie in an image"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(tmp_path, name, options, message):
    put(tmp_path / "good.png", picture(1))
    (tmp_path / "bad.png").write_bytes(b"bad")
    (tmp_path / "empty").mkdir()
    before = files(tmp_path)
    with pytest.raises(InputError, match=message):
        run(tmp_path / name, tmp_path / "out", *options)
    assert files(tmp_path) == before


def test_a_frame_of_a_loop_is_despeckled(tmp_path):
    loop = np.stack([picture(number) for number in range(3)])
    dicom(tmp_path / "loop.dcm", loop, frames=3)
    put(tmp_path / "last.png", loop[2])
    run(tmp_path / "loop.dcm", tmp_path / "a", "--frame", "last")
    run(tmp_path / "last.png", tmp_path / "b")
    one = read_gray(tmp_path / "a/scale_2/loop.png").pixels
    np.testing.assert_array_equal(one, read_gray(tmp_path / "b/scale_2/last.png").pixels)
