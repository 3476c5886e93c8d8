"""What ``augment`` leaves on disk in each format, and what others read of it."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow.parquet
import pytest
import torch
from augment.conftest import FAST, contents_of, make_catalog, rows_of
from PIL import Image

from busaug.augment import job as jobs
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest
from busaug.augment.run import augment
from busaug.augment.store.base import Picture
from busaug.augment.store.shards import Layout, Shards
from busaug.augment.store.webdataset import WebDataset
from busaug.classify.inputs import load_set
from busaug.config import load_config
from busaug.data.archives import read_member
from busaug.data.catalog import Catalog
from busaug.data.images import pixel_hash, read_gray
from busaug.errors import InputError, OutputError
from busaug.models.classifier import ClassifierInfo
from busaug.models.weights import Weights
from busaug.report.html import write as write_report

FORMATS = ("png", "webdataset", "parquet")
SHARDED = FORMATS[1:]
# 10 pairs in 5 units, two units a shard
SETTINGS = ("plan.unit=2", "output.shard=3", "output.keep_rejected=true")
UNITS, SHARDS = 5, 3


@dataclasses.dataclass(frozen=True)
class Made:
    """Runs of one Catalog, and how to make more of them."""

    root: Path
    weights: Weights
    ssim_max: float = 1.0

    def job(self, *overrides: str) -> Job:
        bound = f"gate.ssim_max={self.ssim_max}"
        config = load_config(overrides=[*FAST, *SETTINGS, bound, *overrides])
        return Job(Catalog.load(self.root / "catalog"), config, self.weights, None)

    def of(self, name: str) -> Job:
        return self.job(f"output.format={name}")

    def copy(self, name: str, to: str) -> Path:
        """A copy of a run in the same place relative to the Catalog."""
        shutil.rmtree(self.root / to, ignore_errors=True)
        return Path(shutil.copytree(self.root / name, self.root / to))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, weights: Weights) -> Made:
    """A finished run of each format, and for shards one that was stopped before packing.

    One image of each is rejected, so that every shard has some left.
    """
    made = Made(tmp_path_factory.mktemp("stores"), weights)
    make_catalog(made.root / "catalog")
    nearest = sorted(row["ssim"] for row in rows_of(made.of("png"), made.root / "all"))[-2:]
    made = dataclasses.replace(made, ssim_max=fmean(nearest))
    augment(made.of("png"), made.root / "png")
    for name in SHARDED:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Shards, "pack", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                augment(made.of(name), made.root / f"{name}-parts")
        augment(made.of(name), made.copy(f"{name}-parts", name))
    return made


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_every_format_holds_the_same_files(made: Made) -> None:
    runs = {name: Catalog.load(made.root / name) for name in FORMATS}
    rows = {row["id"]: row for row in Manifest(made.root / "png").rows() if row["accepted"]}
    assert len(rows) == 9
    for name in SHARDED:
        assert list(runs[name].by_id) == list(runs["png"].by_id) == sorted(rows)
        for loose, packed in zip(runs["png"].records, runs[name].records, strict=True):
            assert dataclasses.replace(packed, file=loose.file, source=loose.source) == loose
            png = runs["png"].path(loose).read_bytes()
            assert read_member(runs[name].path(packed)) == png
            assert pixel_hash(read_gray(runs[name].path(packed)).pixels) == packed.sha256


@pytest.mark.parametrize("name", SHARDED)
def test_a_shard_is_a_fixed_run_of_units(made: Made, name: str) -> None:
    out, plan = made.root / name, made.of(name).plan()
    suffix = ".tar" if name == "webdataset" else ".parquet"
    files = sorted(path.name for path in (out / "shards").iterdir())
    assert files == [f"shard-{number:06d}{suffix}" for number in range(SHARDS)]
    shard_of = {pair.id: unit.index // 2 for unit in plan for pair in unit.pairs}
    for row in Manifest(out).rows():
        if row["accepted"]:
            assert row["file"] == f"shards/{files[shard_of[row['id']]]}/{row['id']}.png"
    assert not (out / "parts").exists()
    assert not (out / "images").exists()


def test_rejected_images_that_are_kept_are_loose_files(made: Made) -> None:
    for name in FORMATS:
        rows = [row for row in Manifest(made.root / name).rows() if not row["accepted"]]
        assert rows
        assert {row["file"] for row in rows} == {
            str(path.relative_to(made.root / name))
            for path in (made.root / name).glob("rejected/*/*")
        }


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the library's
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_webdataset_library_reads_samples(made: Made) -> None:
    import webdataset

    out = made.root / "webdataset"
    shards = [str(path) for path in sorted(out.glob("shards/*.tar"))]
    found = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    rows = [row for row in Manifest(out).rows() if row["accepted"]]
    assert [sample["__key__"] for sample in found] == [row["id"] for row in rows]
    labels = made.of("webdataset").catalog.labels
    for sample, row in zip(found, rows, strict=True):
        assert sample["json"] == row
        assert labels[sample["cls"]] == row["class"]
        assert sample["png"].size == (32, 32)
    plain = webdataset.WebDataset(shards, shardshuffle=False)
    for sample, row in zip(plain, rows, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(sample["png"])))
        assert pixel_hash(pixels) == row["sha256"]


def test_parquet_columns_are_the_manifests(made: Made) -> None:
    out = made.root / "parquet"
    table = pyarrow.parquet.ParquetDataset(sorted(out.glob("shards/*"))).read()
    rows = [row for row in Manifest(out).rows() if row["accepted"]]
    assert table.column_names == [
        *("id", "image", "label", "content", "references", "group", "seed"),
        *("loss_initial", "loss_final", "style_left", "ssim"),
    ]
    labels = made.of("parquet").catalog.labels
    for found, row in zip(table.to_pylist(), rows, strict=True):
        image, label = found.pop("image"), found.pop("label")
        assert found == {name: row[name] for name in found}
        assert labels[label] == row["class"]
        assert image["path"] == f"{row['id']}.png"


def test_the_datasets_library_decodes_pictures(made: Made, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets, to try it")
    out = made.root / "parquet"
    files = [str(path) for path in sorted(out.glob("shards/*"))]
    found = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path)
    )
    rows = [row for row in Manifest(out).rows() if row["accepted"]]
    for sample, row in zip(found, rows, strict=True):
        assert pixel_hash(np.asarray(sample["image"])) == row["sha256"]
        assert found.features["label"].int2str(sample["label"]) == row["class"]
        assert sample["references"] == row["references"]


def test_row_groups_are_of_some_hundred_rows(tmp_path: Path) -> None:
    from busaug.augment.store.parquet import Parquet

    row = {"class": "b", "content": "c", "references": ["r"], "group": "g", "seed": 2**62}
    figures = dict.fromkeys(("loss_initial", "loss_final", "style_left"), 0.5)
    pictures = [
        Picture({**row, **figures, "ssim": None, "id": f"i{n}"}, b"x%d" % n) for n in range(600)
    ]
    for name in ("one.parquet", "two.parquet"):
        Parquet(["a", "b"]).write(tmp_path / name, iter(pictures))
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    facts = pyarrow.parquet.read_metadata(tmp_path / "one.parquet")
    assert [facts.row_group(n).num_rows for n in range(facts.num_row_groups)] == [256, 256, 88]
    for number in (0, 255, 256, 599):
        assert read_member(tmp_path / f"one.parquet/i{number}.png") == b"x%d" % number


@pytest.mark.parametrize("name", SHARDED)
def test_training_reads_the_pixels_of_loose_files(made: Made, name: str) -> None:
    info = ClassifierInfo(("benign", "malignant"), 32, 0, load_config().srad)
    loose, packed = (load_set([Catalog.load(made.root / n)], info, "some") for n in ("png", name))
    assert not packed.skipped
    assert packed.ids == loose.ids
    assert torch.equal(packed.images, loose.images)


def test_the_report_shows_packed_images(made: Made, tmp_path: Path) -> None:
    write_report([made.root / "parquet", made.root / "webdataset"], tmp_path / "report.html")
    assert "cannot be read" not in (tmp_path / "report.html").read_text()
    broken = made.copy("webdataset", "report")
    shutil.rmtree(broken / "shards")
    write_report([broken], tmp_path / "report.html")
    assert "cannot be read" in (tmp_path / "report.html").read_text()


Damage = Callable[[Path], None]


def _cut(pattern: str, count: int = 1) -> Damage:
    def damage(out: Path) -> None:
        for victim in sorted(out.glob(pattern))[:count]:
            victim.write_bytes(victim.read_bytes()[:-100])

    return damage


def _remove(pattern: str) -> Damage:
    return lambda out: sorted(out.glob(pattern))[-1].unlink()


@pytest.mark.parametrize("name", SHARDED)
@pytest.mark.parametrize("packed", [0, 1])
def test_stopped_before_or_amid_packing_and_resumed(
    made: Made, name: str, packed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second shard is left half-written."""
    broken, job = made.copy(f"{name}-parts", "stopped"), made.of(name)
    assert len(list((broken / "parts").iterdir())) == UNITS
    pictures = Shards._pictures
    if packed:
        monkeypatch.setattr(Shards, "_pictures", _stopping_at(packed, pictures))
        with pytest.raises(KeyboardInterrupt):
            augment(job, broken)
        monkeypatch.undo()
        assert len(list((broken / "shards").iterdir())) == packed
        assert len(list((broken / "parts").iterdir())) == UNITS - 2
        (broken / "parts/000000.tar").write_bytes(b"left over")  # killed between shard and parts
        (broken / "shards/.shard-000001.x.part").write_bytes(b"killed")
    augment(job, broken)
    assert contents_of(broken) == contents_of(made.root / name)


