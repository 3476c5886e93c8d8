"""--quiet, --json and --log-file of the long commands, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from augment.conftest import FAST
from distributed.launching import launch

from busaug import console
from busaug.cli import app as program
from busaug.data.ingest import prepare
from busaug.data.phantom import write_phantoms
from busaug.errors import OutputError

LENIENT = (
    "gate.saturated_max=1",
    "gate.lesion_ssim_min=0",
)  # what four evaluations do to features of random weights
AUGMENT = [part for setting in (*FAST, *LENIENT, "plan.contents=2") for part in ("--set", setting)]
RANDOM = ["--weights", "random"]
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voice")
    write_phantoms(root / "phantoms", 8, 48, seed=0)
    prepare([root / "phantoms"], root / "catalog", layout="busi", classes=None, seed=0)
    return root / "catalog"


def run(*arguments: object) -> int:
    """The exit code of the program, as a shell sees it."""
    with patch.object(sys, "argv", ["busaug", *map(str, arguments)]):
        try:
            program.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def test_augment_tells_machines_its_summary(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("augment", catalog, out, *RANDOM, *AUGMENT, "--json") == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    summary = json.loads(line)
    assert (summary["out"], summary["planned"], summary["accepted"]) == (str(out), 2, 2)
    assert "2/2" in captured.err  # progress stays, apart from the result
    assert run("verify", out, "--json") == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert len(checks) == 7
    assert not any(check["faults"] for check in checks)
    assert run("augment", catalog, tmp_path / "no", *RANDOM, *AUGMENT, "--json", "--dry-run") == 0
    guess = json.loads(capsys.readouterr().out)
    assert sum(guess["pairs"].values()) == 2
    assert guess["seconds"] > 0


def test_quiet_leaves_warnings_alone(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("augment", catalog, tmp_path / "out", *RANDOM, *AUGMENT, "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = " ".join(captured.err.split()).split("warning: ")
    assert len(lines) == 2  # what comes before the first, and "no pretrained weights"
    assert "random" in lines[1]


def test_the_log_has_command_progress_warnings_and_results(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "run.log"
    options = [*RANDOM, *AUGMENT, "--quiet", "--log-file", log]
    assert run("augment", catalog, tmp_path / "out", *options) == 0
    assert run("augment", catalog, tmp_path / "out", *options, "--resume", "never") == 2
    assert run("augment", catalog, tmp_path / "out", *options, "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    text = log.read_text(encoding="utf-8")
    assert all(STAMP.match(line) for line in text.splitlines())
    parts = re.split(r"^\S+ \$ busaug ", text, flags=re.MULTILINE)[1:]
    assert len(parts) == 3
    assert f"augment {catalog}" in parts[0]
    for wanted in ("warning: no pretrained", ": 2/2, ", "2 of 2 images accepted"):
        assert wanted in parts[0]
    assert "error: " in parts[1]
    assert "already holds this run" in parts[1]
    assert "2 of 2 images accepted" in parts[2]


def test_train_tells_machines_its_summary(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ("train.size=32", "train.epochs=1", "train.batch=8", "compute.threads=1")
    settings = [part for value in values for part in ("--set", value)]
    log = tmp_path / "log"
    options = [*RANDOM, *settings, "--json", "--log-file", log]
    assert run("train", catalog, tmp_path / "model", *options) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["epochs"] == 1
    assert set(summary["validation"]) == {"confusion", "metrics", "undefined"}
    assert "best epoch 1 of 1" in log.read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):  # noqa: SIM117
        with console.speaking(log_file=tmp_path / "file" / "run.log"):
            pytest.fail("went on")


def test_every_command_has_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    from docs.commands import options_of

    from busaug.cli import commands

    for words in (*([c.__name__] for c in commands()), ["experiment", "run"]):
        found = options_of(words)
        assert found is not None
        assert {"--quiet", "--log-file"} <= found[1], words
    for words in (["augment"], ["train"], ["evaluate"], ["verify"], ["experiment", "run"]):
        found = options_of(words)
        assert found is not None
        assert "--json" in found[1], words


def test_plain_progress_has_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 20.0, 30.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("images", 13, done=3) as advance:
        advance(4)
        advance(6)
    assert capsys.readouterr().err.splitlines() == [
        "images: 7/13, 0.2/s, about 30 s left",
        "images: 13/13, 0.333/s, 30.0 s",
    ]


@pytest.mark.dist
@pytest.mark.slow
def test_of_two_processes_one_tells_the_summary(catalog: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ["augment", str(catalog), str(tmp_path / "out"), *RANDOM, *AUGMENT, "--json"]
    ended = launch("torchrun", 2, "-m", "busaug", *words, "--quiet", "--log-file", str(log))
    assert ended.code == 0, ended.output
    (line,) = [line for line in ended.output.splitlines() if line.startswith("{")]
    assert json.loads(line)["accepted"] == 2
    text = log.read_text(encoding="utf-8")
    assert text.count("$ busaug augment") == text.count("2 of 2 images accepted") == 1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Programs started meanwhile heed Ctrl-C, also where the tests run in the background.

    A shell's background jobs ignore SIGINT, and programs they start would as well.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_bytes(catalog: Path, tmp_path: Path) -> None:
    settings = [*AUGMENT, "--set", "plan.contents=6", "--set", "plan.unit=1"]
    settings += ["--set", "style.iterations=40"]  # some seconds to stop it in
    command = [sys.executable, "-m", "busaug", "augment", str(catalog)]
    options = [*RANDOM, *settings]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [*command, str(stopped), *options],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path.anchor,  # else a source tree would be imported in the package's place
    )
    until = time.monotonic() + 120
    while not list(stopped.rglob("*--0000.png")) and started.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGINT, errors
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    assert 0 < len(list(stopped.rglob("*--0000.png"))) < 6
    for folder in (stopped, whole):
        assert run("augment", catalog, folder, *options) == 0
    for name in ("manifest.jsonl", "catalog.jsonl"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
