"""Relevance propagation as an operation of torch, and careless input to it."""

from __future__ import annotations

import pytest
import torch
from ops.lrp_cases import draw, options

from busaug.errors import InputError
from busaug.ops import lrp
from busaug.ops.linear_map import ConvShape
from busaug.ops.lrp import lrp_alpha_beta
from busaug.ops.lrp_layers import AlphaBetaRule


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
