"""The alpha-beta rule against its reference: kernels step by step, the op whole, bad input."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCES

from busaug.errors import InputError
from busaug.ops import _launch, linear_map, lrp, lrp_layers, lrp_steps
from busaug.ops._backend import build_info, has_cuda_kernels
from busaug.ops.linear_map import ConvShape
from busaug.ops.lrp import lrp_alpha_beta
from busaug.ops.lrp_layers import AlphaBetaLayer, AlphaBetaRule, ZBoxLayer
from busaug.ops.lrp_steps import FACTORS
from busaug.reference import lrp as reference

DTYPES = [torch.float32, torch.float64]
FORMATS = [torch.contiguous_format, torch.channels_last]
# (B, N, h, w): one element, odd, prime, a vector less one, one, and one more, several rows.
MAPS = [(1, 1, 1, 1), (2, 3, 5, 7), (1, 15, 1, 3), (3, 16, 2, 2), (1, 17, 4, 4), (2, 64, 9, 11)]
# kernel, stride, padding, dilation
CONVOLUTIONS = [
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (1, 1, 0, 1),
    (1, 2, 0, 1),
    (1, 1, 1, 1),
    (7, 2, 3, 1),
    (3, 1, 2, 2),
    (3, 3, 0, 2),
    (2, 1, 1, 1),
    (3, 1, 3, 1),
]
A2B1, A1B0 = AlphaBetaRule(2, 1), AlphaBetaRule(1, 0)


def close(found, expected, name):
    assert found.shape == expected.shape
    error = float((found.double() - expected.double()).abs().max())
    assert error <= TOLERANCES[name] * float(expected.abs().max())


def within(found, expected):
    close(found, expected, f"lrp op, {str(found.dtype)[6:]} of max|R|")


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def supported_simd():
    levels = build_info()["simd"]
    return levels[: levels.index(build_info()["simd_in_use"]) + 1]


def options(kind="relevance", **changes):
    values = {
        "alpha": 2.0,
        "beta": 1.0,
        "rounding": 1e-3,
        "zero_part": True,
        "absorb_bias": False,
        "factor_kind": FACTORS.index(kind),
        "parts": 2,
    }
    return {**values, **changes}


def unit_maps(shape, dtype, memory_format=torch.contiguous_format):
    """z+, linear part and factor of units of every kind: both parts, one, none, within rounding."""
    positive = draw(*shape, dtype=dtype, seed=1).clamp_min(0)
    linear = positive - draw(*shape, dtype=dtype, seed=2).clamp_min(0)
    linear = torch.where(draw(*shape, seed=3) > 1, positive * (1 - 5e-4), linear)
    maps = (positive, linear, draw(*shape, dtype=dtype, seed=4))
    return [each.contiguous(memory_format=memory_format) for each in maps]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", MAPS)
class TestSteps:
    @pytest.mark.parametrize("kind", FACTORS)
    @pytest.mark.parametrize("zero_part", [True, False])
    @pytest.mark.parametrize("absorb_bias", [True, False])
    def test_quotients(self, shape, dtype, memory_format, kind, zero_part, absorb_bias):
        positive, linear, factor = unit_maps(shape, dtype, memory_format)
        bias = draw(shape[1], dtype=dtype, seed=5)
        for alpha in (2.0, 1.0):
            chosen = options(
                kind, alpha=alpha, beta=alpha - 1, zero_part=zero_part, absorb_bias=absorb_bias
            )
            expected = reference.quotients(
                positive, linear, bias, factor, **{k: v for k, v in chosen.items() if k != "parts"}
            )
            found, omitted = lrp_steps.quotients(positive, linear, bias, factor, chosen)
            assert torch.equal(found, expected)
            assert omitted == 0
            alone, omitted = lrp_steps.quotients(
                positive, linear, bias, factor, {**chosen, "parts": 1}
            )
            assert torch.equal(alone, expected[:, : shape[1]])
            assert omitted == int(expected[:, shape[1] :].count_nonzero())

    def test_rectified_sum(self, shape, dtype, memory_format):
        left, right, _ = unit_maps(shape, dtype, memory_format)
        bias = draw(shape[1], dtype=dtype)
        for other in (None, right):
            expected = reference.rectified_sum(left, other, bias)
            assert torch.equal(lrp_steps.rectified_sum(left, other, bias), expected)

    def test_split_and_merge(self, shape, dtype, memory_format):
        _, inputs, _ = unit_maps(shape, dtype, memory_format)
        split = lrp_steps.split(inputs)
        assert torch.equal(split, reference.split(inputs))
        positive, negative = split.chunk(2, dim=1)
        assert torch.equal(positive - negative, inputs)
        back = draw(*split.shape, dtype=dtype)
        merged = lrp_steps.merge(inputs, back)
        assert torch.equal(merged, reference.merge(inputs, back))
        both = (split * back).unflatten(1, (2, shape[1])).sum(1)
        assert torch.equal(inputs * merged, both)

    def test_product(self, shape, dtype, memory_format):
        left, right, _ = unit_maps(shape, dtype, memory_format)
        found, sums = lrp_steps.product(left, right)
        assert torch.equal(found, left * right)
        exact = found.double().flatten(1)
        expected = torch.stack([exact.sum(1), exact.abs().sum(1)], dim=1)
        torch.testing.assert_close(sums, expected, rtol=1e-13, atol=1e-13)


def test_product_sums_images_larger_than_a_block():
    left, right = draw(2, 3, 97, 101, dtype=torch.float32), draw(2, 3, 97, 101, seed=1).float()
    _, sums = lrp_steps.product(left, right)
    exact = (left * right).double().flatten(1)
    torch.testing.assert_close(sums[:, 0], exact.sum(1), rtol=0, atol=1e-10)
    torch.testing.assert_close(sums[:, 1], exact.abs().sum(1), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_threads_and_instruction_sets_give_the_same_bits(dtype, memory_format):
    shape = (3, 67, 23, 31)  # more than a thread's least share of elements
    positive, linear, factor = unit_maps(shape, dtype, memory_format)
    bias, back = draw(67, dtype=dtype), draw(3, 134, 23, 31, dtype=dtype)
    back = back.contiguous(memory_format=memory_format)
    results = []
    for threads, simd in itertools.product([1, 2, 4], supported_simd()):
        place = {"threads": threads, "simd": simd}
        quotients, merged = torch.empty_like(back), torch.empty_like(linear)
        split, rectified = torch.empty_like(back), torch.empty_like(linear)
        alone, product = torch.empty_like(linear), torch.empty_like(linear)
        sums = torch.empty(3, 7, 2, dtype=torch.float64)
        layer = (positive, linear, bias, factor)
        _launch.lrp_quotients(*layer, quotients, options("gradient"), **place)
        omitted = _launch.lrp_quotients(*layer, alone, options(parts=1), **place)
        _launch.lrp_rectified_sum(linear, factor, bias, rectified, **place)
        _launch.lrp_split(linear, split, **place)
        _launch.lrp_merge(linear, back, merged, **place)
        _launch.lrp_product(linear, factor, product, sums, **place)
        tensors = (quotients, alone, rectified, split, merged, product, sums)
        results.append((*tensors, torch.tensor(omitted)))
    for result in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(result, results[0], strict=True))


def test_callers_do_not_disturb_each_other():
    layers = [unit_maps((2, 16, 30, 20 + index), torch.float32) for index in range(8)]

    def quotients(maps):
        return lrp_steps.quotients(maps[0], maps[1], torch.zeros(16), maps[2], options())[0]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(quotients, layers))
    assert all(torch.equal(*pair) for pair in zip(together, map(quotients, layers), strict=True))


FORKED = """
import os, signal, torch
from busaug.ops import lrp_steps
torch.set_num_threads(2)
inputs = torch.ones(64, 4096)
before = lrp_steps.split(inputs)
child = os.fork()
if child == 0:
    signal.alarm(20)  # torch's own loops may wait for ever here: NumPy compares
    same = (lrp_steps.split(inputs).numpy() == before.numpy()).all()
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_wait_for_threads_it_lost():
    away = Path(__file__).anchor  # from the source tree, which holds no native module
    subprocess.run([sys.executable, "-c", FORKED], cwd=away, check=True, timeout=60)


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


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_op_contract(channels_last, nonnegative):
    a, weight = draw(2, 3, 6, 5).float().abs(), draw(4, 3, 3, 3, seed=1).float()
    if channels_last:
        a = a.contiguous(memory_format=torch.channels_last)
    relevance, linear = draw(2, 4, 3, 5, seed=2).float(), draw(2, 4, 3, 5, seed=3).float()
    shape = ([2, 1], [1, 1], [1, 1])
    for bias, given_linear in ((None, None), (torch.ones(4), linear)):
        arguments = (a, weight, bias, given_linear, relevance, *shape, 2.0, 1.0, True, True)
        torch.library.opcheck(lrp.lrp_alpha_beta_op, (*arguments, nonnegative))
    flat = (draw(2, 3), draw(4, 3), None, None, draw(2, 4), *shape, 1.0, 0.0, True, False, False)
    torch.library.opcheck(lrp.lrp_alpha_beta_op, flat)


