"""``busaug info`` for people and for machines."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import busaug
from busaug import environment
from busaug.cli.app import app


def test_json_carries_the_facts() -> None:
    result = CliRunner().invoke(app, ["info", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["versions"]["busaug"] == busaug.__version__
    assert facts["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert facts["native"]["cpu"] is True
    assert facts["native"]["simd_in_use"] in facts["native"]["simd"]
    assert facts["devices"][0]["device"] == "cpu"
    assert len(facts["devices"]) == 1 + torch.cuda.device_count()
    assert set(facts["distributed"]) == {"gloo", "nccl", "mpi", "horovod"}
    assert set(facts["weights"]) == {"resnet50", "vgg19"}


def test_text_has_a_line_for_every_fact() -> None:
    result = CliRunner().invoke(app, ["info"], catch_exceptions=False)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["busaug", busaug.__version__] in lines
    for name in ("native", "cpu", "cuda", "gloo", "horovod", "resnet50"):
        assert any(line[:1] == [name] for line in lines), name


def test_weights_are_looked_for_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("BUSAUG_WEIGHTS", str(tmp_path))
    assert environment.gather()["weights"] == {"resnet50": None, "vgg19": None}
    file = tmp_path / "resnet50.safetensors"
    file.touch()
    assert environment.gather()["weights"]["resnet50"] == str(file)


@pytest.mark.parametrize(("members", "usable"), [({"init": print}, True), ({}, False)])
def test_horovod_counts_only_when_built_for_torch(
    monkeypatch: pytest.MonkeyPatch, members: dict[str, object], usable: bool
) -> None:
    # a Horovod without its torch extension imports, but offers no init
    module = types.ModuleType("horovod.torch")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, "horovod", types.ModuleType("horovod"))
    monkeypatch.setitem(sys.modules, "horovod.torch", module)
    assert environment.gather()["distributed"]["horovod"] is usable
