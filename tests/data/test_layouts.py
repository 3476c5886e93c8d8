"""The public data sets in miniature: what their readers find, and the Catalogs made of them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data import miniatures
from data.miniatures import picture, put, rf_lines, spot, workbook
from tolerances import TOLERANCES

from busaug.data.catalog import Catalog, shared_groups
from busaug.data.images import read_gray, read_mask
from busaug.data.ingest import prepare
from busaug.data.readers import choose_reader
from busaug.data.readers.oasbud import b_mode
from busaug.errors import InputError
from busaug.files import read_jsonl

# images found by class; found by class but unfit; patients or cases that the data set tells
COUNTS = {
    "busi": ({"benign": 4, "malignant": 4, "normal": 4}, {}, None),
    "curated-busi": ({"benign": 4, "malignant": 4, "normal": 4}, {}, None),
    "udiat": ({"benign": 6, "malignant": 4}, {}, None),
    "bus-bra": ({"benign": 8, "malignant": 8}, {}, 8),
    "breast": ({"benign": 4, "malignant": 5, "normal": 1}, {}, 10),
    "bus-uclm": (
        {"benign": 9, "malignant": 9, "normal": 3},
        {"Doppler frame": 1, "combined frame": 2},
        7,
    ),
    "breastmnist": ({"benign": 10, "malignant": 11}, {}, None),
    "oasbud": ({"benign": 10, "malignant": 10}, {}, 10),
    "gdph-sysucc": ({"benign": 10, "malignant": 10}, {}, None),
    "csv": ({"benign": 4, "malignant": 4}, {}, 4),
    "folder": ({"Benign": 5, "Malignant": 5}, {}, None),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    return {name: make(root / f"{name} set") for name, make in miniatures.ALL.items()}


@pytest.fixture(scope="module")
def catalogs(sets, tmp_path_factory):
    """Every set's Catalog, all classes, and what ``prepare`` told of it."""
    root = tmp_path_factory.mktemp("catalogs")
    made = {}
    for name, folder in sets.items():
        summary = prepare([folder], root / name, classes=None, overlays=False)
        made[name] = Catalog.load(root / name), summary
    return made


@pytest.mark.parametrize("name", COUNTS)
def test_auto_knows_the_layout_and_finds_every_image(sets, name):
    classes, unfit, groups = COUNTS[name]
    reader = choose_reader(sets[name])
    found = reader.read(sets[name])
    assert reader.name == name
    assert Counter(f.label for f in found) == classes
    assert Counter(f.unfit for f in found if f.unfit) == unfit
    patients = {f.group for f in found if f.group}
    assert len(patients) == (groups or 0)
    assert [f.key for f in found] == sorted(f.key for f in found)
    assert len({f.key for f in found}) == len(found)


@pytest.mark.parametrize("name", COUNTS)
def test_a_forced_layout_says_what_it_looked_for(tmp_path, name):
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match="holds no data set") as caught:
        choose_reader(tmp_path, name)
    assert caught.value.what.count("looked for") == 1


@pytest.mark.parametrize("name", COUNTS)
def test_patients_and_near_duplicates_never_part(catalogs, name):
    catalog, summary = catalogs[name]
    assert summary.shared_groups == 0
    assert shared_groups(catalog.records) == []
    assert all(read_gray(catalog.path(r)).pixels.shape == (r.height, r.width)
               for r in catalog.records)  # fmt: skip


def test_busi_masks_are_joined_and_black_ones_none(catalogs):
    catalog, _ = catalogs["busi"]
    masks = {r.id: r.mask for r in catalog.records}
    both = read_mask(catalog.root / masks["busi-set-benign-0001"])
    np.testing.assert_array_equal(both, (spot() | spot(top=30, left=40)) > 0)
    assert masks["busi-set-normal-0001"] is None


