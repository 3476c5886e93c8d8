"""The style loss against its definition by double sums over positions, in both of its forms."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCES
from torch.utils._python_dispatch import TorchDispatchMode

import busaug
from busaug.errors import InputError
from busaug.ops import _launch, mmd
from busaug.ops._backend import build_info
from busaug.ops.mmd import (
    BLOCK,
    TILE,
    gram,
    gram_energy,
    style_loss_gram_op,
    style_loss_kernel_op,
)
from busaug.ops.style_target import (
    FeatureTarget,
    GramTarget,
    concatenate_targets,
    gram_operations,
    kernel_operations,
    lighter_target,
)
from busaug.reference import mmd as reference

DTYPES = [torch.float32, torch.float64]
FORMS = ["gram", "kernel of matrix", "kernel of features", "chosen", "chosen for matrix"]
LAYOUTS = ["positions", "channels"]  # whichever lies innermost
SHAPES = [  # batch, channels, positions, target positions
    (1, 1, 1, 1),
    (3, 7, 5, 11),
    (2, 17, 1, 3),
    (2, 1, 31, 2),
    (2, 63, 40, 20),
    (1, 64, 64, 64),
    (2, 65, 13, 13),
    (1, BLOCK - 1, 9, 9),
    (2, BLOCK, 9, 4),
    (1, BLOCK + 1, 9, 9),
    (1, 2 * BLOCK + 64, 7, 7),
    (1, 2 * BLOCK + 65, 3, 3),
    (2, 3, TILE - 1, 5),
    (1, 3, TILE, 5),
    (1, 5, TILE + 1, TILE + 3),
    (1, 2, 2 * TILE + 1, 2),
    (0, 4, 6, 8),
]


def maps(*shape, dtype=torch.float64, seed=0):
    """Feature maps as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.3
    return values.clamp_min(0).to(dtype)


def laid_out(values, layout):
    return values.mT.contiguous().mT if layout == "channels" else values.contiguous()


def loss_by(form, features, target):
    """The loss against target features, by a form of the ops or as the public function chooses."""
    matrix = gram(target)
    if form == "gram":
        return style_loss_gram_op(features, matrix)[0]
    if form == "kernel of matrix":
        energy = matrix.double().square().sum((1, 2))
        return style_loss_kernel_op(features, matrix, None, energy, True)[0]
    if form == "kernel of features":
        return style_loss_kernel_op(features, None, target, gram_energy(target), True)[0]
    if form == "chosen":
        return busaug.style_loss(features, FeatureTarget(target))
    return busaug.style_loss(features, GramTarget(matrix))


def exact(features, target, weights, offset=0.0):
    """Loss (B,), gradient of its weighted sum, and the loss's scale, from the double sums."""
    f = features.detach().double().requires_grad_()
    s = target.double()
    losses = [reference.style_loss_kernel(a, b, offset) for a, b in zip(f, s, strict=True)]
    value = torch.stack(losses) if losses else f.sum((1, 2))
    (gradient,) = torch.autograd.grad((weights.double() * value).sum(), f)
    scale = reference.gram(f).square().sum((1, 2)) + reference.gram(s).square().sum((1, 2))
    return value.detach(), gradient, scale.detach() / (4 * features.shape[1] ** 2)


def assert_exact(value, gradient, expected):
    loss, grad, scale = expected
    tolerance = TOLERANCES[f"style loss, {str(value.dtype)[6:]}"]
    assert ((value.double() - loss).abs() <= tolerance * scale).all()
    assert (gradient.double() - grad).norm() <= tolerance * grad.norm()


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


IDENTITY = TOLERANCES["mmd identities, float64"]


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


# Linear, Gaussian and BatchNorm kernels


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


# The choice of form


class Products(TorchDispatchMode):
    """Counts multiply-adds of batched products and the largest tensor made; names ops of ours."""

    def __init__(self):
        super().__init__()
        self.operations, self.largest, self.ops = 0, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.name().split(".")[0]
        if name in ("aten::bmm", "aten::baddbmm_"):
            a = args[0] if name == "aten::bmm" else args[1]
            self.operations += a.numel() * result.shape[2]
        if name.startswith("busaug::"):
            self.ops.append(name.removeprefix("busaug::"))
        if name in ("aten::empty", "aten::new_empty", "aten::zeros_like", "aten::empty_like"):
            self.largest = max(self.largest, result.numel())
        return result


