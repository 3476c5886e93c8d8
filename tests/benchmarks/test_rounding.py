"""Emulated bfloat16 is bfloat16, to what it is used for."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from style.cases import warm
from tolerances import TOLERANCES

from busaug.style.features import FeatureExtractor


@pytest.fixture
def rounding(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("rounding")


def test_seven_bits_are_bfloat16s(rounding: ModuleType) -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 33) * 10.0 ** torch.randint(-20, 20, (64, 33))
    ties = torch.tensor([[1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 0.0]])
    for values in (x, x.mT, ties):
        assert torch.equal(rounding.nearest(values, 7), values.bfloat16().float())
    assert rounding.nearest(torch.tensor(1 + 3 * 2.0**-11), 10) == 1 + 2 * 2.0**-10


def test_the_emulation_rounds_what_mixed_precision_rounds(rounding: ModuleType) -> None:
    """The first rounded stage gives the same numbers, and others where something is left out."""
    weights, images = warm(), torch.rand(2, 1, 48, 48)
    arm = rounding.ARMS["all three: mixed precision"]
    allowed = TOLERANCES["emulated bfloat16, part of layer1 that differs"]
    with torch.no_grad():
        mixed = FeatureExtractor("resnet50", weights, precision="mixed")(images)

        def differs(arm: object) -> float:
            found = rounding.emulated(weights, arm)(images)
            return float((found["layer1"] != mixed["layer1"]).float().mean())

        assert differs(arm) < allowed
        assert differs(replace(arm, weights=False)) > allowed
        assert differs(replace(arm, activations=False)) > allowed


def test_where_nothing_is_rounded_it_is_single_precision(rounding: ModuleType) -> None:
    weights, images = warm(), torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        exact = FeatureExtractor("resnet50", weights)(images)
        found = rounding.emulated(weights, rounding.ARMS["nothing"])(images)
    assert all(torch.equal(found[name], value) for name, value in exact.items())


def test_gradients_are_rounded_where_an_arm_says_so(rounding: ModuleType) -> None:
    x = torch.rand(8, 8, requires_grad=True)
    upstream = torch.rand(8, 8)
    for arm, expected in (
        (rounding.Arm(gradients=True), upstream.bfloat16().float()),
        (rounding.Arm(activations=True), upstream),
    ):
        (found,) = torch.autograd.grad(arm(x), x, upstream)
        assert torch.equal(found, expected)
        kept = x if not arm.activations else x.bfloat16().float()
        assert torch.equal(arm(x), kept)
