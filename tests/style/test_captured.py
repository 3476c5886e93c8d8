"""An evaluation as a CUDA graph: on a device, and with a stand-in for one what is copied when."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from busaug.config import StyleConfig
from busaug.models.weights import random_weights
from busaug.style.captured import Captured
from busaug.style.features import FeatureExtractor
from busaug.style.objective import Losses, Objective
from busaug.style.optimise import minimise
from busaug.style.targets import stack_targets, style_targets


class Recorded:
    """Twice the images and their sums, always written to the same memory, as a graph does."""

    def __init__(self) -> None:
        self.grad, self.sums = torch.empty(2, 1, 3, 3), torch.empty(2)
        self.calls = 0
        self.given: Tensor | None = None

    def __call__(self, images: Tensor) -> tuple[Losses, Tensor]:
        self.calls += 1
        self.given = images
        self.again()
        return Losses(self.sums, self.sums[None], self.sums), self.grad

    def again(self) -> None:
        assert self.given is not None
        self.grad.copy_(2 * self.given)
        self.sums.copy_(self.given.sum(dim=(1, 2, 3)))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    evaluate = Recorded()
    stream = SimpleNamespace(wait_stream=lambda other: None)
    names: dict[str, Callable[..., object]] = {
        "device": lambda device: contextlib.nullcontext(),
        "stream": lambda stream: contextlib.nullcontext(),
        "graph": lambda graph, **options: contextlib.nullcontext(),
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "CUDAGraph": lambda: SimpleNamespace(replay=evaluate.again),
    }
    for name, stand_in in names.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return evaluate


def test_images_are_copied_in_and_results_out(recorded: Recorded) -> None:
    first, second = torch.rand(2, 2, 1, 3, 3)
    captured = Captured(recorded, first)
    calls = recorded.calls
    losses, grad = captured(first)
    later = captured(second)
    assert recorded.calls == calls > 1  # warmed up and captured; never called again
    assert torch.equal(grad, 2 * first)
    assert torch.equal(losses.total, first.sum(dim=(1, 2, 3)))
    assert torch.equal(later[1], 2 * second)
    assert recorded.given is not first


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["single", "mixed"])
def test_a_graph_gives_the_bits_of_the_objective(precision: str) -> None:
    extractor = FeatureExtractor("resnet50", random_weights("resnet50"), precision=precision)  # type: ignore[arg-type]
    extractor.to("cuda")
    images = torch.rand(4, 2, 1, 64, 64, device="cuda")
    with torch.no_grad():
        content = extractor(images[0])[extractor.content_layer]
        sets = [style_targets(extractor(r[None]), extractor.style_layers, "FM") for r in images[1]]
    even = torch.ones(len(extractor.style_layers), 1, device="cuda")
    objective = Objective(extractor, content, stack_targets(sets), even)
    captured = Captured(objective, images[2])
    for each in (images[2], images[3], images[2]):
        (expected, slope), (losses, grad) = objective(each), captured(each)
        assert torch.equal(losses.total, expected.total)
        assert torch.equal(losses.layers, expected.layers)
        assert torch.equal(grad, slope)
    settings = StyleConfig(iterations=6)
    plain, replayed = (minimise(f, images[2], settings) for f in (objective, captured))
    assert torch.equal(plain.images, replayed.images)
