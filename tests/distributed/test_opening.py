"""A launcher without its library is an error that says so; one message stands for all ranks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch
from distributed.test_launch import HOROVODRUN, SRUN, TORCHRUN
from typer.testing import CliRunner

from busaug.cli import app as program
from busaug.cli.shared import resolve_compute
from busaug.config import Config, load_config
from busaug.distributed.communicator import Communicator, Single, agreed, gradient_groups
from busaug.distributed.opening import open_communicator
from busaug.errors import InputError, PeerFailure


def pretend(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _forget_horovod() -> Iterator[None]:
    """What a test imports as horovod is not what the next one finds."""
    before = _loaded()
    yield
    for name in _loaded():
        del sys.modules[name]
    sys.modules.update(before)


def _loaded() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "horovod"}


def horovod_is(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Put a package called horovod, whose torch module is ``code``, before any other."""
    package = folder / "horovod" / "torch"
    package.mkdir(parents=True)
    (folder / "horovod" / "__init__.py").write_text("__version__ = '0.28.1'\n")
    (package / "__init__.py").write_text(code)
    for name in _loaded():
        del sys.modules[name]
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        # what plain pip leaves behind: it imports, says something, and has no init
        ("print('Warning! MPI libs are missing')", "installed without its torch extension"),
        ("raise OSError('undefined symbol: _ZN5torch')", "cannot be loaded: undefined symbol"),
    ],
)
def test_a_horovod_that_cannot_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    code: str,
    problem: str,
) -> None:
    pretend(monkeypatch, HOROVODRUN)
    horovod_is(monkeypatch, tmp_path, code)
    with pytest.raises(InputError, match=rf"{problem}.*Run scripts/install_horovod\.sh"):
        open_communicator()
    assert capsys.readouterr().out == ""


def test_no_horovod_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, HOROVODRUN)
    monkeypatch.setitem(sys.modules, "horovod.torch", None)
    with pytest.raises(InputError, match=r"Horovod is not installed.*install_horovod\.sh"):
        open_communicator()


def test_a_horovod_that_sees_other_processes_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, HOROVODRUN)
    names = "init = shutdown = lambda: None\nHorovodInternalError = OSError\n"
    horovod_is(monkeypatch, tmp_path, f"{names}size = lambda: 1\n")
    with pytest.raises(InputError, match="horovodrun started 4 processes, Horovod sees 1"):
        open_communicator()


@pytest.mark.parametrize(
    ("environ", "arguments", "complaint"),
    [
        (TORCHRUN, ["evaluate", "m", "c", "--distributed", "horovod"], "every process would be"),
        (TORCHRUN, ["prepare", "a", "b"], "'busaug prepare' is for one process, torchrun started"),
        (SRUN, ["evaluate", "m", "c"], "srun started 4 processes that cannot find each other"),
    ],
)
def test_a_rank_complains_by_its_number(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: Mapping[str, str],
    arguments: list[str],
    complaint: str,
) -> None:
    pretend(monkeypatch, environ)
    monkeypatch.setattr(sys, "argv", ["busaug", *arguments])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("rank 3 of 4: error: ")
    assert complaint in error


def test_separate_runs_under_srun_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, SRUN)
    assert isinstance(open_communicator("single"), Single)
    with pytest.raises(InputError, match="absent is not a Catalog"):
        CliRunner().invoke(
            program.app, ["explain", "absent", "b", "--model", "c"], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (PeerFailure("rank 0 has failed", reported=True), ""),
        (
            PeerFailure("an all-reduce did not end: Connection closed"),
            "rank 3 of 4: stopped, since",
        ),
    ],
)
def test_a_peers_failure_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: PeerFailure,
    told: str,
) -> None:
    def fail() -> None:
        raise failure

    pretend(monkeypatch, TORCHRUN)
    monkeypatch.setattr(program, "app", fail)
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith(told)
    assert bool(told) == (not failure.reported)


def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(9)), raising=False)
    assert resolve_compute(Config()).compute.threads == 9
    pretend(monkeypatch, TORCHRUN)  # two of the four are on this machine
    assert resolve_compute(Config()).compute.threads == 4
    chosen = load_config(overrides=["compute.threads=3"])
    assert resolve_compute(chosen).compute.threads == 3


@pytest.mark.parametrize(
    ("chosen", "precision"), [("auto", "single"), ("single", "single"), ("mixed", "mixed")]
)
def test_a_precision_is_chosen_for_the_processor_where_none_is(chosen: str, precision: str) -> None:
    config = load_config(overrides=[f"style.precision={chosen}"])
    assert resolve_compute(config).style.precision == precision


class OfTwo(Single):
    """Rank 1 of two, as far as it is asked."""

    rank = 1  # type: ignore[assignment]
    size = 2  # type: ignore[assignment]
    local_rank = 1  # type: ignore[assignment]


def test_every_rank_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    comm: Communicator = OfTwo()
    assert comm.device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="cuda:0 would be shared by 2 processes"):
        comm.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("busaug.distributed.communicator.open_device", torch.device)
    assert comm.device("cuda") == torch.device("cuda:1")


def test_a_failure_alone_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"), agreed(Single()):
        raise KeyError("mine")


@pytest.mark.parametrize("widths", [[1], [5, 5, 5, 5], [100, 1, 1, 1, 1], [3] * 50])
def test_gradients_travel_in_at_most_four_groups(widths: list[int]) -> None:
    model = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(width)) for width in widths)
    frozen = torch.nn.Parameter(torch.zeros(7), requires_grad=False)
    model.append(frozen)
    groups = gradient_groups(model)
    sent = [parameter for group in groups for parameter in group]
    assert [id(p) for p in sent] == [id(p) for p in reversed(list(model)[:-1])]
    assert len(groups) <= 4
    assert all(groups)
    # none is larger than its quarter and the one parameter that crosses into the next
    assert max(sum(p.numel() for p in group) for group in groups) <= sum(widths) / 4 + max(widths)
