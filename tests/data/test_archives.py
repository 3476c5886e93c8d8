"""Catalog paths that lead into tar and Parquet files."""

from __future__ import annotations

import importlib.util
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busaug.data import archives
from busaug.data.archives import is_member, read_member
from busaug.data.images import encode_png, read_gray, write_pixels
from busaug.data.tar import TarWriter, is_whole
from busaug.errors import InputError

PIXELS = np.arange(32 * 40, dtype=np.uint16).reshape(32, 40) * 51
PNG = encode_png(PIXELS)
Write = Callable[[Path, Mapping[str, bytes]], Path]


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with TarWriter(path) as archive:
        for name, data in members.items():
            archive.add(name, data)
    return path


def write_parquet(path: Path, members: Mapping[str, bytes]) -> Path:
    images = [{"path": name, "bytes": data} for name, data in members.items()]
    pyarrow.parquet.write_table(pyarrow.table({"image": images}), path, row_group_size=2)
    return path


@pytest.mark.parametrize(("write", "name"), [(write_tar, "a.tar"), (write_parquet, "a.parquet")])
def test_images_are_read_as_from_a_folder(tmp_path: Path, write: Write, name: str) -> None:
    write_pixels(tmp_path / "a.png", PIXELS)
    assert (tmp_path / "a.png").read_bytes() == PNG
    others = {f"{number}.png": bytes([number]) * 700 for number in range(5)}
    archive = write(tmp_path / name, {**others, "a.png": PNG})
    found = read_gray(archive / "a.png")
    assert found.bit_depth == 16
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert all(read_member(archive / member) == data for member, data in others.items())


@given(
    st.dictionaries(
        st.text("abc-_0é", min_size=1, max_size=160), st.binary(max_size=1500), max_size=5
    )
)
def test_a_tar_of_any_members_is_read_here_and_by_tarfile(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    file = write_tar(tmp_path_factory.mktemp("tar") / "a.tar", members)
    assert is_whole(file)
    assert all(read_member(file / name) == data for name, data in members.items())
    with tarfile.open(file) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        assert found == members
        owners = {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in archive.getmembers()}
        assert owners <= {(0, 0, 0, "", "")}


@pytest.mark.parametrize("cut", [0, 1, 300, 512, 700, 1536, 1600, 2048, 2560, 3072, 3583])
def test_a_tar_cut_anywhere_is_named(tmp_path: Path, cut: int) -> None:
    file = write_tar(tmp_path / "a.tar", {"a.png": b"a" * 600, "b.png": b"b"})
    data = file.read_bytes()
    assert len(data) == 512 + 1024 + 512 + 512 + 1024
    file.write_bytes(data[:cut])
    assert not is_whole(file)
    for name in ("a.png", "b.png"):
        with pytest.raises(InputError, match=r"a\.tar is cut short or damaged. Restore"):
            read_member(file / name)


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_a_parquet_file_cut_short_is_named(tmp_path: Path, cut: int) -> None:
    file = write_parquet(tmp_path / "a.parquet", {"a.png": PNG})
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"a\.parquet is cut short or damaged. Restore"):
        read_gray(file / "a.png")


def test_a_parquet_file_of_something_else_is_named(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"number": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet is cut short or damaged"):
        read_gray(tmp_path / "a.parquet/a.png")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tar(tmp_path / "a.tar", {"a.png": PNG})
    with pytest.raises(InputError, match=r"a\.tar holds no b\.png"):
        read_gray(tmp_path / "a.tar/b.png")
    with pytest.raises(InputError, match=r"b\.tar does not exist"):
        read_gray(tmp_path / "b.tar/a.png")
    file = write_parquet(tmp_path / "a.parquet", {"a.png": PNG})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"a\.parquet is a Parquet.*busaug\[parquet\]"):
        read_gray(file / "a.png")


def test_a_folder_named_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    write_pixels(tmp_path / "a.tar/a.png", PIXELS)
    assert not is_member(tmp_path / "a.tar/a.png")
    np.testing.assert_array_equal(read_gray(tmp_path / "a.tar/a.png").pixels, PIXELS)


def test_a_replaced_archive_is_looked_at_again(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a.png": b"first"})
    assert read_member(file / "a.png") == b"first"
    write_tar(file, {"b.png": b"x" * 600, "a.png": b"second"})
    assert read_member(file / "a.png") == b"second"


def test_each_file_is_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a damaged one: thousands of images may be named in it."""
    good = write_tar(tmp_path / "good.tar", {f"{n}.png": b"x" for n in range(9)})
    bad = tmp_path / "bad.tar"
    bad.write_bytes(good.read_bytes()[:3000])
    opened: list[Path] = []
    real = tarfile.open

    def count(file: Path, mode: str) -> tarfile.TarFile:
        opened.append(file)
        return real(file, mode)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(archives.tarfile, "open", count)
    for number in range(9):
        assert read_member(good / f"{number}.png") == b"x"
        with pytest.raises(InputError):
            read_member(bad / f"{number}.png")
    assert opened == [good, bad]