def test_op_in_a_full_graph():
    a, weight = draw(2, 3, 6, 6).float(), draw(4, 3, 3, 3, seed=1).float()
    relevance = draw(2, 4, 4, 4, seed=2).float()

    def double(a, relevance):
        shape = ([1, 1], [0, 0], [1, 1])
        return 2 * lrp.lrp_alpha_beta_op(
            a, weight, None, None, relevance, *shape, 2.0, 1.0, True, False, False
        )

    compiled = torch.compile(double, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(a, relevance), double(a, relevance))


def test_a_gradient_is_refused_rather_than_missing():
    a = draw(1, 2).requires_grad_()
    shape = ([1, 1], [0, 0], [1, 1])
    out = lrp.lrp_alpha_beta_op(
        a, draw(3, 2), None, None, draw(1, 3), *shape, 2.0, 1.0, True, False, False
    )
    with pytest.raises(NotImplementedError, match=r"busaug\.reference\.lrp"):
        out.sum().backward()


GOOD = {
    "inputs": torch.ones(2, 3, 5, 5),
    "weight": torch.ones(4, 3, 3, 3),
    "bias": torch.ones(4),
    "relevance": torch.ones(2, 4, 3, 3),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inputs": torch.ones(2, 3, 5)}, r"inputs have the shape \(2, 3, 5\)"),
        ({"inputs": torch.ones(2, 3)}, r"inputs have the shape \(2, 3\)"),
        ({"inputs": torch.ones(2, 6, 5, 5)}, "6 channels.*groups are not supported"),
        ({"weight": torch.ones(4, 0, 3, 3), "inputs": torch.ones(2, 0, 5, 5)}, "0 channels"),
        ({"relevance": torch.ones(2, 4, 5, 5)}, r"relevance has the shape .*\(2, 4, 3, 3\)"),
        ({"bias": torch.ones(3)}, r"bias has the shape \(3,\)"),
        ({"linear": torch.ones(2, 4, 3, 4)}, "linear has the shape"),
        ({"weight": torch.ones(4, 3, 3, 3).double()}, "weight is torch.float64"),
        ({"inputs": torch.full((2, 3, 5, 5), torch.nan)}, "inputs holds NaN"),
        ({"relevance": torch.full((2, 4, 3, 3), torch.inf)}, "relevance holds NaN or infinity"),
        ({"shape": ConvShape((0, 1))}, "out of range"),
        ({"shape": ConvShape(padding=(-1, 0))}, "out of range"),
        ({"weight": torch.ones(4, 3, 7, 3)}, r"kernel of \(7, 3\).* exceeds"),
    ],
)
def test_bad_input_is_named(change, says):
    arguments = {**GOOD, **change}
    with pytest.raises(InputError, match=says):
        lrp_alpha_beta(**arguments)