def _stopping_at(shard: int, pictures: Callable[..., Iterable[Picture]]) -> Callable[..., object]:
    def stop(self: Shards, number: int) -> Iterable[Picture]:
        for picture in pictures(self, number):
            yield picture
            if number == shard:
                raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut("parts/*"), "the images of 1 units are missing or damaged"),
        (_remove("parts/*"), "the images of 1 units are missing or damaged"),
        (_cut("shards/*"), "000000.tar is damaged"),
    ],
    ids=["part cut", "part gone", "shard cut"],
)
def test_a_damaged_part_or_shard_is_made_again(
    made: Made,
    damage: Damage,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken, job = made.copy("webdataset-parts", "damaged"), made.of("webdataset")
    monkeypatch.setattr(Shards, "_pictures", _stopping_at(1, Shards._pictures))
    with pytest.raises(KeyboardInterrupt):
        augment(job, broken)
    monkeypatch.undo()
    damage(broken)
    capsys.readouterr()
    augment(job, broken)
    assert said in "".join(capsys.readouterr().err.splitlines())
    assert contents_of(broken) == contents_of(made.root / "webdataset")


def test_a_part_that_is_damaged_during_the_run_is_named(made: Made) -> None:
    broken, job = made.copy("webdataset-parts", "late"), made.of("webdataset")
    store = Shards(Manifest(broken), Layout.of(job.plan(), 3), WebDataset(job.catalog.labels))
    _cut("parts/*")(broken)
    with pytest.raises(InputError, match=r"000000\.tar is cut short or damaged. Resume the run"):
        store.pack(0)
    assert not list(broken.glob("shards/*"))


def test_units_of_a_whole_shard_need_no_parts(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Shards(Manifest(tmp_path), Layout(units=3000, a_shard=512), WebDataset(["a"]))
    assert store.shards == 6
    assert store.lost([]) == set()
    assert store.lost(range(600)) == set(range(600))
    (tmp_path / "shards").mkdir()
    whole = next((made.root / "webdataset/shards").iterdir())
    shutil.copyfile(whole, tmp_path / "shards/shard-000000.tar")
    assert store.lost(range(600)) == set(range(512, 600))
    assert "88 units" in capsys.readouterr().err


def test_auto_means_shards_beyond_ten_thousand(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs.LOOSE_MAX == 10_000
    assert made.job().identity["config"]["output"]["format"] == "png"
    monkeypatch.setattr(jobs, "LOOSE_MAX", 10)  # as many as are planned
    assert made.job().identity["config"]["output"]["format"] == "png"
    monkeypatch.setattr(jobs, "LOOSE_MAX", 9)
    assert made.job().identity["config"]["output"]["format"] == "webdataset"
    assert made.of("png").identity["config"]["output"]["format"] == "png"


def test_another_format_is_refused(made: Made) -> None:
    difference = r"config\.output\.format: 'png' there, 'parquet' here"
    with pytest.raises(OutputError, match=difference):
        augment(made.of("parquet"), made.root / "png")


def test_a_missing_library_is_told_before_the_run(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pyarrow is not installed. pip install 'busaug\[parq"):
        augment(made.of("parquet"), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_ids_with_dots_do_not_fit_webdataset(made: Made, tmp_path: Path) -> None:
    job = made.of("webdataset")
    records = [dataclasses.replace(r, id=r.id.replace("-", ".")) for r in job.catalog.records]
    dotted = dataclasses.replace(job, catalog=Catalog(job.catalog.root, tuple(records)))
    with pytest.raises(InputError, match=r"benign\.0000 has a dot.*another format"):
        augment(dotted, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_sample_is_three_members_side_by_side(made: Made) -> None:
    with tarfile.open(made.root / "webdataset/shards/shard-000000.tar") as archive:
        names = archive.getnames()
        modes = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in archive}
        row = json.load(archive.extractfile(names[1]))  # type: ignore[arg-type]
    assert names[:3] == [f"{row['id']}.{kind}" for kind in ("png", "json", "cls")]
    assert modes == {(0, 0, 0, "", "", 0o644)}
