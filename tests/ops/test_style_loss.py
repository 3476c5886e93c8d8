"""The public style loss against its definition by double sums over positions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
from busaug.ops.mmd import gram
from busaug.ops.style_target import FeatureTarget, GramTarget, lighter_target
from busaug.reference import mmd as reference


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value_and_gradient_are_those_of_the_definition(dtype, form, layout):
    for batch, channels, positions, count in SHAPES:
        features = laid_out(maps(batch, channels, positions, dtype=dtype), layout).requires_grad_()
        target = maps(batch, channels, count, dtype=dtype, seed=1)
        weights = torch.rand(batch, dtype=dtype)
        value = loss_by(form, features, target)
        (gradient,) = torch.autograd.grad((weights * value).sum(), features)
        assert value.shape == (batch,)
        assert value.dtype == gradient.dtype == dtype
        assert_exact(value, gradient, exact(features, target, weights))


@given(
    batch=st.integers(0, 3),
    channels=st.integers(1, 150),
    positions=st.integers(1, 40),
    count=st.integers(1, 40),
    form=st.sampled_from(FORMS),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
)
def test_any_shape(batch, channels, positions, count, form, layouts):
    features = laid_out(maps(batch, channels, positions, seed=positions), layouts[0])
    target = laid_out(maps(batch, channels, count, seed=count + 100), layouts[1])
    features.requires_grad_()
    value = loss_by(form, features, target)
    (gradient,) = torch.autograd.grad(value.sum(), features)
    assert_exact(value, gradient, exact(features, target, torch.ones(batch)))


def test_equal_sizes_give_the_gram_loss_of_gatys():
    f, s = maps(2, 6, 9), maps(2, 6, 9, seed=1)
    gatys = ((f @ f.mT - s @ s.mT) ** 2).sum((1, 2)) / (4 * 6**2 * 9**2)
    torch.testing.assert_close(busaug.style_loss(f, s), gatys, rtol=IDENTITY, atol=0)


@given(
    offset=st.floats(0.0, 5.0),
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 12)),
)
def test_an_offset_adds_the_distance_of_means(offset, sizes):
    """Against the double sums of (x^T y + c)^2, which know nothing of means."""
    channels, positions, count = sizes
    f = maps(2, channels, positions).requires_grad_()
    s = maps(2, channels, count, seed=1)
    value, gradient, scale = exact(f, s, torch.ones(2), offset)
    scale = scale + (offset + 1) ** 2  # the double sums cancel terms of that size
    for target in (FeatureTarget(s), GramTarget(gram(s), s.mean(2))):
        found = busaug.style_loss(f, target, offset=offset)
        (grad,) = torch.autograd.grad(found.sum(), f)
        assert ((found - value).abs() <= IDENTITY * scale).all()
        assert (grad - gradient).norm() <= IDENTITY * (gradient.norm() + scale.max())


def test_the_union_of_references_has_the_mean_gram_matrix():
    f = maps(1, 5, 7)
    references = [maps(1, 5, 8, seed=seed) for seed in (1, 2, 3)]
    pooled = busaug.style_loss(f, torch.cat(references, dim=2))
    mean = GramTarget(torch.stack([gram(r) for r in references]).mean(0))
    torch.testing.assert_close(pooled, busaug.style_loss(f, mean), rtol=IDENTITY, atol=0)


def test_official_gradient_is_a_tenth_of_m_times_this_one():
    """The public DNST code applies 0.1/(N^2 M) (G_F - G_S) F with unscaled Grams."""
    f, s = maps(1, 4, 6).requires_grad_(), maps(1, 4, 6, seed=1)
    (gradient,) = torch.autograd.grad(busaug.style_loss(f, s).sum(), f)
    official = 0.1 / (4**2 * 6) * (f @ f.mT - s @ s.mT) @ f
    torch.testing.assert_close(official, 0.1 * 6 * gradient, rtol=IDENTITY, atol=IDENTITY)


@pytest.mark.parametrize("form", FORMS)
def test_equal_features_have_no_distance(form):
    f = maps(2, 40, 30, dtype=torch.float32)
    value = loss_by(form, f, f.clone())
    scale = gram(f).square().sum((1, 2)) / (4 * 40**2)
    assert (value >= 0).all()
    assert (value <= TOLERANCES["style loss, float32"] * scale).all()


def test_linear_kernel_is_the_distance_of_means():
    f, s = maps(2, 5, 7), maps(2, 5, 9, seed=1)
    by_sums = (f.mT @ f).mean((1, 2)) + (s.mT @ s).mean((1, 2)) - 2 * (f.mT @ s).mean((1, 2))
    for target in (s, GramTarget(gram(s), s.mean(2))):
        found = busaug.style_loss(f, target, kernel="linear")
        torch.testing.assert_close(found, by_sums / (4 * 5**2), rtol=IDENTITY, atol=IDENTITY)


def test_batchnorm_statistics_by_hand():
    f = torch.tensor([[[1.0, 3.0], [0.0, 0.0]]])  # means 2, 0; deviations 1, 0
    s = torch.tensor([[[2.0, 6.0, 4.0, 4.0], [1.0, 1.0, 1.0, 1.0]]])  # 4, 1; sqrt 2, 0
    expected = ((2**2 + (2**0.5 - 1) ** 2) + 1**2) / 2
    f.requires_grad_()
    found = busaug.style_loss(f, FeatureTarget(s), kernel="batchnorm")
    torch.testing.assert_close(found, torch.tensor([expected]))
    (gradient,) = torch.autograd.grad(found.sum(), f)
    assert gradient.isfinite().all()  # where a channel is constant, too


def gaussian_pair(x, y, swap, variance=None):
    """The estimate from two positions of each, (N, 2); the bandwidth unless given, detached."""
    y = y.flip(1) if swap else y
    couples = [(x[:, 0], x[:, 1]), (y[:, 0], y[:, 1]), (x[:, 0], y[:, 1]), (x[:, 1], y[:, 0])]
    squares = torch.stack([((a - b) ** 2).sum() for a, b in couples])
    variance = squares.detach().mean()
    k = torch.exp(-squares / (2 * variance))
    return (k[0] + k[1] - k[2] - k[3]) / (4 * x.shape[0] ** 2)


def test_gaussian_kernel_of_two_positions_by_hand():
    """One of the two pairings there are; over seeds both; bandwidth constant in the gradient."""
    f, s = maps(1, 3, 2).requires_grad_(), maps(1, 3, 2, seed=1)
    by_hand = []
    for swap in (False, True):
        value = gaussian_pair(f[0], s[0], swap)
        by_hand.append((value, torch.autograd.grad(value, f)[0]))
    drawn = set()
    for seed in range(12):
        found = busaug.style_loss(f, FeatureTarget(s), kernel="gaussian", seed=seed)
        (gradient,) = torch.autograd.grad(found.sum(), f)
        near = [abs(float(found.detach() - value.detach())) < 1e-12 for value, _ in by_hand]
        which = near.index(True)
        drawn.add(which)
        torch.testing.assert_close(gradient, by_hand[which][1], rtol=IDENTITY, atol=IDENTITY)
    assert drawn == {0, 1}


def test_gaussian_estimate_is_unbiased():
    f, s = maps(1, 3, 120), 1.5 * maps(1, 3, 90, seed=1)
    values = torch.cat(
        [busaug.style_loss(f, s, kernel="gaussian", seed=seed) for seed in range(400)]
    )
    exact = reference.mmd2_gaussian(f[0], s[0]) / (4 * 3**2)
    error = 4 * float(values.std()) / 400**0.5
    assert abs(float(values.mean() - exact)) < error + TOLERANCES["Gaussian bandwidth"] * exact
    assert float(values.std()) > 0


def test_gaussian_pairing_is_keyed_and_shared_by_the_batch():
    f, s = maps(3, 4, 21), maps(3, 4, 16, seed=1)
    found = busaug.style_loss(f, s, kernel="gaussian", seed=5)
    torch.manual_seed(99)
    assert torch.equal(found, busaug.style_loss(f, s, kernel="gaussian", seed=5))
    alone = busaug.style_loss(f[1:2], s[1:2], kernel="gaussian", seed=5)
    torch.testing.assert_close(alone, found[1:2], rtol=IDENTITY, atol=IDENTITY)
    assert not torch.equal(found, busaug.style_loss(f, s, kernel="gaussian", seed=6))


def test_gaussian_kernel_of_equal_positions():
    f = torch.ones(1, 2, 4, requires_grad=True)
    found = busaug.style_loss(f, FeatureTarget(f.detach().clone()), kernel="gaussian")
    (gradient,) = torch.autograd.grad(found.sum(), f)
    assert float(found.detach()) == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 200, 300), (3, 300, 40)])
def test_repeats_are_equal(dtype, shape):
    features = maps(*shape, dtype=dtype).requires_grad_()
    target = FeatureTarget(maps(*shape, dtype=dtype, seed=1))
    runs = []
    for _ in range(3):
        value = busaug.style_loss(features, target)
        runs.append((value, torch.autograd.grad(value.sum(), features)[0]))
    for value, gradient in runs[1:]:
        assert torch.equal(value, runs[0][0])
        assert torch.equal(gradient, runs[0][1])


def test_callers_do_not_disturb_each_other():
    pairs = [(maps(2, 70, 9 + i, seed=i), maps(2, 70, 8, seed=50 + i)) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: busaug.style_loss(*pair), pairs))
    for found, pair in zip(together, pairs, strict=True):
        assert torch.equal(found, busaug.style_loss(*pair))


@pytest.mark.gradcheck
@pytest.mark.parametrize(
    "options", [{"offset": 0.7}, {"kernel": "linear"}, {"kernel": "batchnorm"}]
)
def test_gradients_of_the_options(options):
    features = maps(2, 3, 6).requires_grad_()
    target = maps(2, 3, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: busaug.style_loss(x, target, **options), (features,))


def by_tensor(features, maps_, matrix):
    return busaug.style_loss(features, maps_, offset=0.5)


def by_feature_target(features, maps_, matrix):
    return busaug.style_loss(features, FeatureTarget(maps_))


def by_gram_target(features, maps_, matrix):
    return busaug.style_loss(features, GramTarget(matrix))


@pytest.mark.parametrize("function", [by_tensor, by_feature_target, by_gram_target])
@pytest.mark.parametrize("positions", [6, 60])
def test_compiles_into_one_graph(function, positions):
    torch.compiler.reset()
    features = maps(2, 30, positions, dtype=torch.float32).requires_grad_()
    target = maps(2, 30, 7, dtype=torch.float32, seed=1)
    arguments = (features, target, gram(target))
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    found, expected = compiled(*arguments), function(*arguments)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(v.square().sum(), features)[0] for v in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_a_prepared_target_enters_a_compiled_graph():
    torch.compiler.reset()
    features = maps(2, 30, 6, dtype=torch.float32)
    for target in (
        lighter_target(maps(2, 30, 7, dtype=torch.float32, seed=1), 6),
        GramTarget(gram(maps(2, 30, 7, dtype=torch.float32, seed=1))),
    ):
        compiled = torch.compile(busaug.style_loss, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(features, target), busaug.style_loss(features, target))


F = maps(2, 6, 9)
S = maps(2, 6, 5, seed=1)
T = gram(S)


@pytest.mark.parametrize(
    ("features", "target", "options", "says"),
    [
        (F.numpy(), S, {}, "features is of the type ndarray"),
        (F[0], S, {}, r"features has the shape \(6, 9\)"),
        (F[:, :0], S[:, :0], {}, r"features has the shape \(2, 0, 9\)"),
        (F[:, :, :0], S, {}, r"features has the shape \(2, 6, 0\)"),
        (F.half(), S.half(), {}, "dtype float16 on the device cpu"),
        (F.bfloat16(), S.bfloat16(), {}, "dtype bfloat16 on the device cpu"),
        (F.int(), S, {}, "dtype int32"),
        (F.to("meta"), S, {}, "cpu, for features of float64 on meta"),
        (F, S.float(), {}, "dtype float32 on the device cpu, for features of float64"),
        (F.float(), T, {}, "square tensor"),
        (F, T, {}, r"busaug\.GramTarget\(matrix\) or busaug\.FeatureTarget"),
        (F, maps(2, 6, 6), {}, r"square tensor \(2, 6, 6\)"),
        (F, S.numpy(), {}, "target is of the type ndarray"),
        (F, S[0], {}, r"the target has the shape \(6, 5\)"),
        (F, S[:1], {}, r"target has the shape \(1, 6, 5\), features \(2, 6, 9\)"),
        (F, maps(2, 7, 5), {}, r"\(2, 7, 5\), features \(2, 6, 9\)"),
        (F, GramTarget(gram(maps(2, 7, 5))), {}, r"\(2, 7, 7\), features \(2, 6, 9\)"),
        (F, GramTarget(T.float()), {}, "float32 on the device cpu, for features of float64"),
        (F, GramTarget(T, S.mean(2).float()), {}, "float32 on the device cpu"),
        (F, S.clone().requires_grad_(), {}, "target requires a gradient"),
        (F, GramTarget(T), {"offset": 0.5}, r"offset=0\.5 needs the target's means"),
        (F, GramTarget(T), {"kernel": "linear"}, "linear kernel needs the target's means"),
        (F, GramTarget(T), {"kernel": "gaussian"}, "gaussian kernel against a GramTarget"),
        (F, GramTarget(T), {"kernel": "batchnorm"}, "batchnorm kernel against a GramTarget"),
        (F, S[:, :, :1], {"kernel": "gaussian"}, "9 of the image and 1 of the target"),
        (F, S, {"kernel": "cubic"}, "kernel='cubic'"),
        (F, S, {"offset": -0.1}, "offset=-0.1"),
        (F, S, {"offset": float("nan")}, "offset=nan"),
        (F, S, {"offset": 1.0, "kernel": "linear"}, "offset=1 with the linear kernel"),
    ],
)
def test_bad_input_is_named(features, target, options, says):
    with pytest.raises(InputError, match=says):
        busaug.style_loss(features, target, **options)
