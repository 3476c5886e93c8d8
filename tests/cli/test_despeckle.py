"""``busaug despeckle`` as a user runs it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tolerances import TOLERANCES
from typer.testing import CliRunner

import busaug
from busaug.cli.app import app
from busaug.data.archives import read_member
from busaug.data.catalog import Catalog, Record
from busaug.data.images import pixel_hash, read_gray, read_mask, to_float, write_mask, write_pixels
from busaug.despeckle import scales
from busaug.errors import InputError, OutputError
from busaug.files import read_json, read_jsonl

FAST = ["--scales", "2", "--iterations", "3"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Three 8-bit images and a 16-bit one of another size, one with masks."""
    root = tmp_path / "catalog"
    rng = np.random.default_rng(0)
    records = []
    for index, (label, bits, shape) in enumerate(
        [
            ("benign", 8, (40, 48)),
            ("benign", 16, (64, 33)),
            ("malignant", 8, (40, 48)),
            ("malignant", 8, (40, 48)),
        ]
    ):
        levels = (2**bits - 1) * np.clip(rng.gamma(9, 1 / 18, shape), 0, 1)
        pixels = levels.astype(np.uint8 if bits == 8 else np.uint16)
        name = f"{label}-{index}"
        write_pixels(root / "images" / f"{name}.png", pixels)
        records.append(
            Record(
                id=name,
                file=f"images/{name}.png",
                label=label,
                group=f"g{index}",
                split="train" if index < 3 else "test",
                sha256=pixel_hash(pixels),
                width=shape[1],
                height=shape[0],
                bit_depth=bits,
                source=f"made/{name}",
                mask=f"masks/{name}.png" if index == 0 else None,
                overlay=f"masks/{name}_marks.png" if index == 0 else None,
            )
        )
    mask = np.zeros((40, 48), bool)
    mask[10:20, 12:30] = True
    write_mask(root / "masks/benign-0.png", mask)
    write_mask(root / "masks/benign-0_marks.png", ~mask)
    made = Catalog(root, tuple(records))
    made.save()
    return Catalog.load(root)


