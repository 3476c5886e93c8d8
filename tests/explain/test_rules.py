"""The rules of layers in the form R = a G, against the rules applied to R."""

from __future__ import annotations

import torch
from tolerances import TOLERANCES

from busaug.explain.rules import EpsilonLinear
from busaug.reference import lrp

TWIN = TOLERANCES["relevance twin, float64 of max|R|"]


def test_epsilon_form_equals_the_rule() -> None:
    a = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    linear = torch.nn.Linear(7, 4, dtype=torch.float64).requires_grad_(False)
    out = EpsilonLinear(linear)(a)
    seed = torch.randn_like(out)
    (grad_a,) = torch.autograd.grad(out, a, seed)
    expected = lrp.epsilon(lrp.Linear(linear.weight), a.detach(), (out * seed).detach())
    error = ((a * grad_a).detach() - expected).abs().max()
    assert float(error) <= TWIN * float(expected.abs().max())
