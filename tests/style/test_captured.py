"""A step as a CUDA graph: on a device, and with a stand-in for one that every step can be one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from devices import needs_device
from style.tape import Tape, stand_in
from torch import Tensor

from busaug.config import StyleConfig
from busaug.models.weights import random_weights
from busaug.style.captured import Captured
from busaug.style.features import FeatureExtractor
from busaug.style.objective import Losses, Objective
from busaug.style.optimise import minimise
from busaug.style.targets import stack_targets, style_targets

CPU = torch.device("cpu")


class Quadratic:
    """Steep along some pixels; counts its calls."""

    def __init__(self) -> None:
        self.centre = torch.rand(3, 1, 6, 6) * 1.5 - 0.25
        self.scales = torch.logspace(0, 3, 36).view(1, 1, 6, 6)
        self.calls = 0

    def __call__(self, x: Tensor) -> tuple[Losses, Tensor]:
        self.calls += 1
        apart = x - self.centre
        total = 1 + (self.scales * apart.square()).flatten(1).sum(1)
        return Losses(total, total[None], total), 2 * self.scales * apart


@pytest.mark.parametrize("changes", [{}, {"smoothing": 2.0, "plateau": 5}, {"history": 3}])
@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_a_replayed_search_ends_on_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, optimiser: str, changes: dict[str, Any]
) -> None:
    """Filter, step length, plateaus and full slots change on the way, and all follow."""
    settings = StyleConfig(optimiser=optimiser, iterations=40, step=0.02, **changes)  # type: ignore[arg-type]
    problem, start = Quadratic(), torch.rand(3, 1, 6, 6)
    pinned = torch.rand(3, 1, 6, 6) < 0.2
    plain = minimise(problem, start, settings, pinned)
    tapes = stand_in(monkeypatch)
    problem.calls = 0
    replayed = minimise(problem, start, settings, pinned, graph=True)
    assert len(tapes) == 1
    assert problem.calls == 1 + 3 + 1  # the start, the steps to warm up, the recorded one
    assert torch.equal(replayed.images, plain.images)
    assert torch.equal(torch.stack(replayed.curve), torch.stack(plain.curve))
    assert torch.equal(replayed.final.layers, plain.final.layers)
    assert torch.equal(replayed.initial.total, plain.initial.total)


def test_what_depends_on_the_host_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail: by the stand-in as by a graph, the fourth call is repeated."""
    stand_in(monkeypatch)
    numbers, total = itertools.count(1), torch.zeros(())
    captured = Captured(lambda: total.add_(next(numbers)), CPU)
    seen = []
    for _ in range(6):
        captured()
        seen.append(float(total))
    assert seen == [1, 3, 6, 10, 14, 18]


def test_a_result_that_moves_in_memory_is_not_followed() -> None:
    """Nor could a graph follow it."""

    class Moving:
        value = torch.ones(2)

        def step(self) -> None:
            self.value = 2 * self.value

    moving, tape = Moving(), Tape()
    with tape:
        moving.step()
    for _ in range(3):
        tape.replay()
    assert moving.value.tolist() == [2.0, 2.0]


@pytest.mark.cuda
@needs_device
@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
@pytest.mark.parametrize("precision", ["single", "mixed"])
def test_a_graph_gives_the_bits_of_its_steps(precision: str, optimiser: str) -> None:
    extractor = FeatureExtractor("resnet50", random_weights("resnet50"), precision=precision)  # type: ignore[arg-type]
    extractor.to("cuda")
    contents, references, start = torch.rand(3, 2, 1, 64, 64, device="cuda")
    with torch.no_grad():
        content = extractor(contents)[extractor.content_layer]
        sets = [style_targets(extractor(r[None]), extractor.style_layers, "FM") for r in references]
    even = torch.ones(len(extractor.style_layers), 1, device="cuda")
    objective = Objective(extractor, content, stack_targets(sets), even)
    settings = StyleConfig(optimiser=optimiser, iterations=30, history=5, plateau=10)  # type: ignore[arg-type]
    plain, replayed = (minimise(objective, start, settings, graph=g) for g in (False, True))
    assert torch.equal(plain.images, replayed.images)
    assert torch.equal(torch.stack(plain.curve), torch.stack(replayed.curve))
