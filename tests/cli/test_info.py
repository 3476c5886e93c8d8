"""``busaug info`` for people and for machines."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

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
    distributed = facts["distributed"]
    assert (distributed["launcher"], distributed["backend"]) == (None, "single")
    assert distributed["torch"]["gloo"] == torch.distributed.is_gloo_available()
    assert set(facts["weights"]) == {"resnet50", "vgg19"}


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, f"busaug {busaug.__version__}\n")


def test_text_has_a_line_for_every_fact() -> None:
    result = CliRunner().invoke(app, ["info"], catch_exceptions=False)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["busaug", busaug.__version__] in lines
    for name in ("native", "cpu", "cuda", "torch", "horovod", "resnet50"):
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


def horovod_is(monkeypatch: pytest.MonkeyPatch, **members: object) -> dict[str, Any]:
    """What is told of a Horovod whose torch module has these members."""
    module = types.ModuleType("horovod.torch")
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, "horovod", types.ModuleType("horovod"))
    monkeypatch.setitem(sys.modules, "horovod.torch", module)
    facts = environment.gather()["distributed"]["horovod"]
    assert isinstance(facts, dict)
    return facts


def test_horovod_is_told_with_what_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built = {"gloo_built": lambda: True, "nccl_built": lambda: 0, "mpi_built": lambda: False}
    facts = horovod_is(monkeypatch, init=print, **built)
    assert facts["problem"] is None
    assert [facts[name] for name in ("gloo", "nccl", "mpi")] == [True, False, False]


def test_horovod_counts_only_when_built_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    # a Horovod without its torch extension imports, but offers no init
    facts = horovod_is(monkeypatch)
    assert "without its torch extension" in facts["problem"]
    assert not facts["gloo"]


def test_the_back_end_of_this_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    facts = environment.gather()["distributed"]
    assert (facts["launcher"], facts["processes"]) == ("horovodrun", 2)
    assert facts["backend"] == "horovod"
    monkeypatch.setenv("HOROVOD_RANK", "2")
    facts = environment.gather()["distributed"]
    assert facts["backend"] is None
    assert "HOROVOD_RANK=2 is no rank" in facts["problem"]
    assert "HOROVOD_RANK=2" in CliRunner().invoke(app, ["info"]).stdout