def test_udiat_numbers_find_their_files(catalogs):
    catalog, _ = catalogs["udiat"]
    record = catalog.by_id["udiat-set-malignant-000010"]
    assert record.source == "udiat-set/original/000010.png"
    np.testing.assert_array_equal(read_gray(catalog.path(record)).pixels, picture(2010))
    np.testing.assert_array_equal(read_mask(catalog.mask_path(record)), spot() > 0)


def test_bus_bra_cases_stay_together_and_folds_are_kept(catalogs):
    catalog, summary = catalogs["bus-bra"]
    left, right = (catalog.by_id[f"bus-bra-set-malignant-bus_0003-{side}"] for side in "lr")
    assert left.group == right.group
    assert summary.groups == 8
    # the mask of 0008-r is of another size, as a few of the published ones are
    (skipped,) = read_jsonl(catalog.root / "skipped.jsonl")
    assert skipped["reason"].endswith("mask_0008-r.png is 56x40 px, its image 56x48 px")
    folds = {row["id"]: row for row in read_jsonl(catalog.root / "folds.jsonl")}
    assert len(folds) == 15
    assert folds[left.id] == {"id": left.id, "5-fold-cv": "3", "10-fold-cv": "3"}
    assert folds["bus-bra-set-benign-bus_0006-l"]["5-fold-cv"] == "1"


def test_breast_masks_joined_by_an_ampersand(catalogs):
    catalog, _ = catalogs["breast"]
    mask = read_mask(catalog.mask_path(catalog.by_id["breast-set-malignant-case0003"]))
    expected = spot() | spot(top=30) | spot(top=30, left=40)
    np.testing.assert_array_equal(mask, expected > 0)
    assert catalog.by_id["breast-set-normal-case0010"].mask is None


def test_bus_uclm_drops_and_counts_doppler_and_combined_frames(catalogs):
    catalog, summary = catalogs["bus-uclm"]
    assert summary.unfit_images == {"Doppler frame": 1, "combined frame": 2}
    assert len(catalog.records) == 18
    rows = read_jsonl(catalog.root / "dropped.jsonl")
    assert {row["file"]: row["reason"] for row in rows} == {
        "bus-uclm-set/images/ANFO_002.png": "Doppler frame, says the data set",
        "bus-uclm-set/images/COPE_001.png": "combined frame, says the data set",
        "bus-uclm-set/images/COPE_002.png": "combined frame, says the data set",
    }
    groups = {r.source.split("/")[-1][:4]: r.group for r in catalog.records}
    assert len(set(groups.values())) == 7
    for record in catalog.records:
        if record.label != "normal":
            np.testing.assert_array_equal(read_mask(catalog.mask_path(record)), spot() > 0)


def test_bus_uclm_flags_are_yes_unless_they_say_no(tmp_path):
    flags = {"No": None, "0": None, "False": None, "": None, "1": "Doppler frame",
             "YES": "Doppler frame", "power": "Doppler frame"}  # fmt: skip
    rows = [f"A{n:03d};Benign;{flag};no" for n, flag in enumerate(flags)]
    (tmp_path / "images").mkdir()
    (tmp_path / "INFO.csv").write_text("\n".join(["Image;Label;Doppler;Combined", *rows]))
    found = choose_reader(tmp_path, "bus-uclm").read(tmp_path)
    assert [f.unfit for f in found] == list(flags.values())


def test_sets_are_found_two_folders_down(sets):
    """Archives unpack into folders of their own."""
    for name in ("curated-busi", "bus-bra", "breast", "bus-uclm", "gdph-sysucc"):
        above = sets[name].parent / f"above {name}"
        above.mkdir()
        (above / "archive").symlink_to(sets[name])
        reader = choose_reader(above)
        assert reader.name == name
        assert len(reader.read(above)) == sum(COUNTS[name][0].values())


