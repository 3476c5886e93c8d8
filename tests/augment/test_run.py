"""``augment`` on a tiny Catalog: bytes, resuming, bad images, provenance."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import pytest
import torch
from augment.conftest import contents_of, rows_of
from PIL import Image
from tolerances import TOLERANCES

from busaug.augment.engine import Engine
from busaug.augment.estimate import estimate
from busaug.augment.job import Job
from busaug.augment.manifest import Manifest
from busaug.augment.plan import Plan
from busaug.augment.run import Options, augment
from busaug.data.catalog import Catalog
from busaug.data.images import pixel_hash, read_gray
from busaug.distributed.communicator import Single
from busaug.errors import InputError, OutputError
from busaug.explain.predictor import classifier_predictor
from busaug.models.classifier import ClassifierInfo, build_classifier, save_classifier
from busaug.runfolder import RunFolder
from busaug.style.targets import Targets

MakeJob = Callable[..., Job]
T = TypeVar("T")


def test_equal_runs_have_equal_bytes_and_the_manifest_is_the_plan(
    job: MakeJob, tmp_path: Path
) -> None:
    rows = rows_of(job(), tmp_path / "a")
    augment(job(), tmp_path / "b")
    assert contents_of(tmp_path / "a") == contents_of(tmp_path / "b")
    assert [row["id"] for row in rows] == [p.id for unit in job().plan() for p in unit.pairs]
    assert rows == list(Manifest(tmp_path / "a").rows())
    assert not (tmp_path / "a" / "units").exists()


def test_accepted_images_are_a_catalog_with_depth_and_text(job: MakeJob, tmp_path: Path) -> None:
    out = tmp_path / "a"
    rows = rows_of(job(), out)
    accepted = [row for row in rows if row["accepted"]]
    made = Catalog.load(out)
    assert sorted(r.id for r in made.records) == sorted(row["id"] for row in accepted)
    source = job().catalog
    for row in accepted:
        record, content = made.by_id[row["id"]], source.by_id[row["content"]]
        gray = read_gray(out / row["file"])
        assert gray.bit_depth == content.bit_depth == record.bit_depth
        assert pixel_hash(gray.pixels) == row["sha256"] == record.sha256
        assert (record.split, record.group) == ("train", content.group)
        with Image.open(out / row["file"]) as picture:
            assert json.loads(picture.text["busaug:content"]) == row["content"]  # type: ignore[attr-defined]
    assert {r.bit_depth for r in made.records} == {8, 16}
    listed = {row["file"] for row in accepted}
    assert {str(p.relative_to(out)) for p in out.glob("images/*/*")} == listed


def test_losses_fall_and_rows_say_by_how_much(job: MakeJob, tmp_path: Path) -> None:
    for row in rows_of(job("style.iterations=12"), tmp_path / "a"):
        assert row["loss_final"] < row["loss_initial"]
        assert row["style_left"] == pytest.approx(
            row["style_final"] / row["style_initial"], rel=TOLERANCES["manifest figures"]
        )
        assert sum(row["layers_final"].values()) == pytest.approx(
            row["style_final"], rel=TOLERANCES["manifest figures"]
        )
        curve = [value for _, value in row["loss_curve"]]
        assert curve[0] == row["loss_initial"]
        assert curve[-1] == row["loss_final"]
        assert curve == sorted(curve, reverse=True)


def test_mixed_precision_ends_as_near_the_style(job: MakeJob, tmp_path: Path) -> None:
    more = ("style.iterations=12", "relevance.mode=LA")
    left = {}
    for precision in ("single", "mixed"):
        made = job(*more, f"style.precision={precision}")
        augment(made, tmp_path / precision)
        left[precision] = [row["style_left"] for row in Manifest(tmp_path / precision).rows()]
    assert left["mixed"] != left["single"]
    # Single images part on the way: one may end a third nearer or farther.
    away = TOLERANCES["mixed precision, median style distance left, absolute"]
    assert median(left["mixed"]) == pytest.approx(median(left["single"]), abs=away)
    assert max(left["mixed"]) < 0.5


def test_an_interrupted_run_resumes_to_the_same_bytes(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    augment(job(), whole)
    calls = 0
    add = Manifest.add

    def stop_at_third(self: Manifest, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Manifest, "add", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        augment(job(), broken)
    monkeypatch.undo()
    assert Manifest(broken).finished() == {0, 1}
    with pytest.raises(OutputError, match="--resume"):
        augment(job(), broken, options=Options(resume="never"))
    (broken / "images/.half.png.x.part").write_bytes(b"what a killed process leaves")
    augment(job(), broken, options=Options(resume="always"))
    assert contents_of(broken) == contents_of(whole)
    assert rows_of(job(), broken) == list(Manifest(whole).rows())


def test_another_configuration_is_refused_with_the_difference(job: MakeJob, tmp_path: Path) -> None:
    augment(job(), tmp_path / "a")
    before = contents_of(tmp_path / "a")
    with pytest.raises(OutputError, match=r"config\.style\.gamma: 100\.0 there, 50\.0 here"):
        augment(job("style.gamma=50"), tmp_path / "a")
    assert contents_of(tmp_path / "a") == before


class Second(Single):
    """Rank 1 of two, whose rank 0 sends what it is given and fails nowhere."""

    rank = 1  # type: ignore[assignment]
    size = 2  # type: ignore[assignment]

    def __init__(self, sent: object) -> None:
        super().__init__()
        self._sent = sent

    def gather(self, value: T) -> list[T]:
        return [False, value]  # type: ignore[list-item]

    def broadcast_object(self, value: T, root: int = 0) -> T:
        return self._sent  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("style.precision=mixed", r"config\.style\.precision: 'mixed' there, 'single' here"),
        ("compute.threads=2", r"config\.compute\.threads: 2 there, 1 here"),
    ],
)
def test_processes_that_would_make_different_images_are_refused(
    job: MakeJob, tmp_path: Path, setting: str, told: str
) -> None:
    root = RunFolder(tmp_path / "a", "augment", job(setting).identity)
    with pytest.raises(InputError, match=rf"this process and rank 0 differ \({told}\)"):
        augment(job(), tmp_path / "a", comm=Second(root))
    assert not (tmp_path / "a").exists()


def test_one_bad_image_costs_only_the_pairs_that_use_it(
    job: MakeJob, tiny: Catalog, tmp_path: Path
) -> None:
    victim = tiny.split("train").records[0]
    file = tiny.path(victim)
    file.write_bytes(file.read_bytes()[:60])
    rows = rows_of(job(), tmp_path / "a")
    for row in rows:
        used = victim.id in (row["content"], *row["references"])
        assert (row["reason"] or "").startswith("unreadable") == used
    summary = json.loads((tmp_path / "a/run.json").read_text())["summary"]
    assert summary["rejected"]["unreadable"] == sum(
        "unreadable" in (r["reason"] or "") for r in rows
    )


def test_rejected_images_are_kept_only_on_request(job: MakeJob, tmp_path: Path) -> None:
    strict = "gate.ssim_max=0"
    rows = rows_of(job(strict), tmp_path / "a")
    assert {row["reason"] for row in rows} == {"near-copy of its content"}
    assert not list((tmp_path / "a").rglob("*.png"))
    rows = rows_of(job(strict, "output.keep_rejected=true"), tmp_path / "b")
    assert all((tmp_path / "b" / row["file"]).is_file() for row in rows)
    assert not (tmp_path / "b/images").exists()


def test_a_lost_unit_is_noticed(job: MakeJob, tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        manifest.merge(job().plan())


def test_a_backbone_without_logits_needs_an_explainer(job: MakeJob) -> None:
    with pytest.raises(InputError, match=r"style\.backbone=vgg19.*--explainer"):
        _ = job("style.backbone=vgg19", "relevance.mode=LA").predictor


def test_an_explainer_that_may_have_seen_other_images_is_noticed(
    job: MakeJob, tmp_path: Path
) -> None:
    made = job("relevance.mode=LA")
    assert not made.explained_from_elsewhere  # ImageNet has seen none of them
    info = ClassifierInfo(made.catalog.labels, size=32, srad_scale=0)
    save_classifier(tmp_path / "model.safetensors", build_classifier(info), info)
    explained = dataclasses.replace(made, explainer=classifier_predictor(tmp_path))
    assert explained.explained_from_elsewhere
    assert not dataclasses.replace(explained, config=job().config).explained_from_elsewhere
    for catalog, elsewhere in ((made.catalog.hash, False), ("another", True)):
        RunFolder(tmp_path, "train", {"catalog": catalog}).write()
        again = dataclasses.replace(made, explainer=classifier_predictor(tmp_path))
        assert again.explained_from_elsewhere == elsewhere


def test_wrong_weights_leave_no_folder(job: MakeJob, tmp_path: Path) -> None:
    made = job()
    state = {k: v for k, v in made.weights.state.items() if k != "layer1.0.conv1.weight"}
    wrong = dataclasses.replace(made.weights, state=state)
    with pytest.raises(InputError, match=r"no key layer1\.0\.conv1\.weight"):
        augment(dataclasses.replace(made, weights=wrong), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("mode", ["LA", "LB", "LS"])
def test_relevance_weights_enter_and_are_kept(job: MakeJob, tmp_path: Path, mode: str) -> None:
    augment(job("plan.contents=2"), tmp_path / "plain")
    rows = rows_of(job(f"relevance.mode={mode}", "plan.contents=2"), tmp_path / "a")
    plain = list(Manifest(tmp_path / "plain").rows())
    assert [r["content_loss"] for r in rows] != [r["content_loss"] for r in plain]
    assert len(list((tmp_path / "a/relevance").glob("*.safetensors"))) == len(
        {r["content"] for r in rows}
    )


@pytest.mark.parametrize("fusion", ["GM", "UM"])
def test_other_fusions_run(job: MakeJob, tmp_path: Path, fusion: str) -> None:
    rows = rows_of(job(f"style.fusion={fusion}", "plan.contents=2"), tmp_path / "a")
    assert all(row["loss_final"] < row["loss_initial"] for row in rows)


def test_an_estimate_writes_nothing_and_counts_the_plan(job: MakeJob, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    guess = estimate(job("relevance.mode=LA"))
    assert sorted(tmp_path.rglob("*")) == before
    assert guess.total == 10
    assert guess.units == 4
    assert guess.seconds > 0


def test_a_catalog_without_training_rows_is_refused(
    job: MakeJob, tiny: Catalog, tmp_path: Path
) -> None:
    held = tiny.where(lambda record: record.split == "test")
    held.save(tmp_path / "held")
    shutil.copytree(tiny.root / "images", tmp_path / "held/images")
    made = job()
    with pytest.raises(InputError, match="no training image"):
        augment(
            Job(Catalog.load(tmp_path / "held"), made.config, made.weights, None), tmp_path / "o"
        )


@pytest.mark.parametrize("damage", ["cut short", "altered"])
def test_a_damaged_cache_entry_is_made_again(
    job: MakeJob, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("relevance.mode=LA", "plan.contents=2", "plan.pairs=3")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    augment(job(*settings), whole)
    shutil.copytree(whole, broken)
    for name in ("run.json", "manifest.jsonl", "catalog.jsonl"):
        (broken / name).unlink()
    RunFolder(broken, "augment", job(*settings).identity).write()
    victim = sorted((broken / "relevance").iterdir())[0]
    data = bytearray(victim.read_bytes())
    data[-3] ^= 1
    victim.write_bytes(data if damage == "altered" else data[:-3])
    augment(job(*settings), broken)
    assert "is damaged: made again" in capsys.readouterr().err
    assert contents_of(broken) == contents_of(whole)


def test_style_targets_kept_on_disk_change_no_byte(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reference set is computed once, where contents share them."""
    made = job("plan.pairs=all", "style.iterations=1")
    plan = made.plan()
    sets = {p.references for unit in plan for p in unit.pairs}
    assert plan.shares_references
    assert len(sets) < len(plan)
    computed = 0
    targets = Engine.targets

    def count(self: Engine, references: torch.Tensor) -> Targets:
        nonlocal computed
        computed += 1
        return targets(self, references)

    monkeypatch.setattr(Engine, "targets", count)
    augment(made, tmp_path / "kept")
    assert computed == len(sets)
    assert not (tmp_path / "kept/targets").exists()
    monkeypatch.setattr(Plan, "shares_references", False)
    augment(made, tmp_path / "fresh")
    assert computed == len(sets) + len(plan)
    assert contents_of(tmp_path / "kept") == contents_of(tmp_path / "fresh")


def test_a_full_disk_ends_the_run_and_loses_nothing(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    augment(job(), whole)
    replace, left = os.replace, 9

    def fill(*arguments: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", fill)
    with pytest.raises(OutputError, match=r"No space left.*Free space"):
        augment(job(), broken)
    monkeypatch.undo()
    assert not list(broken.rglob("*.part"))
    assert 0 < len(Manifest(broken).finished()) < job().plan().units
    augment(job(), broken)
    assert contents_of(broken) == contents_of(whole)
