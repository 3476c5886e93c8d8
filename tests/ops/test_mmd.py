"""The style loss's ops: native kernels, and what torch asks of an op."""

from __future__ import annotations

import itertools

import pytest
import torch
from devices import needs_kernels
from ops.style_cases import (
    DTYPES,
    FORMS,
    IDENTITY,
    LAYOUTS,
    SHAPES,
    assert_exact,
    exact,
    laid_out,
    loss_by,
    maps,
)
from tolerances import TOLERANCES

import busaug
from busaug.errors import InputError
from busaug.ops import _launch, mmd
from busaug.ops._backend import build_info
from busaug.ops.mmd import BLOCK, gram, gram_energy, style_loss_gram_op, style_loss_kernel_op
from busaug.ops.style_target import FeatureTarget, GramTarget
from busaug.reference import mmd as reference


def supported_simd():
    levels = build_info()["simd"]
    return levels[: levels.index(build_info()["simd_in_use"]) + 1]


def packed(products):
    """Row blocks of the lower triangle of (B, N, N), as the kernel reads them."""
    channels = products.shape[1]
    rows = [
        products[:, begin : begin + BLOCK, : min(begin + BLOCK, channels)].flatten()
        for begin in range(0, channels, BLOCK)
    ]
    return torch.cat(rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 15, 64, 127, 129, 600])
def test_native_difference_is_exact_and_the_same_for_threads_and_instruction_sets(dtype, channels):
    features = maps(2, channels, 9, dtype=dtype)
    product = features @ features.mT
    target = gram(maps(2, channels, 5, dtype=dtype, seed=1))
    expected = product.tril() / 9 - target.tril()
    expected = expected + expected.tril(-1).mT
    squares = expected.double().square().sum((1, 2)) / (4 * channels**2)
    losses = []
    for threads, simd in itertools.product([1, 2, 4], supported_simd()):
        difference = torch.full_like(target, torch.nan)
        loss = torch.full((2,), torch.nan, dtype=dtype)
        _launch.gram_difference_cpu(
            packed(product),
            target,
            difference,
            loss,
            positions=9,
            block=BLOCK,
            threads=threads,
            simd=simd,
        )
        assert torch.equal(difference, expected)
        losses.append(loss)
    assert all(torch.equal(loss, losses[0]) for loss in losses)
    tolerance = TOLERANCES[f"sum of squares, {str(dtype)[6:]}"]
    torch.testing.assert_close(losses[0].double(), squares, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 15, 4096, 4097, 300_001])
