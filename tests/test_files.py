"""Whole or absent: atomic files and folders, run folders."""

import errno
from pathlib import Path

import pytest

from busaug.errors import OutputError
from busaug.files import atomic_file, atomic_folder, read_json, write_json, write_text
from busaug.runfolder import open_run, read_run
from busaug.seeding import draw, key_digest


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "f.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_folder_is_absent(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OutputError, match="not an empty folder"), atomic_folder(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("code", "match"), [(errno.ENOSPC, "Free space"), (errno.EACCES, "permission")]
)
def test_the_systems_refusal_becomes_one_clear_error(tmp_path: Path, code: int, match: str) -> None:
    def refuse() -> None:
        with atomic_file(tmp_path / "f.txt"):
            raise OSError(code, "no")

    with pytest.raises(OutputError, match=match):
        refuse()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path) -> None:
    """/dev/full takes no byte, as a full disk does."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")

    def fill() -> None:
        with atomic_file(tmp_path / "f.txt"), full.open("w") as file:
            file.write("x" * 100_000)

    with pytest.raises(OutputError, match=r"cannot write .*f\.txt: No space left"):
        fill()


def test_nan_never_reaches_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "f.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_knows_its_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    identity = {"config": {"style": {"gamma": 1}}, "catalog": "abc"}
    open_run(out, "augment", identity)
    assert read_run(out)["identity"] == identity  # type: ignore[index]
    open_run(out, "augment", identity, resume="if-possible")
    with pytest.raises(OutputError, match="--resume"):
        open_run(out, "augment", identity)
    changed = {**identity, "config": {"style": {"gamma": 2}}}
    with pytest.raises(OutputError, match=r"config\.style\.gamma: 1 there, 2 here"):
        open_run(out, "augment", changed, resume="if-possible")
    with pytest.raises(OutputError, match="a run of 'busaug augment', not of 'busaug train'"):
        open_run(out, "train", identity, resume="if-possible")


def test_a_run_of_another_version_is_continued_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_run(tmp_path, "augment", {})
    record = read_json(tmp_path / "run.json")
    write_json(tmp_path / "run.json", record | {"busaug": "0.0.1"})
    assert capsys.readouterr().err == ""
    open_run(tmp_path, "augment", {}, resume="if-possible")
    said = " ".join(capsys.readouterr().err.split())
    assert "was begun by busaug 0.0.1" in said


def test_foreign_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(OutputError, match="belongs to no busaug run"):
        open_run(tmp_path, "augment", {})
    with pytest.raises(OutputError, match="is a file"):
        open_run(tmp_path / "f", "augment", {})


def test_keys_do_not_collide_and_draws_repeat() -> None:
    digests = {
        key_digest("ab", "c"),
        key_digest("a", "bc"),
        key_digest("abc"),
        key_digest(1),
        key_digest("1"),
    }
    assert len(digests) == 5
    assert draw(0, "x").integers(1 << 30) == draw(0, "x").integers(1 << 30)
    assert draw(0, "x").integers(1 << 30) != draw(1, "x").integers(1 << 30)
