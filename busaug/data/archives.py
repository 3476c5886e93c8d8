"""Images inside archives: ``shards/shard-000012.tar/ID.png`` is a member of the tar before it.

Paths of Catalogs may lead into tar and Parquet files. Where the members lie is read once a file
and process; a file that was replaced is looked at again.
"""

from __future__ import annotations

import functools
import importlib.util
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from busaug.data.tar import BLOCK, END
from busaug.errors import InputError

_TAR, _PARQUET = ".tar", ".parquet"
_FILES_KNOWN = 4096  # their indices take some hundred bytes an image
_DAMAGE = (ValueError, TypeError, LookupError)  # names that are no text, rows without a picture
_GROUPS_KEPT = 4  # row groups of Parquet files: some megabytes each

Stamp = tuple[int, int]
"""Size and time of change, by which a file is known to be the same."""
Index = Mapping[str, tuple[int, int]]
"""Member to offset and size (tar) or row group and row in it (Parquet)."""


def is_member(path: Path) -> bool:
    """Whether the path leads into a tar or Parquet file rather than a folder."""
    return path.parent.suffix in (_TAR, _PARQUET) and not path.parent.is_dir()


def read_member(path: Path) -> bytes:
    """The bytes of a member. InputError where it or its archive is missing, cut short or damaged,
    or where the library to read it is not installed.
    """
    archive = path.parent
    try:
        status = archive.stat()
    except OSError as error:
        raise InputError(f"{archive} does not exist", remedy="Check the path") from error
    stamp = (status.st_size, status.st_mtime_ns)
    tar = archive.suffix == _TAR
    if not tar:
        require_pyarrow(f"{archive} is a Parquet file")
    index = _tar_index(archive, stamp) if tar else _parquet_index(archive, stamp)
    if index is None:
        raise InputError(
            f"{archive} is cut short or damaged",
            remedy="Restore the file, or make the data set again in an empty folder",
        )
    if path.name not in index:
        raise InputError(
            f"{archive} holds no {path.name}",
            remedy="Restore the file that belongs to this Catalog",
        )
    place = index[path.name]
    return _from_tar(archive, *place) if tar else _from_parquet(archive, stamp, *place)


def read_file(path: Path) -> bytes:
    """The bytes of a file in a folder or an archive. InputError where it cannot be read."""
    if is_member(path):
        return read_member(path)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy="Restore the file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", remedy="Restore the file") from error


def require_pyarrow(why: str) -> None:
    """InputError where pyarrow is not installed; ``why`` it is wanted is its first half."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(
            f"{why}, and pyarrow is not installed", remedy="pip install 'busaug[parquet]'"
        )


# An archive that cannot be used is remembered as None, so that it is not searched for every image.


@functools.lru_cache(maxsize=_FILES_KNOWN)
def _tar_index(file: Path, stamp: Stamp) -> Index | None:
    members: dict[str, tuple[int, int]] = {}
    end = 0
    try:
        with tarfile.open(file, "r:") as archive:
            for member in archive:
                members[member.name] = (member.offset_data, member.size)
                end = member.offset_data + member.size + -member.size % BLOCK
    except (tarfile.TarError, OSError, EOFError):
        return None
    # tarfile takes a cut between two members, or in a header, for the end
    return members if stamp[0] >= end + len(END) else None


def _from_tar(file: Path, offset: int, size: int) -> bytes:
    with file.open("rb") as archive:
        archive.seek(offset)
        return archive.read(size)


@functools.lru_cache(maxsize=_FILES_KNOWN)
def _parquet_index(file: Path, stamp: Stamp) -> Index | None:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    members: dict[str, tuple[int, int]] = {}
    try:
        with ParquetFile(file) as table:
            for group in range(table.num_row_groups):
                images = table.read_row_group(group, columns=["image.path"]).column("image")
                for row, image in enumerate(images.to_pylist()):
                    members[image["path"]] = (group, row)
    except (pyarrow.ArrowException, OSError, *_DAMAGE):
        return None
    return members


def _from_parquet(file: Path, stamp: Stamp, group: int, row: int) -> bytes:
    import pyarrow

    try:
        image: dict[str, bytes] = _parquet_images(file, stamp, group)[row].as_py()
    except (pyarrow.ArrowException, OSError, *_DAMAGE) as error:
        raise InputError(
            f"{file} cannot be read: {' '.join(str(error).split())}",
            remedy="Restore the file, or make the data set again in an empty folder",
        ) from error
    return image["bytes"]


@functools.lru_cache(maxsize=_GROUPS_KEPT)
def _parquet_images(file: Path, stamp: Stamp, group: int) -> Sequence[Any]:
    """The pictures of a row group: neighbours are mostly asked for next."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(file) as table:
        images: Sequence[Any] = table.read_row_group(group, columns=["image.bytes"])["image"]
        return images
