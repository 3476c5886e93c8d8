"""Whole experiments on simulated images and random networks."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from busaug import console
from busaug.classify.metrics import METRICS
from busaug.config import validated
from busaug.data.catalog import Catalog
from busaug.errors import InputError, OutputError
from busaug.experiment.config import ExperimentConfig
from busaug.experiment.run import run
from busaug.experiment.samples import LeakError
from busaug.experiment.study import Study
from busaug.files import read_json, read_jsonl
from busaug.models.weights import Weights, random_weights

TINY: dict[str, Any] = {
    "arms": ["none", "flips", "mean-std"],
    "images": 9,
    "blocks": 3,
    "folds": 3,
    "seeds": 1,
    "inputs": {"size": 32, "srad_scale": 0},
    "probe": {"ratios": [1], "strengths": [1, 10]},
    "settings": {
        "style.iterations": 2,
        "style.calibration_pairs": 2,
        "style.references": 2,
        "gate.ssim_max": 1.0,
    },
}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights("resnet50")


def study_of(catalog: Catalog, weights: Weights, **changes: Any) -> Study:
    config = validated(ExperimentConfig, {**TINY, **changes})
    return Study(config, catalog, {"resnet50": weights})


@pytest.fixture(scope="module")
def finished(phantoms: Catalog, weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classical arms under both protocols."""
    out = tmp_path_factory.mktemp("experiment") / "out"
    study = study_of(phantoms, weights, protocols=["honest", "paper"])
    assert run(study, out) == {"jobs": 12, "done": 12}
    return out


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_is_tested_once_a_seed(
    finished: Path, phantoms: Catalog, weights: Weights
) -> None:
    drawn = [record.id for record in study_of(phantoms, weights).catalog.records]
    assert len(drawn) == 18
    for arm, ratio in (("none", 0), ("flips", 1), ("mean-std", 1)):
        start = f"honest-probe-{arm}-r{ratio}-s0"
        rows = [row for f in range(3) for row in predictions(finished / f"jobs/{start}-f{f}")]
        assert sorted(row["id"] for row in rows) == drawn
        for row in rows:
            assert float(row["p_benign"]) + float(row["p_malignant"]) == pytest.approx(1)
            assert phantoms.by_id[row["id"]].group == row["group"]
            assert phantoms.by_id[row["id"]].label == row["label"]


def test_a_job_says_what_it_was_and_what_came_of_it(finished: Path) -> None:
    folder = finished / "jobs/honest-probe-flips-r1-s0-f2"
    job, metrics = read_json(folder / "job.json"), read_json(folder / "metrics.json")
    told = {key: job[key] for key in ("arm", "protocol", "budget", "fold", "seed", "ratio")}
    assert told == {
        "arm": "flips",
        "protocol": "honest",
        "budget": "probe",
        "fold": 2,
        "seed": 0,
        "ratio": 1.0,
    }
    assert job["train"] == {"real": 12, "synthetic": 48}
    assert tuple(metrics) == METRICS
    rows = predictions(folder)
    right = sum((float(r["p_malignant"]) > 0.5) == (r["label"] == "malignant") for r in rows)
    assert metrics["accuracy"] == right / len(rows)


def test_the_paper_tests_synthetic_images_and_trains_on_others(finished: Path) -> None:
    job = read_json(finished / "jobs/paper-probe-flips-r1-s0-f0/job.json")
    assert job["train"] == {"real": 0, "synthetic": 50}  # 25 of 36 a class
    rows = predictions(finished / "jobs/paper-probe-flips-r1-s0-f0")
    made = {row["id"] for row in read_jsonl(finished / "sets/flips/manifest.jsonl")}
    assert len(rows) == 12
    assert {row["id"] for row in rows} <= made


def test_references_stay_in_their_contents_block(finished: Path, phantoms: Catalog) -> None:
    group = {record.id: record.group for record in phantoms.records}
    for part in sorted((finished / "sets/mean-std").glob("part_*")):
        rows = read_jsonl(part / "manifest.jsonl")
        contents = {group[row["content"]] for row in rows}
        assert {group[name] for row in rows for name in row["references"]} <= contents
        assert all(group[row["content"]] != group[row["references"][0]] for row in rows)


def test_what_is_on_disk_tells_nothing_of_the_time_left(
    phantoms: Catalog, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study_of(phantoms, weights, arms=["none", "flips"]), tmp_path / "out")
    told: dict[str, tuple[int, int]] = {}
    shown = console.progress

    def progress(what: str, total: int, *, done: int = 0) -> Any:
        told[what] = (total, done)
        return shown(what, total, done=done)

    monkeypatch.setattr(console, "progress", progress)
    run(study_of(phantoms, weights, arms=["none", "flips", "rotations"]), tmp_path / "out")
    assert told["sets"] == (6, 3)  # three parts an arm


