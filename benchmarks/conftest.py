"""Races between an implementation and its reference, and a summary of their ratios.

``pytest benchmarks`` checks results only; ``pytest benchmarks --benchmark-enable`` times as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import torch

_LINES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-race", action="store_true", help="time ours alone, not the references")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread, so that a ratio compares code and not schedulers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """summary(line): add a line to the end of the report."""
    return request.config.stash.setdefault(_LINES, []).append


@pytest.fixture
def race(
    request: pytest.FixtureRequest, benchmark, summary: Callable[[str], None]
) -> Callable[..., float | None]:
    """race(ours, reference): how many times faster ours is; None when timing is disabled
    or races are called off (--no-race).

    The two take turns in one process, so that a slow moment of the machine strikes both. The ratio
    is that of their fastest turns: other work on the machine only ever adds time.
    """

    def run(
        ours: Callable[[], object], reference: Callable[[], object], *, turns: int = 5
    ) -> float | None:
        if not benchmark.enabled or request.config.getoption("--no-race"):
            return None
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(turns):
            for function, found in zip((ours, reference), times, strict=True):
                start = time.perf_counter()
                function()
                found.append(time.perf_counter() - start)
        mine, theirs = (min(found) for found in times)
        ratio = theirs / mine
        benchmark.extra_info["times_faster_than_reference"] = round(ratio, 3)
        benchmark.extra_info["milliseconds"] = round(1e3 * mine, 2)
        summary(
            f"{request.node.name}: {1e3 * mine:.1f} ms, reference {1e3 * theirs:.1f} ms,"
            f" {ratio:.1f} times faster"
        )
        return ratio

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(_LINES, [])
    if lines:
        terminalreporter.section("against the reference")
        for line in lines:
            terminalreporter.line(line)
