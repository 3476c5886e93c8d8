"""The alpha-beta rule of whole layers against its reference."""

from __future__ import annotations

import itertools

import pytest
import torch
from devices import needs_kernels
from hypothesis import given
from hypothesis import strategies as st
from ops.lrp_cases import A1B0, A2B1, CONVOLUTIONS, DTYPES, FORMATS, draw, options, within
from tolerances import TOLERANCES

from busaug.ops import lrp_steps
from busaug.ops.linear_map import ConvShape
from busaug.ops.lrp import lrp_alpha_beta
from busaug.ops.lrp_layers import AlphaBetaRule
from busaug.reference import lrp as reference


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("bias_mode", ["zero", "absorb"])
@pytest.mark.parametrize("alpha", [2.0, 1.0, 1.5])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CONVOLUTIONS)
def test_convolution_equals_the_rule(
    kernel, stride, padding, dilation, alpha, bias_mode, nonnegative
):
    a = draw(2, 3, 9, 11)
    a = a.clamp_min(0) if nonnegative else a
    weight, bias = draw(5, 3, kernel, kernel, seed=1), draw(5, seed=2)
    layer = reference.Linear(weight, stride, padding, dilation)
    relevance = draw(*layer.apply(a).shape, seed=3)
    absorbing = bias if bias_mode == "absorb" else None
    expected = reference.alpha_beta(layer, a, relevance, alpha, alpha - 1, absorbing=absorbing)
    rule = AlphaBetaRule(alpha, alpha - 1, bias_mode)
    shape = ConvShape((stride, stride), (padding, padding), (dilation, dilation))
    for dtype, memory_format in itertools.product(DTYPES, FORMATS):
        inputs = a.to(dtype).contiguous(memory_format=memory_format)
        arguments = (inputs, weight.to(dtype), bias.to(dtype), relevance.to(dtype))
        found = lrp_alpha_beta(*arguments, rule=rule, shape=shape, nonnegative=nonnegative)
        assert found.is_contiguous(memory_format=memory_format)
        within(found, expected)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "channels", "units"), [(1, 1, 1), (5, 31, 17), (3, 64, 7)])
def test_linear_layer_equals_the_rule(batch, channels, units, dtype, nonnegative):
    a = draw(batch, channels)
    a = a.clamp_min(0) if nonnegative else a
    weight, relevance = draw(units, channels, seed=1), draw(batch, units, seed=2)
    for rule in (A2B1, A1B0):
        expected = reference.alpha_beta(
            reference.Linear(weight), a, relevance, rule.alpha, rule.beta
        )
        arguments = (a.to(dtype), weight.to(dtype), None, relevance.to(dtype))
        within(lrp_alpha_beta(*arguments, rule=rule, nonnegative=nonnegative), expected)


def test_different_strides_and_paddings_on_the_two_axes():
    a, weight = draw(1, 2, 12, 9), draw(4, 2, 3, 2, seed=1)
    shape = ConvShape((2, 1), (0, 1), (1, 2))
    relevance = draw(1, 4, 5, 9, seed=2)
    found = lrp_alpha_beta(a, weight, None, relevance, shape=shape)
    swapped = lrp_alpha_beta(
        a.mT,
        weight.mT,
        None,
        relevance.mT,
        shape=ConvShape((1, 2), (1, 0), (2, 1)),
    )
    within(swapped.mT, found)
    assert float(found.sum()) == pytest.approx(float(relevance.sum()))


