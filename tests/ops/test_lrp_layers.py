"""Layers prepared for many passes: packed weights, factors, the pixels' layer."""

from __future__ import annotations

import pytest
import torch
from ops.lrp_cases import A1B0, A2B1, CONVOLUTIONS, DTYPES, draw, within

from busaug.ops import linear_map, lrp_layers
from busaug.ops.linear_map import ConvShape
from busaug.ops.lrp import lrp_alpha_beta
from busaug.ops.lrp_layers import AlphaBetaLayer, ZBoxLayer
from busaug.ops.lrp_steps import FACTORS
from busaug.reference import lrp as reference


class TestPreparedLayer:
    def propagate(self, layer, a, factor, kind="gradient"):
        return layer.propagate(a, layer.linear(a), factor, kind)

    @pytest.mark.parametrize("nonnegative", [True, False])
    @pytest.mark.parametrize("rule", [A2B1, A1B0], ids=["alpha2beta1", "alpha1beta0"])
    @pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CONVOLUTIONS)
    def test_packed_equals_plain(
        self, kernel, stride, padding, dilation, rule, nonnegative, monkeypatch
    ):
        weight, bias = draw(8, 16, kernel, kernel, seed=1).float(), draw(8, seed=2).float()
        shape = ConvShape((stride, stride), (padding, padding), (dilation, dilation))
        packed = AlphaBetaLayer(weight, bias, shape, rule, nonnegative=nonnegative)
        plain = AlphaBetaLayer(weight, bias, shape, rule, nonnegative=nonnegative, packed=False)
        for height, width in ((12, 9), (8, 8), (12, 9)):  # sizes change between calls
            a = draw(2, 16, height, width).float().contiguous(memory_format=torch.channels_last)
            a = a.clamp_min(0) if nonnegative else a
            factor = draw(*plain.linear(a).shape, seed=3).float()
            expected = self.propagate(plain, a, factor)
            within(self.propagate(packed, a, factor), expected)
            monkeypatch.setattr(lrp_layers, "_SLICE_BYTES", {2: 1, 4: 1})  # one at a time
            within(self.propagate(packed, a, factor), expected)
            monkeypatch.undo()

    def test_without_the_packing_functions_torch_convolves(self, monkeypatch):
        weight = draw(8, 16, 3, 3).float()
        a, factor = draw(1, 16, 6, 6).float(), draw(1, 8, 4, 4).float()
        expected = self.propagate(
            AlphaBetaLayer(weight, None, ConvShape(), A2B1, nonnegative=False), a, factor
        )
        linear_map._can_pack.cache_clear()
        monkeypatch.delattr(linear_map._Packed, "__call__")
        monkeypatch.setattr(linear_map._Packed, "__init__", lambda *_: torch.ops.mkldnn.gone)
        assert not linear_map._can_pack()
        layer = AlphaBetaLayer(weight, None, ConvShape(), A2B1, nonnegative=False)
        within(self.propagate(layer, a, factor), expected)
        linear_map._can_pack.cache_clear()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("kind", FACTORS)
    def test_factors_stand_for_the_same_relevance(self, dtype, kind):
        weight, bias = draw(5, 4, 3, 3, seed=1).to(dtype), draw(5, seed=2).to(dtype)
        a, factor = draw(2, 4, 7, 7).to(dtype), draw(2, 5, 5, 5, seed=3).to(dtype)
        layer = AlphaBetaLayer(weight, bias, ConvShape(), A2B1, nonnegative=False)
        output = layer.linear(a) + bias.view(-1, 1, 1)
        relevance = {
            "relevance": factor,
            "gradient": output * factor,
            "rectified_gradient": output.clamp_min(0) * factor,
        }[kind]
        expected = lrp_alpha_beta(a, weight, bias, relevance)
        within(a * self.propagate(layer, a, factor, kind), expected)

    def test_units_without_positive_part_pass_in_alpha1beta0(self):
        """Half the units have negative weights alone; relevance is conserved all the same."""
        weight = draw(6, 4, 3, 3)
        weight[::2] = -weight[::2].abs()
        a = draw(2, 4, 7, 7, seed=1).abs()
        layer = AlphaBetaLayer(weight, None, ConvShape(), A1B0, nonnegative=True)
        relevance = draw(2, 6, 5, 5, seed=2)
        found = a * self.propagate(layer, a, relevance, "relevance")
        expected = reference.alpha_beta(reference.Linear(weight), a, relevance, 1, 0)
        within(found, expected)
        assert float(found.sum()) == pytest.approx(float(relevance.sum()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CONVOLUTIONS)
def test_z_box_equals_the_rule_and_conserves(kernel, stride, padding, dilation, bias, dtype):
    low = torch.tensor([-2.0, -1.0, -1.5], dtype=torch.float64).view(1, 3, 1, 1)
    high = torch.tensor([1.0, 2.0, 1.5], dtype=torch.float64).view(1, 3, 1, 1)
    x = low + (high - low) * torch.rand(2, 3, 9, 11, dtype=torch.float64)
    weight = draw(5, 3, kernel, kernel, seed=1)
    shape = ConvShape((stride, stride), (padding, padding), (dilation, dilation))
    b = draw(5, seed=3).to(dtype) if bias else None
    layer = ZBoxLayer(weight.to(dtype), b, shape, low.to(dtype), high.to(dtype))
    linear = reference.Linear(weight, stride, padding, dilation)
    output = layer.apply(x.to(dtype))
    # units over padding alone have no contribution and nowhere to send relevance to
    gradient = draw(*output.shape, seed=2) * (linear.apply(x.abs(), weight.abs()) > 0)
    gradient = gradient.to(dtype)
    relevance = (output * gradient).double()
    found = layer.propagate(x.to(dtype), output, gradient)
    within(found, reference.z_box(linear, x, low, high, relevance))
    assert float(found.sum()) == pytest.approx(float(relevance.sum()), rel=1e-3)