def test_a_foreign_dtype_is_named():
    halves = {name: tensor.half() for name, tensor in GOOD.items()}
    with pytest.raises(InputError, match="float16"):
        lrp_alpha_beta(**halves)


@pytest.mark.parametrize(
    ("alpha", "beta", "says"),
    [(2, 0, "alpha=2, beta=0"), (0.5, -0.5, "beta=-0.5"), (float("nan"), 1, "alpha=nan")],
)
def test_a_rule_that_does_not_conserve_is_named(alpha, beta, says):
    with pytest.raises(InputError, match=says):
        AlphaBetaRule(alpha, beta)


def test_an_unknown_bias_mode_is_named():
    with pytest.raises(InputError, match="bias='keep'"):
        AlphaBetaRule(bias="keep")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"extents": (1, 0, 8)}, "extents"),
        ({"extents": (-1, 8, 8)}, "extents"),
        ({"alpha": 3.0}, "alpha - beta"),
        ({"alpha": 0.0, "beta": -1.0}, "negative"),
        ({"rounding": -1.0}, "rounding"),
        ({"factor_kind": 3}, "factor"),
        ({"parts": 3}, "parts"),
        ({"dtype": "float16"}, "float16"),
        ({"threads": 0}, "threads"),
        ({"simd": "mmx"}, "mmx"),
        ({"linear": 0}, "null"),
    ],
)
def test_the_native_module_checks_again(change, says):
    from busaug import _native

    # nothing is read from these addresses: each call is refused before
    names = ("positive", "linear", "bias", "factor", "quotients")
    call = dict.fromkeys(names, 16) | {"dtype": "float32", "extents": (1, 8, 8)}
    with pytest.raises(ValueError, match=says):
        _native.lrp_quotients_cpu(**{**call, **options(), "threads": 1, "simd": "auto", **change})


