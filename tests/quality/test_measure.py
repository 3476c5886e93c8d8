"""The figures of whole Catalogs, and ``busaug experiment quality``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from classify.conftest import build_catalog
from typer.testing import CliRunner

from busaug.cli.app import app
from busaug.data.catalog import Catalog, Split
from busaug.data.images import write_mask
from busaug.experiment.quality_tables import quality_tables
from busaug.experiment.render import markdown, read_results, tables_of
from busaug.files import write_jsonl

SIZE = 32

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Six images of noise, the benign ones with a lesion's mask of a quarter of the area."""
    train: Split = "train"
    rows = [(f"{label}-{i}", label, train) for label in ("benign", "malignant") for i in range(3)]
    root = tmp_path_factory.mktemp("real")
    catalog = build_catalog(root, rows, size=SIZE)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:16, :16] = True
    write_mask(root / "mask.png", mask)
    records = tuple(
        dataclasses.replace(r, mask="mask.png") if r.label == "benign" else r
        for r in catalog.records
    )
    Catalog(root, records).save()
    return Catalog.load(root)


@pytest.fixture(scope="module")
def found(real: Catalog, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two sets: copies of their contents, and copies of the next image of the class."""
    folder = tmp_path_factory.mktemp("made")
    for name, step in (("same", 0), ("stolen", 1)):
        records = []
        for record in real.records:
            siblings = real.of_class(record.label).records
            taken = siblings[(siblings.index(record) + step) % len(siblings)]
            file = folder / name / taken.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(real.path(taken).read_bytes())
            records.append(
                dataclasses.replace(record, file=taken.file, sha256=taken.sha256, mask=None)
            )
        Catalog(folder / name, tuple(records)).save()
        rows = ({"id": record.id, "content": record.id} for record in records)
        write_jsonl(folder / name / "manifest.jsonl", rows)
    save = folder / "quality.json"
    command = ["experiment", "quality", str(real.root), "--weights", "random", "--size", str(SIZE)]
    command += [str(folder / "same"), str(folder / "stolen")]
    command += ["--save", str(save), "--set", "srad.scales=2"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Memorisation" in result.stdout
    assert "random features" in result.stderr
    kept = json.loads(save.read_text(encoding="utf-8"))
    assert quality_tables(kept) == tables_of(read_results(save))
    return dict(kept)


def test_despeckling_raises_the_snr_and_keeps_fewer_edges(found: dict[str, Any]) -> None:
    before, first, second = found["despeckling"]
    assert [row["scale"] for row in found["despeckling"]] == [0, 1, 2]
    assert before["snr"] < first["snr"] < second["snr"]
    assert before["edges"] == 1.0
    assert before["edges"] > first["edges"] > second["edges"]
    assert before["cnr"] is not None


def test_a_set_of_the_same_images_is_at_no_distance(found: dict[str, Any]) -> None:
    rows = {(row["set"], row["class"]): row for row in found["distances"]}
    assert rows["same", "benign"]["spectrum_db"] == 0.0
    assert rows["same", "benign"]["kid"] <= 0
    assert rows["same", "benign"]["frechet"] is None  # three images, 2048 features
    assert rows["stolen", "benign"]["kid"] == pytest.approx(rows["same", "benign"]["kid"])
    assert rows["real halves", "benign"]["kid"] is None  # one image in a half
    assert rows["other classes", "benign"]["spectrum_db"] > 0
    text = markdown(quality_tables(found))
    assert "| same | benign | 3 / 3 |" in text
    assert "| real halves | benign | 2 / 1 | undefined | undefined | undefined |" in text


def test_copies_of_another_case_are_told_from_copies_of_the_own(found: dict[str, Any]) -> None:
    same, stolen = found["memory"]
    assert same["near_duplicates_of_another"] == 0
    assert same["nearer_to_another"] == 0.0
    assert stolen["near_duplicates_of_another"] == stolen["images"] == 6
    assert stolen["nearer_to_another"] == 1.0
    assert stolen["ssim_other_max"] == pytest.approx(1.0)
    assert stolen["cosine_other"] == pytest.approx(1.0)


def test_only_images_with_a_lesion_are_localised(found: dict[str, Any]) -> None:
    rows = {(row["set"], row["method"]): row for row in found["localisation"]}
    methods = ["alpha2beta1", "alpha1beta0", "gradient x input", "random"]
    assert list(rows) == [
        (name, method) for name in ("real", "same", "stolen") for method in methods
    ]
    for row in rows.values():
        assert row["images"] == 3
        assert row["area"] == 0.25
        assert 0 <= row["mass"] <= 1
    assert rows["real", "random"]["mass"] == pytest.approx(0.25, abs=0.05)


def test_relevance_is_compared_with_that_of_the_contents(found: dict[str, Any]) -> None:
    rows = {(row["set"], row["method"]): row for row in found["localisation"]}
    for method in ("alpha2beta1", "alpha1beta0", "gradient x input", "random"):
        real, same, stolen = (rows[name, method] for name in ("real", "same", "stolen"))
        assert "mass_before" not in real
        assert (same["mass"], same["pointing"]) == (real["mass"], real["pointing"])
        assert same["mass_before"] == stolen["mass_before"] == real["mass"]
        assert same["pointing_before"] == real["pointing"]
    text = markdown(quality_tables(found))
    same = rows["same", "random"]
    assert f"| same | random | 3 | {same['mass']:.3f} ({same['mass']:.3f}) |" in text


def test_two_sets_of_one_name_are_refused(real: Catalog) -> None:
    catalogs = [str(real.root)] * 3
    command = ["experiment", "quality", *catalogs, "--weights", "random"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code != 0
    assert "are called" in str(result.exception)
