"""Packed convolutions against torch's in float64; their bits, contract and refusals."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from simd import supported_simd
from tolerances import TOLERANCES
from torch.nn import functional

from busaug import _native
from busaug.ops import _launch
from busaug.ops.convolution import (
    has_convolutions,
    pack,
    pointwise_backward_op,
    pointwise_op,
    winograd_op,
)

pytestmark = pytest.mark.skipif(not has_convolutions(), reason="needs AVX2 with FMA, or AVX-512")

TOLERANCE = TOLERANCES["convolution, float32 of max|y|"]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(side, channels_in, channels_out, seed=0):
    """A weight and a bias that keep the size of what passes through."""
    weight = normal(channels_out, channels_in, side, side, seed=seed)
    return weight / (side * side * channels_in) ** 0.5, normal(channels_out, seed=seed + 1)


def packed_layer(weight):
    return pack(weight), pack(weight, transposed=True)


def ours(images, weight, bias, addend, rectify):
    packed = packed_layer(weight)
    if weight.shape[-1] == 1:
        return pointwise_op(images, *packed, bias, addend, rectify)
    return winograd_op(images, *packed, bias, rectify)


def exact(images, weight, bias, addend, rectify):
    bias = None if bias is None else bias.double()
    out = functional.conv2d(images.double(), weight.double(), bias, padding=weight.shape[-1] // 2)
    out = out if addend is None else out + addend.double()
    return out.relu() if rectify else out


def assert_near(found, expected):
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=TOLERANCE * scale)


WEIGHT, BIAS = layer(1, 16, 32)
PACKED = packed_layer(WEIGHT)
IMAGES = normal(2, 16, 4, 4)

cases = st.fixed_dictionaries(
    {
        "side": st.sampled_from([1, 3]),
        "batch": st.integers(0, 3),
        "extent": st.tuples(st.integers(1, 14), st.integers(1, 14)),
        "channels": st.tuples(st.sampled_from([16, 32, 80]), st.sampled_from([16, 32, 48])),
        "with_bias": st.booleans(),
        "with_addend": st.booleans(),
        "rectify": st.booleans(),
        "memory_format": st.sampled_from([torch.contiguous_format, torch.channels_last]),
        "seed": st.integers(0, 2**16),
    }
)


@settings(max_examples=120)
@given(cases)
def test_value_and_gradient_are_those_of_the_convolution(case):
    before, after = case["channels"]
    weight, bias = layer(case["side"], before, after, case["seed"])
    shape = (case["batch"], before, *case["extent"])
    images = normal(*shape, seed=case["seed"] + 2)
    images = images.contiguous(memory_format=case["memory_format"]).requires_grad_()
    bias = bias if case["with_bias"] else None
    addend = None
    if case["with_addend"] and case["side"] == 1:
        addend = normal(case["batch"], after, *case["extent"], seed=case["seed"] + 3)
        addend.requires_grad_()
    found = ours(images, weight, bias, addend, case["rectify"])
    expected = exact(images, weight, bias, addend, case["rectify"])
    assert_near(found.detach(), expected.detach())
    assert found.is_contiguous(memory_format=torch.channels_last)

    inputs = [images] if addend is None else [images, addend]
    above = normal(*found.shape, seed=case["seed"] + 4)
    above = above.contiguous(memory_format=case["memory_format"])
    # ReLUs switch where a rounding decides: nothing comes down there on either side.
    above = above * (expected.abs() > 1e-4)
    got = torch.autograd.grad(found, inputs, above)
    wanted = torch.autograd.grad(expected, inputs, above.double())
    for one, other in zip(got, wanted, strict=True):
        assert_near(one, other.double())


@settings(max_examples=60)
@given(cases, st.booleans(), st.booleans())
def test_the_gradient_is_gated_and_summed_with_that_of_a_branch_beside(case, gated, beside_gated):
    before, after = case["channels"]
    weight, _ = layer(1, before, after, case["seed"])
    extent, seed = (case["batch"], case["extent"]), case["seed"]
    grad, gate = (normal(extent[0], after, *extent[1], seed=seed + i) for i in (2, 3))
    beside, beside_gate = (normal(extent[0], before, *extent[1], seed=seed + i) for i in (4, 5))
    given_ = [
        each.contiguous(memory_format=case["memory_format"])
        for each in (grad, gate, beside, beside_gate)
    ]
    found = pointwise_backward_op(
        given_[0],
        given_[1] if gated else None,
        pack(weight, transposed=True),
        given_[2] if case["with_addend"] else None,
        given_[3] if case["with_addend"] and beside_gated else None,
    )
    kept = grad * (gate > 0) if gated else grad
    expected = functional.conv_transpose2d(kept.double(), weight.double())
    if case["with_addend"]:
        expected = expected + (beside * (beside_gate > 0) if beside_gated else beside)
    assert_near(found, expected)


@pytest.mark.parametrize(
    ("gate", "addend", "addend_gate", "says"),
    [
        (normal(2, 16, 4, 4), None, None, r"gate \(2, 16, 4, 4\)"),
        (normal(2, 32, 4, 4).double(), None, None, "gate .* of torch.float64"),
        (None, normal(2, 32, 4, 4), None, r"addend \(2, 32, 4, 4\)"),
        (None, normal(2, 16, 4, 4), normal(2, 16, 4, 3), r"gate of the addend \(2, 16, 4, 3\)"),
        (None, normal(2, 16, 4, 4), normal(2, 16, 4, 4).half(), "gate of the addend .*float16"),
        (None, None, normal(2, 16, 4, 4), "a gate of no addend"),
    ],
)
def test_gates_and_branches_that_do_not_fit_are_refused(gate, addend, addend_gate, says):
    with pytest.raises(RuntimeError, match=says):
        pointwise_backward_op(normal(2, 32, 4, 4), gate, PACKED[1], addend, addend_gate)


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("gated", [False, True])
def test_threads_instruction_sets_and_neighbours_change_no_bit(side, gated):
    weight, bias = layer(side, 48, 80)
    packed = pack(weight)
    images = normal(5, 48, 13, 22, seed=1).contiguous(memory_format=torch.channels_last)
    gate = normal(5, 48, 13, 22, seed=2).contiguous(memory_format=torch.channels_last)
    addend, addend_gate = (
        normal(5, 80, 13, 22, seed=seed).contiguous(memory_format=torch.channels_last)
        for seed in (3, 4)
    )

    def convolved(first, last, threads, simd):
        some = _launch.Gated(images[first:last], gate[first:last] if gated else None)
        beside = _launch.Gated(*(each[first:last] for each in (addend, addend_gate)))
        output = torch.full((last - first, 80, 13, 22), torch.nan)
        output = output.contiguous(memory_format=torch.channels_last)
        if side == 3:
            _launch.winograd_cpu(some, packed, bias, output, True, threads=threads, simd=simd)
        else:
            _launch.pointwise_cpu(
                some, packed, bias, beside, output, True, threads=threads, simd=simd
            )
        return output

    whole = convolved(0, 5, 1, "auto")
    levels = [name for name in supported_simd() if _native.has_convolutions(simd=name)]
    assert levels
    for threads, simd in itertools.product([1, 2, 3, 5], levels):
        assert torch.equal(convolved(0, 5, threads, simd), whole)
    alone = torch.cat([convolved(i, i + 1, 2, "auto") for i in range(5)])
    assert torch.equal(alone, whole)


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("rectify", [False, True])
def test_a_value_that_is_not_finite_stays_visible_and_in_its_image(side, rectify):
    weight, bias = layer(side, 16, 32)
    images = normal(3, 16, 9, 9)
    clean = ours(images, weight, bias, None, rectify)
    images[1, 3, 4, 4] = torch.nan
    found = ours(images, weight, bias, None, rectify)
    assert found[1, :, 4, 4].isnan().all()
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


def test_an_overflow_of_the_sum_is_infinite():
    weight, _ = layer(1, 16, 16)
    images = torch.full((1, 16, 2, 2), 3e38)
    out = ours(images, weight.abs() * 100, None, None, True)
    assert out.isinf().all()


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("batch", [0, 2])
def test_op_contract(with_bias, batch):
    images = normal(batch, 16, 6, 5).requires_grad_()
    for side in (1, 3):
        weight, bias = layer(side, 16, 32)
        bias = bias if with_bias else None
        if side == 3:
            torch.library.opcheck(winograd_op, (images, *packed_layer(weight), bias, True))
            continue
        for addend in (None, normal(batch, 32, 6, 5).requires_grad_()):
            arguments = (images, *packed_layer(weight), bias, addend, True)
            torch.library.opcheck(pointwise_op, arguments)


def test_traced_as_a_whole():
    torch.compiler.reset()
    first, second = layer(3, 16, 32), layer(1, 32, 16)
    packs = [packed_layer(weight) for weight, _ in (first, second)]

    def network(images):
        inner = winograd_op(images, *packs[0], first[1], True)
        return pointwise_op(inner, *packs[1], second[1], images, True)

    images = normal(2, 16, 9, 7).requires_grad_()
    traced = torch.compile(network, fullgraph=True, backend="aot_eager")
    found, expected = traced(images), network(images)
    assert torch.equal(found, expected)
    gradients = [torch.autograd.grad(v.square().sum(), images)[0] for v in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("images", "bias", "addend", "says"),
    [
        (IMAGES[0], BIAS, None, r"images \(16, 4, 4\)"),
        (IMAGES.double(), BIAS, None, "float64"),
        (IMAGES[:, :8], BIAS, None, r"images \(2, 8, 4, 4\).*packed weight \(2, 16, 16\)"),
        (IMAGES[..., :0], BIAS, None, r"images \(2, 16, 4, 0\)"),
        (IMAGES, BIAS[:16], None, r"bias \(16,\)"),
        (IMAGES, torch.zeros(64)[::2], None, r"bias \(32,\)"),
        (IMAGES, BIAS.double(), None, r"bias \(32,\)"),
        (IMAGES, BIAS, IMAGES, r"addend \(2, 16, 4, 4\)"),
        (IMAGES, BIAS, normal(2, 32, 4, 4).double(), "addend .* of torch.float64"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(images, bias, addend, says):
    with pytest.raises(RuntimeError, match=says):
        pointwise_op(images, *PACKED, bias, addend, False)


@pytest.mark.parametrize(
    ("side", "change"),
    [
        (3, lambda packed: packed[0]),  # as of a 1x1 kernel: a thirty-sixth of what is read
        (3, lambda packed: packed[:35]),
        (1, lambda packed: packed.expand(36, -1, -1, -1)),
        (3, lambda packed: packed[..., :8]),
        (1, lambda packed: packed.double()),
        (1, lambda packed: packed.transpose(0, 1).contiguous().transpose(0, 1)),
    ],
)
def test_packed_weights_of_another_kind_are_refused(side, change):
    weight, bias = layer(side, 32, 32)
    wrong = change(pack(weight))
    more = (None,) if side == 1 else ()
    op = pointwise_op if side == 1 else winograd_op
    with pytest.raises(RuntimeError, match="packed weight"):
        op(normal(2, 32, 4, 4), wrong, pack(weight, transposed=True), bias, *more, False)
    images = normal(2, 32, 4, 4).requires_grad_()
    backward = op(images, pack(weight), change(pack(weight, transposed=True)), bias, *more, False)
    with pytest.raises(RuntimeError, match="packed weight"):
        backward.sum().backward()


def test_float32_whatever_the_default_is():
    weight, bias = layer(3, 16, 32)
    expected = ours(IMAGES, weight, bias, None, True)
    torch.set_default_dtype(torch.float64)
    try:
        found = ours(IMAGES, weight, bias, None, True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "weight",
    [
        normal(16, 24, 3, 3),
        normal(8, 16, 1, 1),
        normal(16, 16, 5, 5),
        normal(16, 16, 3, 1),
        normal(16, 16),
        normal(16, 16, 3, 3).double(),
        normal(0, 16, 3, 3),
    ],
)
def test_weights_that_no_kernel_takes_are_refused(weight):
    with pytest.raises(RuntimeError, match="convolution: weight"):
        pack(weight)


def test_gradients_that_there_are_not_are_refused():
    weight, bias = layer(3, 16, 16)
    images = normal(1, 16, 5, 5).requires_grad_()
    packed = packed_layer(weight)
    with pytest.raises(NotImplementedError, match="gets no gradient"):
        winograd_op(images, *packed, bias.clone().requires_grad_(), False).sum().backward()
    out = winograd_op(images, *packed, bias, True)
    (grad,) = torch.autograd.grad(out.square().sum(), images, create_graph=True)
    with pytest.raises(NotImplementedError, match="differentiable once"):
        grad.sum().backward()


@pytest.mark.parametrize(
    "change",
    [
        {"images": 0},
        {"packed": 0},
        {"output": 0},
        {"shape": (1, 0, 4, 16, 32)},
        {"shape": (-1, 4, 4, 16, 32)},
        {"shape": (1, 4, 4, 15, 32)},
        {"threads": 0},
        {"simd": "baseline"},
        {"simd": "mmx"},
    ],
)
def test_the_native_functions_check_what_they_are_given(change):
    images = torch.zeros(1, 4, 4, 16)
    packed = torch.zeros(36, 2, 16, 16)
    output = torch.zeros(1, 4, 4, 32)
    given_ = {
        "images": images.data_ptr(),
        "gate": 0,
        "packed": packed.data_ptr(),
        "bias": 0,
        "output": output.data_ptr(),
        "shape": (1, 4, 4, 16, 32),
        "rectify": False,
        "threads": 1,
        "simd": "auto",
    }
    _native.winograd_cpu(**given_)
    with pytest.raises(ValueError, match=r"convolution|winograd|pointers|SIMD"):
        _native.winograd_cpu(**{**given_, **change})
