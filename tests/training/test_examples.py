"""The examples train: each on simulated images and variants that ``busaug augment`` made."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from busaug.cli import app
from busaug.data.phantom import write_phantoms

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = {
    "style": {"size": 48, "iterations": 4, "calibration_pairs": 2},
    "gate": {"ssim_max": 1.0, "lesion_ssim_min": 0.0},  # a few evaluations change little
    "compute": {"threads": 1},
}


def busaug(*words: object) -> None:
    with patch.object(sys, "argv", ["busaug", *map(str, words)]), pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("examples")
    write_phantoms(root / "phantoms", 12, 64, seed=0)
    settings = root / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS))
    catalog, variants = root / "catalog", root / "variants"
    busaug("prepare", root / "phantoms", catalog)
    busaug("augment", catalog, variants, "--config", settings, "--weights", "random")
    return catalog, variants


@pytest.mark.parametrize("library", [None, "torchvision", "monai", "albumentations"])
def test_an_example_trains(library, folders, request, monkeypatch, capsys):
    if library is not None:
        request.getfixturevalue(library)  # skips where it is absent
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", ["example", *map(str, folders), "--epochs", "6"])
    runpy.run_path(str(EXAMPLES / f"with_{library or 'torch'}.py"), run_name="__main__")
    losses = [float(loss) for loss in re.findall(r"loss (\S+),", capsys.readouterr().out)]
    assert len(losses) == 6
    assert losses[-1] < losses[0]


def test_every_example_is_run():
    run = {"with_torch", "with_torchvision", "with_monai", "with_albumentations", "loop"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == run