def test_native_inner_products(dtype, count):
    x, y = maps(2, count, dtype=dtype), maps(2, count, dtype=dtype, seed=1)
    outputs = []
    for threads, simd in itertools.product([1, 2, 4], supported_simd()):
        output = torch.full((2,), torch.nan, dtype=torch.float64)
        _launch.inner_products_cpu(x, y, output, threads=threads, simd=simd)
        outputs.append(output)
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    expected = (x.double() * y.double()).sum(1)
    torch.testing.assert_close(outputs[0], expected, rtol=IDENTITY, atol=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (1, 0, 8)}, "extents"),
        ({"shape": (1, 8, 0)}, "extents"),
        ({"block": 100}, "multiple of 64"),
        ({"dtype": "float16"}, "float16"),
        ({"threads": 0}, "threads"),
        ({"simd": "mmx"}, "mmx"),
        ({"products": 0}, "null"),
        ({"difference": 16}, "null or equal"),
    ],
)
def test_the_native_module_checks_again(change, says):
    from busaug import _native

    # nothing is read from these addresses: each call is refused before
    call = {"products": 16, "target": 32, "difference": 48, "loss": 64, "dtype": "float32"}
    call |= {"shape": (1, 8, 8), "block": 128, "threads": 1, "simd": "auto"}
    with pytest.raises(ValueError, match=says):
        _native.gram_difference_cpu(**{**call, **change})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_device_path_in_torch(dtype):
    """It runs on any device, so its arithmetic is tested here; half types count as rounded."""
    features, target = maps(2, 20, 12, dtype=dtype), gram(maps(2, 20, 8, seed=1)).float()
    difference, loss = torch.empty_like(target), torch.empty(2)
    mmd._fill_difference_torch(features, target, difference, loss)
    exact = reference.gram(features.double()) - target.double()
    tolerance = TOLERANCES["style loss, float32"]
    torch.testing.assert_close(difference.double(), exact, rtol=0, atol=tolerance)
    value = exact.square().sum((1, 2)) / (4 * 20**2)
    torch.testing.assert_close(loss.double(), value, rtol=tolerance, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_strides_make_no_difference(form):
    features, target = maps(2, 20, 12), maps(2, 20, 8, seed=1)
    expected = loss_by(form, features, target)
    sliced = torch.full((4, 40, 24), torch.nan, dtype=torch.float64)[::2, ::2, ::2].copy_(features)
    swapped = features.transpose(0, 1).contiguous().transpose(0, 1)
    for view in (sliced, swapped):
        assert not view.is_contiguous()
        leaf = view.detach().requires_grad_()
        value = loss_by(form, leaf, target.mT.contiguous().mT)
        torch.testing.assert_close(value, expected, rtol=IDENTITY, atol=0)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        assert_exact(value, gradient, exact(features, target, torch.ones(2)))
    expanded = features[:1].expand(3, 20, 12)
    value = loss_by(form, expanded, target[:1].expand(3, 20, 8))
    torch.testing.assert_close(value, expected[:1].expand(3), rtol=IDENTITY, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_incoming_gradients_of_any_stride(form):
    """A sum hands back a single number with stride 0, an index every second one."""
    features, target = maps(4, 20, 12).requires_grad_(), maps(4, 20, 8, seed=1)
    value = loss_by(form, features, target)
    weights = torch.tensor([3.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    _, expected, _ = exact(features, target, weights)
    for grad in (weights, torch.stack([weights, weights], dim=1)[:, 1]):
        (gradient,) = torch.autograd.grad(value, features, grad, retain_graph=True)
        torch.testing.assert_close(gradient, expected, rtol=IDENTITY, atol=IDENTITY)
    (gradient,) = torch.autograd.grad(value, features, weights[:1].expand(4), retain_graph=True)
    _, expected, _ = exact(features, target, weights[:1].expand(4))
    torch.testing.assert_close(gradient, expected, rtol=IDENTITY, atol=IDENTITY)


@pytest.mark.gradcheck
@pytest.mark.parametrize("form", FORMS)
def test_gradients(form):
    features = maps(2, 5, 4).requires_grad_()
    target = maps(2, 5, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss_by(form, x, target), (features,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", ["gram", "kernel of matrix", "kernel of features", "backward"])
def test_op_contract(op, layout):
    features = laid_out(maps(2, 20, 12, dtype=torch.float32), layout).requires_grad_()
    target = maps(2, 20, 8, dtype=torch.float32, seed=1)
    matrix, energy = gram(target), gram_energy(target)
    plain, grad = features.detach(), torch.ones(1).expand(2)
    ops = torch.ops.busaug
    calls = {
        "gram": [(style_loss_gram_op, (features, matrix))],
        "kernel of matrix": [(style_loss_kernel_op, (features, matrix, None, energy, True))],
        "kernel of features": [
            (style_loss_kernel_op, (features, None, target, energy, True)),
            (style_loss_kernel_op, (plain, None, target, energy, False)),
        ],
        "backward": [
            (ops.style_loss_gram_backward.default, (grad, plain, matrix)),
            (ops.style_loss_kernel_backward.default, (grad, plain, plain)),
        ],
    }
    for function, arguments in calls[op]:
        torch.library.opcheck(function, arguments)


@pytest.mark.parametrize("form", FORMS)
def test_a_second_gradient_is_refused(form):
    features = maps(1, 5, 4).requires_grad_()
    value = loss_by(form, features, maps(1, 5, 3, seed=1))
    (gradient,) = torch.autograd.grad(value.sum(), features, create_graph=True)
    with pytest.raises(NotImplementedError, match="differentiable once"):
        torch.autograd.grad(gradient.sum(), features)


def test_a_gradient_that_is_not_computed_is_refused():
    features, target = maps(1, 5, 4).requires_grad_(), maps(1, 5, 3, seed=1)
    matrix, energy = gram(target), gram_energy(target)
    for value in (
        style_loss_gram_op(features, matrix.requires_grad_())[0],
        style_loss_kernel_op(features, matrix, None, energy, True)[0],
    ):
        with pytest.raises(NotImplementedError, match="target: detach"):
            value.sum().backward()
    value, _ = style_loss_kernel_op(features, None, target, energy, False)
    with pytest.raises(NotImplementedError, match="differentiate=False"):
        value.sum().backward()


def test_the_ops_check_again():
    features, target = maps(2, 5, 4), maps(2, 5, 3, seed=1)
    matrix, energy = gram(target), gram_energy(target)
    for wrong in (matrix[:1], matrix.float(), target, matrix.to("meta")):
        with pytest.raises(RuntimeError, match="target matrix"):
            style_loss_gram_op(features, wrong)
    for wrong in (target[:1], target.float(), target[:, :4], target[0], target.to("meta")):
        with pytest.raises(RuntimeError, match="target features"):
            style_loss_kernel_op(features, None, wrong, energy, True)
    for given in ((matrix, target), (None, None)):
        with pytest.raises(RuntimeError, match="one of them"):
            style_loss_kernel_op(features, *given, energy, True)
    with pytest.raises(RuntimeError, match="energy"):
        style_loss_kernel_op(features, matrix, None, energy.float(), True)
    with pytest.raises(RuntimeError, match="float16"):
        style_loss_gram_op(features.half(), matrix)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing(form):
    features, target = maps(2, 30, 12, dtype=torch.float32), maps(2, 30, 8, seed=1).float()
    leaf = features.requires_grad_()
    expected = loss_by(form, leaf, target)
    (grad_expected,) = torch.autograd.grad(expected.sum(), leaf)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_by(form, leaf, target)
        (gradient,) = torch.autograd.grad(found.sum(), leaf)
    assert torch.equal(found, expected)
    assert torch.equal(gradient, grad_expected)


@pytest.mark.parametrize("form", FORMS[:-1])
@pytest.mark.parametrize("where", ["features", "target"])
def test_nan_stays_in_its_image(form, where):
    features, target = maps(3, 20, 12), maps(3, 20, 8, seed=1)
    clean = loss_by(form, features, target)
    (features if where == "features" else target)[1, 3, 4] = torch.nan
    leaf = features.requires_grad_()
    value = loss_by(form, leaf, target)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    assert value.isnan().tolist() == [False, True, False]
    assert gradient.isnan().flatten(1).any(1).tolist() == [False, True, False]
    torch.testing.assert_close(value[::2], clean[::2], rtol=IDENTITY, atol=0)


@pytest.mark.cuda
@needs_kernels
class TestCuda:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_equals_the_definition(self, dtype, form, layout):
        name = str(dtype)[6:]
        for batch, channels, positions, count in SHAPES:
            features = laid_out(maps(batch, channels, positions, dtype=dtype).cuda(), layout)
            features.requires_grad_()
            target = maps(batch, channels, count, dtype=dtype, seed=1).cuda()
            value = loss_by(form, features, target)
            # scaled up as in training with float16: the gradient has a factor 1/(N^2 M)
            weights = torch.full((batch,), float(channels**2 * positions))
            (gradient,) = torch.autograd.grad((weights.cuda() * value).sum(), features)
            assert value.dtype == torch.float32
            assert gradient.dtype == dtype
            loss, grad, scale = exact(features.cpu(), target.cpu(), weights)
            error = (value.cpu().double() - loss).abs()
            assert (error <= TOLERANCES["style loss, cuda value"] * scale).all()
            difference = (gradient.cpu().double() - grad).norm()
            assert difference <= TOLERANCES[f"style loss, cuda {name} gradient"] * grad.norm()

    def test_repeats_are_equal(self):
        features = maps(3, 200, 300, dtype=torch.float32).cuda().requires_grad_()
        target = FeatureTarget(maps(3, 200, 100, dtype=torch.float32, seed=1).cuda())
        runs = []
        for _ in range(3):
            value = busaug.style_loss(features, target)
            runs.append((value, torch.autograd.grad(value.sum(), features)[0]))
        for value, gradient in runs[1:]:
            assert torch.equal(value, runs[0][0])
            assert torch.equal(gradient, runs[0][1])

    def test_runs_on_the_current_stream(self):
        features = maps(2, 64, 3000, dtype=torch.float32).cuda()
        target = GramTarget(gram(maps(2, 64, 100, dtype=torch.float32, seed=1).cuda()))
        expected = busaug.style_loss(features, target)
        late = torch.zeros_like(features)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            late.copy_(features)
            found = busaug.style_loss(late, target)
        stream.synchronize()
        assert torch.equal(found, expected)

    def test_devices_and_dtypes_are_named(self):
        features = maps(2, 6, 9).cuda()
        with pytest.raises(InputError, match="dtype float64 on the device cuda"):
            busaug.style_loss(features, maps(2, 6, 5).cuda())
        with pytest.raises(InputError, match="on the device cpu, for features of float32 on cuda"):
            busaug.style_loss(features.float(), maps(2, 6, 5).float())