@given(
    seed=st.integers(0, 2**20),
    batch=st.integers(1, 3),
    channels=st.integers(1, 9),
    units=st.integers(1, 9),
    side=st.integers(3, 8),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    alpha=st.floats(1, 4),
    signed=st.booleans(),
)
def test_small_layers_conserve_and_equal_the_rule(
    seed, batch, channels, units, side, kernel, stride, alpha, signed
):
    a = draw(batch, channels, side, side, seed=seed)
    a = a if signed else a.clamp_min(0)
    layer = reference.Linear(draw(units, channels, kernel, kernel, seed=seed + 1), stride)
    linear = layer.apply(a)
    # a unit without any contribution has nowhere to send its relevance
    relevance = torch.where(linear == 0, 0.0, draw(*linear.shape, seed=seed + 2))
    rule = AlphaBetaRule(alpha, alpha - 1)
    shape = ConvShape((stride, stride))
    found = lrp_alpha_beta(
        a, layer.weight, None, relevance, rule=rule, shape=shape, nonnegative=not signed
    )
    within(found, reference.alpha_beta(layer, a, relevance, alpha, alpha - 1))
    # only the stabiliser takes relevance away: 1e-9 of each denominator
    magnitude = layer.apply(a.abs(), layer.weight.abs())
    smaller = torch.stack([magnitude + linear, magnitude - linear]) / 2
    weakest = torch.where(smaller > 1e-12, smaller, torch.inf).amin(0)
    allowed = (2 * alpha - 1) * relevance.abs() * 1e-9 / weakest
    lost = (found.flatten(1).sum(1) - relevance.flatten(1).sum(1)).abs()
    rounding = TOLERANCES["lrp conservation of a layer, float64"] * found.abs().sum()
    assert bool((lost <= allowed.flatten(1).sum(1) + rounding).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [A2B1, A1B0], ids=["alpha2beta1", "alpha1beta0"])
def test_a_unit_with_one_part_passes_everything_through_it(dtype, rule):
    """Weights 1 and 3 give 1/4 and 3/4 of R, whichever sign all of them have."""
    a = torch.ones(1, 2, dtype=dtype)
    weight = torch.tensor([[1.0, 3.0], [-1.0, -3.0]], dtype=dtype)
    relevance = torch.tensor([[1.0, 10.0]], dtype=dtype)
    expected = torch.tensor([[0.25 * 11, 0.75 * 11]], dtype=dtype)
    for nonnegative in (True, False):
        found = lrp_alpha_beta(a, weight, None, relevance, rule=rule, nonnegative=nonnegative)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rule", [A2B1, A1B0], ids=["alpha2beta1", "alpha1beta0"])
def test_a_unit_without_contributions_passes_nothing(rule):
    a, relevance = torch.tensor([[0.0, 2.0]]), torch.ones(1, 1)
    found = lrp_alpha_beta(a, torch.tensor([[5.0, 0.0]]), None, relevance, rule=rule)
    assert torch.equal(found, torch.zeros(1, 2))


@pytest.mark.parametrize("rows", [7, 300])
def test_rounding_is_no_negative_part(rows):
    """A thousand positive terms and one of -1e-9: a float32 difference of sums cannot see it.

    Divided by that difference, the one term would get -beta R or any multiple of it.
    """
    generator = torch.Generator().manual_seed(rows)
    a = torch.rand(rows, 1000, generator=generator)
    weight = torch.rand(20, 1000, generator=generator)
    weight[:, 0] = -1e-9
    relevance = torch.ones(rows, 20)
    # another order of the same sum, as another algorithm would have it
    linear = (a.flip(1).double() @ weight.flip(1).double().mT).float()
    for forward in (None, linear, linear * (1 + 1e-6), linear * (1 - 1e-6)):
        found = lrp_alpha_beta(a, weight, None, relevance, linear=forward, nonnegative=True)
        sums = found.double().sum(1)
        torch.testing.assert_close(sums, torch.full_like(sums, 20), rtol=1e-5, atol=0)
        assert float(found.abs().max()) < 1


def test_a_small_negative_part_above_rounding_counts():
    a, weight = torch.ones(1, 2), torch.tensor([[1.0, -1e-3]])
    found = lrp_alpha_beta(a, weight, None, torch.ones(1, 1), nonnegative=True)
    torch.testing.assert_close(found, torch.tensor([[2.0, -1.0]]), rtol=1e-4, atol=0)


def test_a_bias_that_absorbs_keeps_its_share():
    """z+ = 3 + 1: three quarters of alpha R arrive; z- = -2 - 2: half of -beta R."""
    a, weight = torch.ones(1, 2), torch.tensor([[3.0, -2.0]])
    rule = AlphaBetaRule(2, 1, "absorb")
    positive, negative = (
        lrp_alpha_beta(a, weight, torch.tensor([b]), torch.ones(1, 1), rule=rule)
        for b in (1.0, -2.0)
    )
    torch.testing.assert_close(positive, torch.tensor([[1.5, -1.0]]))
    torch.testing.assert_close(negative, torch.tensor([[2.0, -0.5]]))


