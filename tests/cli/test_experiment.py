"""``busaug experiment run`` from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from distributed.launching import launch
from experiment.conftest import phantoms  # noqa: F401 - a fixture
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.data.catalog import Catalog
from busaug.errors import InputError
from busaug.experiment.arms import resolve_arms
from busaug.experiment.config import load_experiment
from busaug.experiment.jobs import list_jobs

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TINY = """
images: 9
blocks: 3
folds: 3
seeds: 1
arms: [none, mean-std]
inputs: {size: 32, srad_scale: 0}
probe: {ratios: [0.5, 1], strengths: [1, 10]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


def words(config: Path, out: Path, catalog: Catalog) -> list[str]:
    names = [str(config), str(out), "--catalog", str(catalog.root)]
    return ["experiment", "run", *names, "--weights", "random"]


def test_a_dry_run_lists_jobs_and_writes_nothing(
    config: Path,
    tmp_path: Path,
    phantoms: Catalog,  # noqa: F811
) -> None:
    out = tmp_path / "out"
    shown = CliRunner().invoke(app, [*words(config, out, phantoms), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"none +honest +probe +- +3 +0 ", shown.output)
    assert re.search(r"mean-std +honest +probe +0.5, 1 +6 +18 ", shown.output)
    assert re.search(r"9 jobs, about \d+ s on this machine, one process", shown.output)
    told = CliRunner().invoke(app, [*words(config, out, phantoms), "--dry-run", "--json"])
    guess = json.loads(told.stdout)
    assert (guess["jobs"], guess["images"]["mean-std"]) == (9, 18)
    assert not out.exists()


def test_a_catalog_has_to_be_named(config: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["experiment", "run", str(config), str(tmp_path / "out")])
    assert isinstance(result.exception, InputError)
    assert "names no catalog" in str(result.exception)


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_committed_experiments_name_what_exists(file: Path) -> None:
    experiment = load_experiment(file)
    arms = resolve_arms(experiment)
    assert list_jobs(experiment, arms)


def test_an_arm_is_compared_with_another_that_is_there(config: Path, tmp_path: Path) -> None:
    for named in ("twin", "flips"):
        file = tmp_path / f"{named}.yaml"
        twin = f"arms: [none, {{name: twin, like: none, against: {named}}}]"
        file.write_text(re.sub("arms:.*", twin, config.read_text()), encoding="utf-8")
        with pytest.raises(InputError, match=f"compared with '{named}'.* Name one of none"):
            resolve_arms(load_experiment(file))


@pytest.mark.slow
def test_the_committed_smoke_experiment_runs(
    tmp_path: Path,
    phantoms: Catalog,  # noqa: F811
) -> None:
    shown = CliRunner().invoke(app, words(EXPERIMENTS / "smoke.yaml", tmp_path / "out", phantoms))
    assert shown.exit_code == 0, shown.output
    assert "32 jobs done" in shown.output


@pytest.mark.dist
def test_two_processes_do_what_one_does(
    config: Path,
    tmp_path: Path,
    phantoms: Catalog,  # noqa: F811
) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    ended = launch("torchrun", 2, "-m", "busaug", *words(config, two, phantoms))
    assert ended.code == 0, ended.output
    assert ended.output.count("9 jobs done") == 1
    CliRunner().invoke(app, words(config, one, phantoms), catch_exceptions=False)
    jobs = [path.relative_to(one) for path in (one / "jobs").rglob("*") if path.is_file()]
    assert len(jobs) == 27
    for name in jobs:
        assert (two / name).read_bytes() == (one / name).read_bytes()