def test_an_experiment_goes_on_and_may_get_more_arms(
    finished: Path, phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    lost = out / "jobs/honest-probe-none-r0-s0-f0"
    before = {name: (lost / name).read_bytes() for name in ("job.json", "predictions.csv")}
    shutil.rmtree(lost)
    protocols = {"protocols": ["honest", "paper"]}
    more = study_of(phantoms, weights, **protocols, arms=[*TINY["arms"], "rotations"])
    assert run(more, out) == {"jobs": 16, "done": 5}
    assert {name: (lost / name).read_bytes() for name in before} == before
    assert run(more, out)["done"] == 0

    other = study_of(phantoms, weights, probe={"ratios": [1], "strengths": [5]})
    with pytest.raises(OutputError, match=r"made with another configuration \(strengths"):
        run(other, out)


def test_an_arm_that_sees_otherwise_shares_its_images(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    arms = ["mean-std", {"name": "despeckled", "like": "mean-std", "srad_scale": 2}]
    run(study_of(phantoms, weights, arms=arms), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/sets").iterdir()] == ["mean-std"]
    first, other = (
        (tmp_path / f"out/jobs/honest-probe-{arm}-r1-s0-f0/predictions.csv").read_text()
        for arm in ("mean-std", "despeckled")
    )
    assert first != other


@pytest.mark.slow
def test_styled_arms_are_made_by_the_augment_engine(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    one = {"name": "one", "like": "proposed-la", "settings": {"style.references": 1}}
    arms = ["proposed-no-xai", one]
    study = study_of(phantoms, weights, arms=arms)
    assert run(study, tmp_path / "out")["done"] == 6
    for name, references in (("proposed-no-xai", 2), ("one", 1)):
        rows = read_jsonl(tmp_path / f"out/sets/{name}/manifest.jsonl")
        assert {len(row["references"]) for row in rows} == {references}
        assert len(rows) == 18
        made = Catalog.load(tmp_path / f"out/sets/{name}")
        assert all(made.path(record).is_file() for record in made.records)
        assert len(made.records) == sum(row["accepted"] for row in rows)


def test_all_pairs_serve_the_honest_folds_too(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    study = study_of(
        phantoms, weights, arms=["mean-std"], pairs="all", protocols=["honest", "paper"]
    )
    run(study, tmp_path / "out")
    jobs = tmp_path / "out/jobs"
    honest = read_json(jobs / "honest-probe-mean-std-r1-s0-f0/job.json")
    paper = read_json(jobs / "paper-probe-mean-std-r1-s0-f0/job.json")
    assert honest["train"] == {"real": 12, "synthetic": 2 * 6 * 6}
    assert paper["train"] == {"real": 0, "synthetic": 2 * 56}  # 70 % of 81


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["nothing"]}, "unknown arm 'nothing'"),
        ({"arms": ["none", "none"]}, "the arm 'none' is named twice"),
        ({"arms": [{"name": "x", "like": "dnst", "settings": {"style.k": 1}}]}, "style.k"),
        ({"images": 99}, "images=99, but .* has 9 of benign"),
        ({"blocks": 2}, "2 blocks cannot be dealt into 3 folds"),
        ({"blocks": 18, "folds": 12}, r"fold \d+ of seed \d has no"),
        ({"inputs": {"side": 3}}, "unknown config field inputs.side"),
    ],
)
def test_what_does_not_fit_is_named(
    phantoms: Catalog, weights: Weights, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(study_of(phantoms, weights, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_near_duplicate_in_another_group_stops_the_experiment(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    first = phantoms.records[0]
    twin = dataclasses.replace(first, id="twin", group="another")
    catalog = Catalog(phantoms.root, (*phantoms.records, twin))
    with pytest.raises(LeakError, match=f"{first.id} and twin are near-duplicates"):
        run(study_of(catalog, weights, images=None), tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(
    phantoms: Catalog, weights: Weights, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="belongs to no experiment"):
        run(study_of(phantoms, weights), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_record_of_an_experiment_tells_no_place(finished: Path) -> None:
    record = read_json(finished / "experiment.json")
    assert record["images"] == {"benign": 9, "malignant": 9}
    assert record["arms"]["flips"]["recipe"]["transform"] == "flips"
    assert str(finished.parent) not in json.dumps(record)