def test_a_tensor_is_no_address():
    from busaug import _native

    place = {"dtype": "float32", "extents": (1, 1, 1), "threads": 1, "simd": "auto"}
    with pytest.raises(TypeError):
        _native.lrp_split_cpu(inputs=torch.ones(1), split=16, **place)


@pytest.mark.cuda
@pytest.mark.skipif(
    not (torch.cuda.is_available() and has_cuda_kernels()), reason="no CUDA device or kernels"
)
class TestCuda:
    @pytest.mark.parametrize("memory_format", FORMATS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_steps_equal_the_cpu(self, dtype, memory_format):
        tolerance = TOLERANCES[f"lrp cuda step, {str(dtype)[6:]}"]
        for shape in MAPS:
            maps = unit_maps(shape, dtype, memory_format)
            positive, linear, factor = maps
            there = [each.cuda() for each in maps]
            bias, back = draw(shape[1], dtype=dtype), lrp_steps.split(linear)
            pairs = [
                (lrp_steps.split(linear), lrp_steps.split(there[1])),
                (lrp_steps.merge(linear, back), lrp_steps.merge(there[1], back.cuda())),
                *zip(
                    lrp_steps.product(linear, factor),
                    lrp_steps.product(there[1], there[2]),
                    strict=True,
                ),
            ]
            for other, other_there in ((None, None), (linear, there[1])):
                pairs.append(
                    (
                        lrp_steps.rectified_sum(positive, other, bias),
                        lrp_steps.rectified_sum(there[0], other_there, bias.cuda()),
                    )
                )
            for kind in FACTORS:
                here, _ = lrp_steps.quotients(positive, linear, bias, factor, options(kind))
                cuda, _ = lrp_steps.quotients(*there[:2], bias.cuda(), there[2], options(kind))
                pairs.append((here, cuda))
            for here, cuda in pairs:
                torch.testing.assert_close(cuda.cpu(), here, rtol=tolerance, atol=tolerance)

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

    def test_runs_on_the_current_stream(self):
        maps = [each.cuda() for each in unit_maps((8, 64, 64, 64), torch.float32)]
        bias = torch.zeros(64, device="cuda")
        expected, _ = lrp_steps.quotients(*maps[:2], bias, maps[2], options())
        late = torch.zeros_like(maps[2])
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            late.copy_(maps[2])
            found, _ = lrp_steps.quotients(*maps[:2], bias, late, options())
        stream.synchronize()
        assert torch.equal(found, expected)

    @pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
    def test_runs_on_the_tensors_device(self):
        inputs = draw(1, 3, 8, 8).float()
        found = lrp_steps.split(inputs.to("cuda:1"))
        assert found.device.index == 1
        assert torch.equal(found.cpu(), lrp_steps.split(inputs))
        assert torch.cuda.current_device() == 0
