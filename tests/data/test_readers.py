"""What the layouts mean: which files are images, which are masks, and of which class."""

from __future__ import annotations

from pathlib import Path

import pytest

from busaug.data.readers import READERS, choose_reader
from busaug.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


BUSI = (
    "benign/benign (1).png",
    "benign/benign (1)_mask.png",
    "benign/benign (1)_mask_1.png",
    "benign/benign (10).png",
    "normal/normal (1).png",
    "normal/normal (1)_mask.png",
)


def listed(folder, layout="auto"):
    reader = choose_reader(folder, layout)
    return reader.name, {
        found.key: (found.label, [Path(mask.name).name for mask in found.masks])
        for found in reader.read(folder)
    }


@pytest.mark.parametrize("inner", ["", "Dataset_BUSI_with_GT/"])
def test_busi_names_masks_and_the_archives_folder(tmp_path, inner):
    touch(tmp_path, *(inner + name for name in BUSI), "near_duplicates.csv", "notes/benign (9).png")
    assert listed(tmp_path) == (
        "busi",
        {
            "benign/benign (1).png": ("benign", ["benign (1)_mask.png", "benign (1)_mask_1.png"]),
            "benign/benign (10).png": ("benign", []),
            "normal/normal (1).png": ("normal", ["normal (1)_mask.png"]),
        },
    )


def test_a_class_tree_of_any_depth_and_extension(tmp_path):
    touch(
        tmp_path,
        "Benign/a.JPG",
        "Benign/left/b.tiff",
        "Benign/left/b_mask.png",
        "cyst/c.bmp",
        "cyst/.hidden.png",
        "cyst/readme.txt",
        ".cache/d.png",
        "loose.png",
    )
    assert listed(tmp_path) == (
        "folder",
        {
            "Benign/a.JPG": ("Benign", []),
            "Benign/left/b.tiff": ("Benign", ["b_mask.png"]),
            "cyst/c.bmp": ("cyst", []),
        },
    )


def test_an_orphan_mask_is_reported_as_its_missing_image(tmp_path):
    touch(tmp_path, "benign/benign (1).png", "benign/benign (2)_mask.png")
    _, found = listed(tmp_path)
    assert found["benign/benign (2).png"] == ("benign", ["benign (2)_mask.png"])


def test_a_layout_can_be_forced(tmp_path):
    touch(tmp_path, *BUSI, "cyst/c.bmp")
    assert listed(tmp_path)[0] == "busi"
    name, found = listed(tmp_path, "folder")
    assert name == "folder"
    assert "cyst/c.bmp" in found


def test_every_reader_finds_nothing_in_an_empty_folder(tmp_path):
    assert READERS
    for reader in READERS:
        assert not reader.matches(tmp_path)
        with pytest.raises(InputError, match="looked for") as caught:
            choose_reader(tmp_path, reader.name)
        assert reader.looks_for in caught.value.what


def test_what_is_no_folder_or_layout_is_named(tmp_path):
    with pytest.raises(InputError, match="gone does not exist"):
        choose_reader(tmp_path / "gone")
    file = tmp_path / "file.png"
    file.touch()
    with pytest.raises(InputError, match=r"file\.png is a file"):
        choose_reader(file)
    with pytest.raises(InputError, match=r"'busbra'.*auto, busi, .*, bus-bra, .*, folder"):
        choose_reader(tmp_path, "busbra")


@pytest.mark.real
def test_the_real_folders(busi_256, busi_native):
    name, found = listed(busi_256)
    labels = [label for label, _ in found.values()]
    assert name == "busi"
    assert [labels.count(x) for x in ("benign", "malignant", "normal")] == [437, 210, 20]
    assert all(masks for _, masks in listed(busi_native)[1].values())