def test_breastmnist_zero_is_malignant_and_duplicates_group_across_its_splits(catalogs):
    catalog, summary = catalogs["breastmnist"]
    first = catalog.by_id["breastmnist-set-malignant-train-0001"]
    np.testing.assert_array_equal(
        read_gray(catalog.path(first)).pixels, picture(6000, shape=(64, 64))
    )
    twins = [catalog.by_id[f"breastmnist-set-malignant-{name}"] for name in
             ("train-0003", "test-0001")]  # fmt: skip
    assert twins[0].group == twins[1].group
    assert twins[0].split == twins[1].split
    assert summary.near_duplicate_images == 2


def test_breastmnist_of_28_pixels_is_refused_and_the_largest_is_taken(tmp_path):
    miniatures.breastmnist(tmp_path, side=28)
    with pytest.raises(InputError, match=r"28x28 px. Give breastmnist_224\.npz"):
        choose_reader(tmp_path).read(tmp_path)
    miniatures.breastmnist(tmp_path, side=64)
    miniatures.breastmnist(tmp_path, side=128)
    assert choose_reader(tmp_path).read(tmp_path)[0].key.startswith("breastmnist_128.npz/")


def test_oasbud_envelope_is_that_of_the_echoes(catalogs):
    rf, envelope = rf_lines(7000)
    mean = envelope.reshape(120, 4, 64).mean(axis=1)
    expected = np.clip(1 + 20 * np.log10(mean / mean.max()) / 50, 0, 1)
    inner = slice(3, -3)  # the transform is periodic
    found = b_mode(rf)[inner] / 255
    assert np.abs(found - expected[inner]).max() < TOLERANCES["RF envelope, absolute gray"]

    catalog, _ = catalogs["oasbud"]
    record = catalog.by_id["oasbud-set-benign-0001-view0001"]
    np.testing.assert_array_equal(read_gray(catalog.path(record)).pixels, b_mode(rf))
    mask = read_mask(catalog.mask_path(record))
    assert mask.shape == (120, 64)
    assert mask[25:50, 12:24].all()
    assert mask.sum() == 25 * 12
    assert catalog.by_id["oasbud-set-benign-0001-view0002"].group == record.group


def test_silence_is_black():
    assert not b_mode(np.zeros((64, 40))).any()


def test_gdph_and_sysucc_keep_their_folds(catalogs):
    catalog, _ = catalogs["gdph-sysucc"]
    folds = {row["id"]: row["fold"] for row in read_jsonl(catalog.root / "folds.jsonl")}
    assert len(folds) == 20
    sources = Counter(r.source.split("/")[1] for r in catalog.records)
    assert sources == {"GDPH": 10, "SYSUCC": 10}


def test_a_csv_tables_masks_patients_and_depth(catalogs):
    catalog, _ = catalogs["csv"]
    assert {r.bit_depth for r in catalog.records} == {16}
    record = next(r for r in catalog.records if r.source.endswith("münchen 3.tif"))
    np.testing.assert_array_equal(read_mask(catalog.mask_path(record)), (spot() | spot(top=30)) > 0)
    assert len({r.group for r in catalog.records}) == 4


def test_splits_above_class_folders_are_no_classes(tmp_path):
    found = choose_reader(miniatures.split_tree(tmp_path)).read(tmp_path)
    assert Counter(f.label for f in found) == {"benign": 6, "malignant": 6}
    assert "train/benign/0.png" in {f.key for f in found}


def test_sets_join_into_one_catalog(sets, tmp_path):
    copy = tmp_path / "copy"
    put(copy / "benign" / "again.png", np.clip(picture(2003) + 2.0, 0, 255).astype(np.uint8))
    put(copy / "malignant" / "other.png", picture(99))
    names = ("udiat", "bus-bra", "oasbud", "csv")
    summary = prepare([*(sets[n] for n in names), copy], tmp_path / "out", overlays=False)
    catalog = Catalog.load(tmp_path / "out")
    sources = Counter(r.source.split("/")[0] for r in catalog.records)
    assert sources == {"udiat-set": 10, "bus-bra-set": 15, "oasbud-set": 20, "csv-set": 8,
                       "copy": 2}  # fmt: skip
    assert summary.near_duplicate_images == 2
    twin = catalog.by_id["udiat-set-benign-000003"]
    assert catalog.by_id["copy-benign-again"].group == twin.group