def run(catalog: Catalog, out: Path, *options: str):
    command = ["despeckle", str(catalog.root), str(out), *FAST, *options]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_every_scale_is_a_catalog(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(catalog, out)
    assert result.exit_code == 0
    assert "4 images despeckled, 0 skipped" in result.stdout
    for number in (1, 2):
        scale = Catalog.load(out / f"scale_{number}")
        assert [r.id for r in scale.records] == [r.id for r in catalog.records]
        for before, after in zip(catalog.records, scale.records, strict=True):
            original, found = read_gray(catalog.path(before)), read_gray(scale.path(after))
            expected = busaug.srad(to_float(original), scales=2, iterations=3)[number - 1]
            step = 0.5 / (2**before.bit_depth - 1) + TOLERANCES["srad twin, float32 absolute"]
            np.testing.assert_allclose(to_float(found), expected, rtol=0, atol=step)
            assert after.sha256 == pixel_hash(found.pixels) != before.sha256
            assert (after.label, after.split, after.group) == (
                before.label,
                before.split,
                before.group,
            )
            assert found.bit_depth == before.bit_depth
            assert after.source == f"scale_{number} of {before.source}"
        for name in ("masks/benign-0.png", "masks/benign-0_marks.png"):
            assert (scale.root / name).read_bytes() == (catalog.root / name).read_bytes()


def test_strips_and_figures(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(catalog, out)
    assert sorted(path.name for path in (out / "strips").iterdir()) == [
        "benign-0.png",
        "malignant-2.png",
    ]
    with Image.open(out / "strips/benign-0.png") as strip:
        panel = 240 * 48 // 40
        assert strip.width == 3 * (panel + 6) + 6  # original and two scales
        assert len(set(np.asarray(strip.convert("L")).ravel().tolist())) > 50
    rows = read_jsonl(out / "speckle.jsonl")
    summary = read_json(out / "run.json")["summary"]
    for row, record in zip(rows, catalog.records, strict=True):
        top, left, height, width = row["window"]
        window = to_float(read_gray(catalog.path(record)))[top : top + height, left : left + width]
        assert row["variation"][0] == pytest.approx(window.std() / window.mean(), rel=1e-5)
        assert row["variation"][0] > row["variation"][1] > row["variation"][2]
    medians = np.median([row["variation"] for row in rows], axis=0)
    assert summary["variation"] == pytest.approx(medians.tolist())
    assert summary["equivalent_looks"] == pytest.approx((1 / medians**2).tolist())
    assert f"{medians[2]:.4f}" in result.stdout


def test_shards_hold_what_loose_files_hold(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards, one image with masks."""
    monkeypatch.setattr(scales, "SHARD", 2)
    run(catalog, tmp_path / "loose")
    run(catalog, tmp_path / "packed", "--format", "webdataset")
    for name in ("scale_1", "scale_2"):
        loose, packed = (Catalog.load(tmp_path / kind / name) for kind in ("loose", "packed"))
        shards = [f"shards/shard-00000{number}.tar" for number in range(2)]
        assert sorted(str(p.relative_to(packed.root)) for p in packed.root.rglob("*.tar")) == shards
        assert len(list(packed.root.rglob("*"))) == 4  # a Catalog, a folder, the shards
        for one, other in zip(loose.records, packed.records, strict=True):
            assert read_member(packed.path(other)) == loose.path(one).read_bytes()
            moved = {kind: getattr(one, kind) for kind in ("file", "mask", "overlay")}
            assert dataclasses.replace(other, **moved) == one
            if (mask := packed.mask_path(other)) is not None:
                np.testing.assert_array_equal(read_mask(mask), read_mask(loose.mask_path(one)))
        with tarfile.open(packed.root / shards[0]) as archive:
            samples = [name.partition(".") for name in archive.getnames()]
        kinds = ["png", "mask.png", "overlay.png", "json", "cls"]
        assert [kind for name, _, kind in samples if name == "benign-0"] == kinds
    assert (
        read_json(tmp_path / "packed/run.json")["summary"]
        == read_json(tmp_path / "loose/run.json")["summary"]
    )


def test_a_packed_catalog_is_despeckled_to_loose_files(catalog: Catalog, tmp_path: Path) -> None:
    run(catalog, tmp_path / "packed", "--format", "webdataset")
    source = Catalog.load(tmp_path / "packed/scale_2")
    run(source, tmp_path / "out")
    made = Catalog.load(tmp_path / "out/scale_1")
    assert made.records[0].file == "images/benign/benign-0.png"
    assert made.path(made.records[0]).is_file()
    for before, after in zip(source.records, made.records, strict=True):
        assert read_gray(made.path(after)).pixels.shape == (before.height, before.width)
    mask, overlay = made.records[0].mask, made.records[0].overlay
    assert (made.root / mask).read_bytes() == (catalog.root / "masks/benign-0.png").read_bytes()
    assert overlay == "overlays/benign-0.png"


def test_many_images_mean_shards() -> None:
    assert scales.parse_format("auto", 10_000) == "png"
    assert scales.parse_format("auto", 10_001) == "webdataset"
    assert scales.parse_format("png", 10_001) == "png"


def test_runs_repeat_byte_for_byte(catalog: Catalog, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(catalog, tmp_path / name)
    ours = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(ours) > 15
    for path in ours:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes(), path
    assert str(tmp_path) not in (tmp_path / "one/run.json").read_text()


def test_a_bad_image_is_skipped_and_listed(catalog: Catalog, tmp_path: Path) -> None:
    broken = catalog.path(catalog.records[2])
    broken.write_bytes(broken.read_bytes()[:200])
    (catalog.root / "masks/benign-0.png").unlink()
    result = run(catalog, tmp_path / "out")
    assert result.exit_code == 0
    assert "2 images despeckled, 2 skipped" in result.stdout
    assert "warning: skipped malignant-2" in result.stderr
    skipped = read_jsonl(tmp_path / "out/skipped.jsonl")
    assert [row["id"] for row in skipped] == ["benign-0", "malignant-2"]
    assert "benign-0.png does not exist" in skipped[0]["reason"]
    assert broken.name in skipped[1]["reason"]
    scale = Catalog.load(tmp_path / "out/scale_1")
    assert [record.id for record in scale.records] == ["benign-1", "malignant-3"]


def test_options_reach_the_diffusion(catalog: Catalog, tmp_path: Path) -> None:
    options = ["--q0", "2,3,20,30", "--form", "2", "--domain", "linear", "--time-step", "0.25"]
    run(catalog, tmp_path / "out", *options, "--split", "test")
    (record,) = Catalog.load(tmp_path / "out/scale_2").records
    assert record.id == "malignant-3"
    expected = busaug.srad(
        to_float(read_gray(catalog.root / record.file)),
        scales=2,
        iterations=3,
        q0=(2, 3, 20, 30),
        form=2,
        domain="linear",
        time_step=0.25,
    )[1]
    found = to_float(read_gray(tmp_path / "out/scale_2" / record.file))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.51 / 255)
    config = read_json(tmp_path / "out/run.json")["identity"]["config"]["srad"]
    assert config["q0"] == [2, 3, 20, 30]
    assert json.dumps(config)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--scales", "0"], "scales=0"),
        (["--time-step", "2"], r"time_step=2\.0"),
        (["--q0", "region"], "q0='region'"),
        (["--q0", "-1"], r"q0=-1\.0"),
        (["--q0", "0,0,500,500"], "500x500 px does not lie in an image"),
        (["--form", "3"], "form=3"),
        (["--domain", "db"], "domain='db'"),
        (["--split", "holdout"], "holdout"),
        (["--split", "val"], "val"),
        (["--format", "parquet"], "unknown --format 'parquet'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    catalog: Catalog, tmp_path: Path, options: list[str], problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        run(catalog, tmp_path / "out", *options)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog"]


def test_a_folder_in_use_is_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not an empty folder"):
        run(catalog, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.real
def test_speckle_falls_and_the_lesion_stays_on_real_images(busi_256: Path) -> None:
    image = to_float(read_gray(busi_256 / "benign/benign (1).png"))
    scales = busaug.srad(image)
    falls = [float(np.abs(np.diff(scale, axis=1)).mean()) for scale in (image, *scales)]
    assert all(later < earlier for earlier, later in itertools.pairwise(falls))
    lesion, tissue = image[98:108, 134:152], image[70:85, 130:160]
    kept = scales[1][98:108, 134:152].mean() - scales[1][70:85, 130:160].mean()
    assert kept / (lesion.mean() - tissue.mean()) > 0.8
