"""The gray stem computes what the network's own does on three equal channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from busaug.models.preprocess import imagenet_normalise
from busaug.style.stem import GrayStem


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(7, 2, 3), (3, 1, 1)])
@pytest.mark.parametrize("shape", [(32, 32), (33, 40)])
def test_the_gray_stems_gradient_is_that_of_three_equal_channels(
    kernel: int, stride: int, padding: int, shape: tuple[int, int]
) -> None:
    conv = nn.Conv2d(3, 5, kernel, stride, padding).double().requires_grad_(False)
    gray = torch.rand(2, 1, *shape, dtype=torch.float64, requires_grad=True)
    for rectify in (False, True):
        stem = GrayStem(conv, rectify=rectify)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            out = stem(gray)
            above = torch.randn_like(out).contiguous(memory_format=memory_format)
            (got,) = torch.autograd.grad(out, gray, above)
            plain = conv(imagenet_normalise(gray))
            plain = plain.relu() if rectify else plain
            torch.testing.assert_close(out, plain)
            (expected,) = torch.autograd.grad(plain, gray, above)
            torch.testing.assert_close(got, expected)
    # A few pixels: it takes a difference for each.
    few = gray[:, :, -12:, -9:].detach().requires_grad_()
    assert torch.autograd.gradcheck(GrayStem(conv), few)


def test_stem_maps_of_many_sizes_do_not_pile_up() -> None:
    stem = GrayStem(torch.nn.Conv2d(3, 4, 3, padding=1, bias=False))
    first = stem(torch.ones(1, 1, 8, 8))
    for side in range(9, 40):
        stem(torch.ones(1, 1, side, 8))
    assert len(stem._maps) <= 8
    assert torch.equal(stem(torch.ones(1, 1, 8, 8)), first)