@pytest.mark.parametrize("name", ["../outside.png", "/etc/a.png", "C:\\a.png", "a/../../b.png"])
@pytest.mark.parametrize("column", ["image", "mask"])
def test_a_table_that_leads_outside_is_refused(tmp_path, name, column):
    cells = {"image": "a.png", "mask": "b.png", column: name}
    (tmp_path / "t.csv").write_text(f"file,mask,label\n{cells['image']},{cells['mask']},benign\n")
    with pytest.raises(InputError, match="outside of its folder"):
        choose_reader(tmp_path).read(tmp_path)


def test_what_is_wrong_in_a_table_is_named(tmp_path):
    def refused(message, name="bus-uclm"):
        with pytest.raises(InputError, match=message):
            choose_reader(tmp_path, name).read(tmp_path)

    put(tmp_path / "images" / "ANFO_000.png", picture(0))
    table = tmp_path / "INFO.csv"
    table.write_text("Image;Label;Doppler\nANFO_000;Benign;No\n")
    refused("no column 'combined' .it has 'image', 'label', 'doppler'")
    table.unlink()
    (tmp_path / "t.csv").write_text("file,class\na.png,benign\na.png,malignant\n")
    refused(r"'a\.png' twice", "csv")
    (tmp_path / "t.csv").write_text("file,class\na.exe,benign\n")
    refused(r"'a\.exe', which is no image", "csv")


def test_udiat_without_its_workbook_is_named(tmp_path):
    put(tmp_path / "original" / "000001.png", picture(0))
    (tmp_path / "GT").mkdir()
    with pytest.raises(InputError, match=r"DatasetB\.xlsx does not exist"):
        choose_reader(tmp_path).read(tmp_path)
    (tmp_path / "DatasetB.xlsx").write_bytes(b"PK\3\4 no workbook")
    with pytest.raises(InputError, match=r"cannot be read as an Excel workbook \(BadZipFile"):
        choose_reader(tmp_path).read(tmp_path)
    workbook(tmp_path / "DatasetB.xlsx", {"A": [("Picture", "Type")]})
    with pytest.raises(InputError, match="no column 'Image'"):
        choose_reader(tmp_path).read(tmp_path)


def test_breast_without_its_workbook_is_named(sets, tmp_path):
    put(tmp_path / "case001.png", picture(0))
    with pytest.raises(InputError, match="no workbook"):
        choose_reader(tmp_path).read(tmp_path)


def test_a_missing_library_is_named_with_its_remedy(sets, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openpyxl" else find(name)
    )
    with pytest.raises(InputError, match=r"openpyxl is not installed.*busaug\[excel\]"):
        choose_reader(sets["udiat"]).read(sets["udiat"])


def test_images_that_a_table_names_and_are_gone_are_skipped(tmp_path):
    folder = miniatures.udiat(tmp_path / "udiat")
    (folder / "original" / "000002.png").unlink()
    prepare([folder], tmp_path / "out", overlays=False)
    (skipped,) = read_jsonl(tmp_path / "out" / "skipped.jsonl")
    assert skipped == {
        "file": "udiat/original/000002.png",
        "reason": "udiat/original/000002.png does not exist",
    }


@pytest.mark.real
def test_busi_as_published(busi_256: Path, busi_native: Path) -> None:
    found = choose_reader(busi_256).read(busi_256)
    assert Counter(f.label for f in found) == {"benign": 437, "malignant": 210, "normal": 20}
    assert sum(bool(f.masks) for f in found) == 35 + 50 + 20
    native = choose_reader(busi_native).read(busi_native)
    assert Counter(f.label for f in native) == {"benign": 10, "malignant": 10}
    assert all(f.masks for f in native)
