"""The parts of the total loss against their definitions."""

import pytest
import torch
from tolerances import TOLERANCES

from busaug.reference import mmd
from busaug.style.objective import content_loss, style_losses
from busaug.style.targets import stack_targets, style_targets


def test_style_losses_are_those_of_the_definition() -> None:
    """A layer with a matrix for a target and one with features, two sets in a batch."""
    layers = {"wide": (6, 5, 4), "deep": (40, 2, 2)}
    features = {name: torch.rand(2, *shape) for name, shape in layers.items()}
    sets = [{name: torch.rand(1, *shape) for name, shape in layers.items()} for _ in range(2)]
    targets = stack_targets([style_targets(s, tuple(layers), "SR") for s in sets])
    losses = style_losses(features, targets)
    assert losses.shape == (2, 2)
    for row, name in enumerate(layers):
        for image in range(2):
            f, s = (x.flatten(1).double() for x in (features[name][image], sets[image][name][0]))
            expected = float(mmd.style_loss_kernel(f, s))
            assert float(losses[row, image]) == pytest.approx(
                expected, rel=TOLERANCES["style target, float32"]
            )


def test_content_loss_by_hand() -> None:
    f = torch.zeros(1, 2, 1, 2)
    c = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    assert content_loss(f, c).item() == pytest.approx(0.5 * (1 + 4 + 9 + 16))
    r = torch.tensor([[[[2.0, 0.0]]]])
    assert content_loss(f, c, r).item() == pytest.approx(0.5 * 2 * (1 + 9))