def test_layouts_make_no_difference():
    a, weight = draw(2, 6, 8, 10, dtype=torch.float32), draw(4, 6, 3, 3, seed=1).float()
    relevance = draw(2, 4, 6, 8, seed=2).float()
    expected = lrp_alpha_beta(a, weight, None, relevance)
    strided = torch.empty(2, 6, 16, 20)[:, :, ::2, ::2].copy_(a)
    last = relevance.contiguous(memory_format=torch.channels_last)
    turned = weight.mT.contiguous().mT
    for inputs, w, r in ((strided, weight, relevance), (a, weight, last), (a, turned, relevance)):
        assert torch.equal(lrp_alpha_beta(inputs, w, None, r), expected)
    flat = relevance[:1, :1, :1, :1].expand_as(relevance)
    assert torch.equal(
        lrp_alpha_beta(a, weight, None, flat), lrp_alpha_beta(a, weight, None, flat.contiguous())
    )


def test_an_empty_batch():
    found = lrp_alpha_beta(
        torch.zeros(0, 3, 5, 5), torch.zeros(2, 3, 3, 3), None, torch.zeros(0, 2, 3, 3)
    )
    assert found.shape == (0, 3, 5, 5)
    for shape in ((0, 3, 5, 5), (0, 3)):
        empty = torch.zeros(shape)
        assert lrp_steps.split(empty).shape == (0, 6, *shape[2:])
        assert lrp_steps.rectified_sum(empty, empty, torch.zeros(3)).shape == shape
        found, omitted = lrp_steps.quotients(empty, empty, torch.zeros(3), empty, options())
        assert (found.shape, omitted) == ((0, 6, *shape[2:]), 0)


def test_the_forward_pass_saves_one_convolution_and_changes_nothing():
    a, weight = draw(2, 6, 8, 10, dtype=torch.float32), draw(4, 6, 3, 3, seed=1).float()
    relevance = draw(2, 4, 6, 8, seed=2).float()
    linear = torch.nn.functional.conv2d(a, weight)
    found = lrp_alpha_beta(a, weight, None, relevance, linear=linear)
    within(found, lrp_alpha_beta(a, weight, None, relevance))


def test_repeats_are_equal():
    a, weight = draw(3, 16, 20, 20, dtype=torch.float32), draw(8, 16, 3, 3, seed=1).float()
    relevance = draw(3, 8, 18, 18, seed=2).float()
    first = lrp_alpha_beta(a, weight, None, relevance)
    assert torch.equal(lrp_alpha_beta(a, weight, None, relevance), first)


@pytest.mark.cuda
@needs_kernels
class TestCuda:
    @pytest.mark.parametrize("rule", [A2B1, A1B0], ids=["alpha2beta1", "alpha1beta0"])
    @pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), CONVOLUTIONS)
    def test_op_equals_the_cpu(self, kernel, stride, padding, dilation, rule):
        shape = ConvShape((stride, stride), (padding, padding), (dilation, dilation))
        for dtype, nonnegative in itertools.product(DTYPES, (True, False)):
            a = draw(2, 3, 9, 11, dtype=dtype)
            a = a.abs() if nonnegative else a
            weight = draw(5, 3, kernel, kernel, dtype=dtype, seed=1)
            like = torch.nn.functional.conv2d(a, weight, None, *shape)
            relevance = draw(*like.shape, dtype=dtype, seed=3)
            chosen = {"rule": rule, "shape": shape, "nonnegative": nonnegative}
            expected = lrp_alpha_beta(a, weight, None, relevance, **chosen)
            found = lrp_alpha_beta(a.cuda(), weight.cuda(), None, relevance.cuda(), **chosen)
            within(found.cpu(), expected)
            again = lrp_alpha_beta(a.cuda(), weight.cuda(), None, relevance.cuda(), **chosen)
            assert torch.equal(again, found)
