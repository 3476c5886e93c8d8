"""Ranks that die or hang: an end and a reason, soon."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributed.launching import LAUNCHERS, WORKER, launch

pytestmark = pytest.mark.dist


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_dead_rank_ends_the_run(launcher: str, tmp_path: Path) -> None:
    ended = launch(launcher, 2, str(WORKER), "dies", str(tmp_path), timeout_s=120)
    assert ended.code != 0
    assert ended.ended_at - float((tmp_path / "left").read_text()) < 30


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_hanging_rank_ends_the_run(launcher: str, tmp_path: Path) -> None:
    ended = launch(launcher, 2, str(WORKER), "hangs", str(tmp_path), timeout_s=120)
    assert ended.code != 0
    assert "an all-reduce did not end" in ended.output
    assert ended.ended_at - float((tmp_path / "left").read_text()) < 30
