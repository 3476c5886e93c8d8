"""Damaged files: every decoder and reader ends in success or one InputError.

Files are mutated at random (drawn from fixed seeds, so that a failure repeats) and read as
``busaug`` would. ``BUSAUG_FUZZ=100000 pytest tests/data/test_fuzz.py`` takes that many cases in
place of 10,000. A failing case is left in the test's temporary folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.torch
import tifffile
import torch
from data import miniatures
from data.miniatures import colour, opaque, picture
from data.test_dicom import dicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from busaug.data.archives import read_member
from busaug.data.catalog import Catalog, Record
from busaug.data.decoders import decode
from busaug.data.images import encode_png, read_mask
from busaug.data.readers import READERS
from busaug.data.tar import TarWriter
from busaug.errors import InputError
from busaug.models.weights import resolve_weights

CASES = int(os.environ.get("BUSAUG_FUZZ", "10000"))

GRAY = picture(1, shape=(32, 36))


@dataclass(frozen=True)
class Target:
    """Something that reads files it does not trust."""

    share: int
    """Of 10,000 cases."""
    make: Callable[[Path], Path]
    """Fills a folder with what is whole; the path of the file to mutate."""
    read: Callable[[Path], object]
    """Reads that file."""


def encoded(name, picture_, **options):
    def make(folder):
        Image.fromarray(picture_).save(folder / name, **options)
        return folder / name

    return make


def paged_tiff(folder):
    tifffile.imwrite(folder / "a.tif", np.stack([GRAY, GRAY]), compression="zlib")
    return folder / "a.tif"


def palette(folder):
    Image.fromarray(GRAY).convert("P").save(folder / "a.png", transparency=7)
    return folder / "a.png"


def array(folder):
    np.save(folder / "a.npy", GRAY)
    return folder / "a.npy"


def jpeg_dicom(folder):
    buffer = io.BytesIO()
    Image.fromarray(colour(GRAY)).save(buffer, "JPEG")
    data = encapsulate([buffer.getvalue()])
    return dicom(folder / "a.dcm", colour(GRAY), "YBR_FULL_422", JPEGBaseline8Bit, data=data)


def loop_dicom(folder):
    return dicom(folder / "a.dcm", np.stack([GRAY, GRAY]), "MONOCHROME1", frames=2)


def tar(folder):
    with TarWriter(folder / "a.tar") as archive:
        archive.add("a.png", encode_png(GRAY))
        archive.add("b" * 150 + ".png", b"text")
    return folder / "a.tar"


def parquet(folder):
    table = pyarrow.table({"image": [{"path": "a.png", "bytes": encode_png(GRAY)}]})
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


def catalog(folder):
    record = Record("a", "a.png", "benign", "g", "train", "0" * 64, 36, 32, 8, "s/a.png", "m.png")
    Catalog(folder, (record,)).save()
    return folder / "catalog.jsonl"


def safe_weights(folder):
    safetensors.torch.save_file({"fc.weight": torch.zeros(2, 3)}, folder / "a.safetensors")
    return folder / "a.safetensors"


def torch_weights(folder):
    torch.save({"fc.weight": torch.zeros(2, 3)}, folder / "a.pth")
    return folder / "a.pth"


def table_of(make_set, pattern):
    def make(folder):
        make_set(folder)
        return next(folder.rglob(pattern))

    return make


def member(path):
    with contextlib.suppress(InputError):
        read_member(path / ("b" * 150 + ".png"))
    return decode(path / "a.png")


def listed(path):
    """What ``auto`` does with the folder, without the layouts that take any tree."""
    folder = path.parent
    while folder.parent.name != "whole":
        folder = folder.parent
    for reader in READERS:
        if reader.matches(folder):
            return [found.image.gray("first") for found in reader.read(folder)[:2]]
    raise InputError("nothing is found", remedy="None")


TARGETS = {
    "png": Target(1200, encoded("a.png", GRAY), decode),
    "png, 16 bits": Target(500, encoded("a.png", GRAY.astype(np.uint16) * 257), decode),
    "png, opacity": Target(500, encoded("a.png", opaque(GRAY)), decode),
    "png, palette": Target(400, palette, decode),
    "jpeg": Target(900, encoded("a.jpg", colour(GRAY)), decode),
    "bmp": Target(600, encoded("a.bmp", GRAY), decode),
    "tiff": Target(700, encoded("a.tif", GRAY), decode),
    "tiff, pages": Target(400, paged_tiff, lambda path: decode(path, "last")),
    "mask": Target(300, encoded("a.png", colour(GRAY)), read_mask),
    "npy": Target(1000, array, decode),
    "dicom, loop": Target(800, loop_dicom, lambda path: decode(path, "last")),
    "dicom, jpeg": Target(500, jpeg_dicom, decode),
    "tar": Target(500, tar, member),
    "parquet": Target(200, parquet, member),
    "catalog": Target(400, catalog, lambda path: Catalog.load(path.parent)),
    "safetensors": Target(150, safe_weights, lambda path: resolve_weights(str(path))),
    "pth": Target(100, torch_weights, lambda path: resolve_weights(str(path))),
    "bus-bra": Target(150, table_of(miniatures.bus_bra, "bus_data.csv"), listed),
    "bus-uclm": Target(150, table_of(miniatures.bus_uclm, "INFO.csv"), listed),
    "csv": Target(250, table_of(miniatures.csv_table, "*.csv"), listed),
    "udiat": Target(100, table_of(miniatures.udiat, "*.xlsx"), listed),
    "breastmnist": Target(100, table_of(miniatures.breastmnist, "*.npz"), listed),
    "oasbud": Target(100, table_of(miniatures.oasbud, "*.mat"), listed),
}


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The data with one to four changes: bits, bytes, runs, words at the ends of their range,
    pieces cut, repeated or strewn in."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not changed:
            break
        # half of the changes among the first bytes, where headers are
        reach = min(len(changed), 256) if rng.random() < 0.5 else len(changed)
        at = int(rng.integers(reach))
        length = int(rng.integers(1, 17))
        match rng.integers(8):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                changed[at] = int(rng.integers(256))
            case 2:
                changed[at : at + length] = rng.bytes(length)
            case 3:
                word = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\1\0"])
                changed[at : at + len(word)] = word
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = changed[at : at + length]
            case 6:
                changed[at:at] = rng.bytes(length)
            case 7:
                del changed[at if rng.random() < 0.3 else max(at, len(changed) - 64) :]
    return bytes(changed)


def test_shares_are_all():
    assert sum(target.share for target in TARGETS.values()) == 10_000


@pytest.mark.parametrize("name", TARGETS)
def test_damage_ends_in_success_or_one_named_error(tmp_path, name):
    target = TARGETS[name]
    (tmp_path / "whole" / "set").mkdir(parents=True)
    file = target.make(tmp_path / "whole" / "set")
    whole = file.read_bytes()
    target.read(file)
    refusals: list[InputError] = []
    for number in range(max(1, CASES * target.share // 10_000)):
        rng = np.random.default_rng([number, len(name)])
        file.write_bytes(mutated(whole, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries' remarks on odd files
            try:
                target.read(file)
            except InputError as error:
                refusals.append(error)
            except Exception as error:
                kept = tmp_path / f"case-{number}"
                kept.write_bytes(file.read_bytes())
                pytest.fail(f"{kept}: {type(error).__name__}: {error}")
    assert refusals, "no case was damaged enough to be refused"
    for error in refusals:
        assert error.what
        assert error.remedy
        assert "\n" not in str(error)


def test_a_bomb_in_a_png_is_refused(tmp_path):
    """Some kilobytes that would unpack to 200 megapixels."""
    side = 14_000
    image = Image.new("1", (side, side))
    image.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 1_000_000
    with pytest.raises(InputError, match="pixels"):
        decode(tmp_path / "a.png")


def test_a_workbook_that_claims_a_million_empty_rows_is_refused(tmp_path):
    miniatures.udiat(tmp_path)
    book = openpyxl.load_workbook(tmp_path / "DatasetB.xlsx")
    book.active.cell(1_000_000, 16_000).value = "far"
    book.save(tmp_path / "DatasetB.xlsx")
    with pytest.raises(InputError, match="more than 200000 rows"):
        READERS[2].read(tmp_path)


def test_a_bomb_in_a_workbook_is_refused(tmp_path):
    folder = miniatures.udiat(tmp_path / "udiat")
    with zipfile.ZipFile(folder / "DatasetB.xlsx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/media/a.bin", bytes(2**28))
    with pytest.raises(InputError, match="unpacks to more than 256 MiB"):
        READERS[2].read(folder)


def test_a_member_that_leads_outside_is_never_written(tmp_path):
    """Members are read by name from where they lie; nothing is unpacked to disk."""
    folder = tmp_path / "in"
    folder.mkdir()
    with TarWriter(folder / "a.tar") as archive:
        archive.add("../outside.png", encode_png(GRAY))
        archive.add("/tmp/outside.png", encode_png(GRAY))
    with pytest.raises(InputError, match="holds no outside"):
        decode(folder / "a.tar" / "outside.png")
    row = {**json.loads(catalog(folder).read_text()), "file": "a.tar/../../outside.png"}
    (folder / "catalog.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="outside the Catalog"):
        Catalog.load(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