@pytest.mark.parametrize("channels", [16, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_operation_counts_are_those_of_the_products_made(channels):
    features, target = maps(1, channels, 20), maps(1, channels, 30, seed=1)
    matrix = gram(target)
    with Products() as made:
        _, difference = mmd._gram_forward(features, matrix)
        mmd._gram_backward(torch.ones(1, dtype=torch.float64), features, difference)
    assert made.operations == gram_operations(channels, 20)
    energy = torch.zeros(1, dtype=torch.float64)
    for against, count in (((matrix, None), None), ((None, target), 30)):
        with Products() as made:
            mmd._kernel_forward(features, *against, energy, True)
        assert made.operations == kernel_operations(channels, 20, count)


def test_symmetry_halves_the_gram_product():
    assert gram_operations(64, 100) == 2 * 64**2 * 100  # one block: nothing to save
    many = gram_operations(1024, 100) - 1024**2 * 100
    assert many == 1024**2 * 100 * (1 + BLOCK / 1024) / 2


@pytest.mark.parametrize(
    ("positions", "count", "form"),
    [
        (60, 60, "gram"),
        (6, 6, "kernel"),
        (6, 30, "kernel"),
        (6, 90, "gram"),
        (60, None, "gram"),
        (6, None, "kernel"),
    ],
)
def test_the_cheaper_form_is_taken(positions, count, form):
    target = GramTarget(gram(maps(1, 40, 9))) if count is None else maps(1, 40, count)
    with Products() as made:
        busaug.style_loss(maps(1, 40, positions), target)
    assert made.ops == [f"style_loss_{form}"]


def test_the_deepest_layer_of_a_resnet_takes_the_kernel_form():
    """Layers relu, layer1, layer2, layer3 of ResNet-50 at 224 x 224."""
    layers = [(64, 12544), (256, 3136), (512, 784), (1024, 196)]
    by_kernel = [kernel_operations(n, m, m) < gram_operations(n, m) for n, m in layers]
    assert by_kernel == [False, False, False, True]


@pytest.mark.parametrize("differentiate", [True, False])
def test_kernel_form_stores_no_matrix_of_positions_or_channels(differentiate):
    wide, deep = maps(1, 4, 8 * TILE), maps(1, 600, 20)
    energy = torch.zeros(1, dtype=torch.float64)
    for features in (wide, deep):
        _, channels, positions = features.shape
        with Products() as made:
            mmd._kernel_forward(features, None, features, energy, differentiate)
        bound = max(TILE * positions, channels * positions)
        assert made.largest <= bound < max(channels, positions) ** 2


@pytest.mark.parametrize(
    ("channels", "positions", "count"), [(40, 4, 12), (6, 20, 20), (40, 6, 90)]
)
def test_the_lighter_target_is_the_same_target(channels, positions, count):
    f = maps(2, channels, positions).requires_grad_()
    s = maps(2, channels, count, seed=1)
    light = lighter_target(s, positions)
    assert isinstance(light, FeatureTarget if count == 12 else GramTarget)
    for offset in (0.0, 0.5):
        expected = exact(f, s, torch.ones(2), offset)
        value = busaug.style_loss(f, light, offset=offset)
        (gradient,) = torch.autograd.grad(value.sum(), f)
        assert_exact(value, gradient, expected)


def test_targets_joined_along_the_batch():
    f, s = maps(3, 8, 5), maps(3, 8, 4, seed=1)
    expected = busaug.style_loss(f, s, offset=1.0)
    for make in (
        FeatureTarget,
        lambda x: FeatureTarget(x, gram_energy(x)),
        lambda x: GramTarget(gram(x), x.mean(2)),
    ):
        joined = concatenate_targets([make(s[:1]), make(s[1:])])
        torch.testing.assert_close(busaug.style_loss(f, joined, offset=1.0), expected)
    with pytest.raises(ValueError, match="one batch"):
        concatenate_targets([FeatureTarget(s), GramTarget(gram(s))])


# The native kernels


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


# The contract of the ops


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


@pytest.mark.gradcheck
@pytest.mark.parametrize(
    "options", [{"offset": 0.7}, {"kernel": "linear"}, {"kernel": "batchnorm"}]
)
def test_gradients_of_the_options(options):
    features = maps(2, 3, 6).requires_grad_()
    target = maps(2, 3, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: busaug.style_loss(x, target, **options), (features,))


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


# Bad input

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


@pytest.mark.parametrize(
    ("matrix", "mean", "says"),
    [
        (T[0], None, r"matrix has the shape \(6, 6\)"),
        (S, None, r"matrix has the shape \(2, 6, 5\)"),
        (maps(2, 6, 6), None, "not symmetric"),
        (torch.full((1, 3, 3), torch.nan), None, "not finite"),
        (torch.full((1, 3, 3), torch.inf), None, "not finite"),
        (T, S.mean(2)[0], r"mean has the shape \(6,\)"),
    ],
)
def test_a_matrix_that_is_no_target_is_refused(matrix, mean, says):
    with pytest.raises(InputError, match=says):
        GramTarget(matrix, mean)


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
