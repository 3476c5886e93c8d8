"""The batched optimisers on problems whose minimum is known."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from tolerances import TOLERANCES
from torch import Tensor

from busaug.config import StyleConfig
from busaug.style.metric import Broadening, Metric, band_limit, smoothing_at
from busaug.style.minimum import Evaluate
from busaug.style.objective import Losses
from busaug.style.optimise import minimise


def _problem(value: Callable[[Tensor], Tensor], counts: list[int] | None = None) -> Evaluate:
    def evaluate(x: Tensor) -> tuple[Losses, Tensor]:
        if counts is not None:
            counts.append(1)
        leaf = x.detach().requires_grad_(True)
        total = value(leaf)
        (grad,) = torch.autograd.grad(total.sum(), leaf)
        total = total.detach()
        return Losses(total, torch.zeros_like(total)[None], total), grad

    return evaluate


def _quadratic(centre: Tensor, scales: Tensor) -> Evaluate:
    return _problem(lambda x: (scales * (x - centre).square()).flatten(1).sum(1))


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_finds_the_projection_onto_the_box(optimiser: str) -> None:
    """A separable quadratic with centres outside [0, 1] has its minimum at the clamped centre."""
    centre = torch.rand(3, 1, 6, 6) * 2 - 0.5
    scales = torch.logspace(0, 1, 36).view(1, 1, 6, 6)
    config = StyleConfig(optimiser=optimiser, iterations=400, step=0.02, smoothing=0)  # type: ignore[arg-type]
    result = minimise(_quadratic(centre, scales), torch.full_like(centre, 0.5), config)
    torch.testing.assert_close(result.images, centre.clamp(0, 1), rtol=0, atol=0.01)
    assert result.images.min() >= 0
    assert result.images.max() <= 1


def test_lbfgs_keeps_up_with_scipy() -> None:
    """Condition number 1e4: as low in 150 evaluations as SciPy's L-BFGS-B in 100, in float64."""
    centre = torch.rand(2, 1, 6, 6) * 0.5 + 0.25
    scales = torch.logspace(0, 4, 36).view(1, 1, 6, 6)
    start = torch.full_like(centre, 0.5)
    ours = minimise(
        _quadratic(centre, scales), start, StyleConfig(iterations=150, smoothing=0)
    ).final.total
    weights = scales.double().numpy().ravel()
    for row in range(2):
        target = centre[row].double().numpy().ravel()
        peer = scipy.optimize.minimize(
            lambda x, c=target: ((weights * (x - c) ** 2).sum(), 2 * weights * (x - c)),
            np.full(36, 0.5),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * 36,
            options={"maxcor": 10, "maxfun": 100, "ftol": 0, "gtol": 0},
        )
        assert float(ours[row]) <= peer.fun


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_an_image_does_not_depend_on_its_neighbours(optimiser: str) -> None:
    centre = torch.rand(4, 1, 5, 5)
    scales = torch.rand(4, 1, 5, 5) * 10
    config = StyleConfig(optimiser=optimiser, iterations=30)  # type: ignore[arg-type]
    start = torch.full_like(centre, 0.5)
    together = minimise(_quadratic(centre, scales), start, config)
    for i in range(4):
        pick = slice(i, i + 1)
        alone = minimise(_quadratic(centre[pick], scales[pick]), start[pick], config)
        tolerance = TOLERANCES["optimised alone and in a batch, absolute"]
        torch.testing.assert_close(alone.images, together.images[pick], rtol=0, atol=tolerance)


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_never_ends_above_the_start(optimiser: str) -> None:
    """Steep, oscillating, and in places not finite: the best point seen is what comes back."""

    def nasty(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        value = (1000 * flat).sin().sum(1) + 50 * (flat - 0.5).abs().sum(1)
        return torch.where(flat.mean(1) > 0.8, float("nan"), value)

    result = minimise(
        _problem(nasty),
        torch.rand(5, 1, 4, 4) * 0.7,
        StyleConfig(optimiser=optimiser, iterations=40, step=0.5),  # type: ignore[arg-type]
    )
    assert (result.final.total <= result.initial.total).all()
    torch.testing.assert_close(nasty(result.images), result.final.total)
    for earlier, later in zip(result.curve, result.curve[1:], strict=False):
        assert (later <= earlier).all()


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_counts_evaluations(optimiser: str) -> None:
    counts: list[int] = []
    evaluate = _problem(lambda x: x.flatten(1).square().sum(1), counts)
    config = StyleConfig(optimiser=optimiser, iterations=17)  # type: ignore[arg-type]
    result = minimise(evaluate, torch.rand(2, 1, 3, 3), config)
    assert len(counts) == 17
    assert len(result.curve) == 17


def test_band_limit_keeps_constants_and_kills_the_checkerboard() -> None:
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    checkerboard = (-1.0) ** (rows + columns)[None, None]
    stripes = (-1.0) ** columns[None, None].expand(1, 1, 12, 12)
    for pattern in (checkerboard, stripes):
        assert float(band_limit(pattern, [1.0])[..., 1:-1, 1:-1].abs().max()) == 0.0
    flat = torch.full((1, 1, 12, 12), 0.3)
    torch.testing.assert_close(band_limit(flat, [1.0, 1.0]), flat)


def test_a_part_of_a_pass_leaves_its_rest_of_the_checkerboard() -> None:
    columns = torch.arange(12.0)
    stripes = ((-1.0) ** columns).expand(1, 1, 12, 12)
    inner = (..., slice(2, -2))
    torch.testing.assert_close(band_limit(stripes, [0.25])[inner], 0.75 * stripes[inner])
    assert torch.equal(band_limit(stripes, [0.0]), stripes)
    assert torch.equal(band_limit(stripes, []), stripes)
    settings = StyleConfig(smoothing=2.0, smoothing_left=0.25)
    parts = [smoothing_at(settings, torch.tensor([x])).tolist() for x in (0.0, 0.5, 1.0)]
    assert parts == [[1.0, 1.0], [0.6875, 0.0], [0.5, 0.0]]


def test_parts_of_a_picture_with_gradients_of_another_size_converge_together() -> None:
    """A smooth target, weighed 1 in the left half and 1e-4 in the right, 20 evaluations; the right
    half is as far off as at the start (.2) without the metric's diagonal."""
    columns = torch.arange(32.0)
    target = (0.5 + 0.3 * torch.sin(columns / 5)).expand(1, 1, 32, 32)
    weight = torch.where(columns < 16, 1.0, 1e-4).expand(1, 1, 32, 32)
    result = minimise(
        _quadratic(target, weight),
        torch.full((1, 1, 32, 32), 0.5),
        StyleConfig(iterations=20, smoothing_left=1.0),
    )
    left = (result.images - target).abs()
    assert float(left[..., :10].mean()) < 0.01
    assert float(left[..., 22:].mean()) < 0.05


def test_broad_changes_are_found_where_the_loss_hardly_curves_along_them() -> None:
    """Curvature that falls with the square of the frequency, to a hundredth: what is below .05
    cycles a pixel is left to .14 after 15 evaluations where the metric knows nothing of it."""
    frequency = torch.fft.fftfreq(96)
    distance = (frequency[:, None].square() + frequency.square()).sqrt()
    curvature = ((distance / 0.1).square() + 0.01).clamp(max=1.0)
    waves = torch.fft.fft2(torch.randn(96, 96))
    slow = distance < 0.05
    broad, fine = (torch.fft.ifft2(waves * part).real for part in (slow, ~slow))
    target = (0.5 + 0.1 * broad / broad.std() + 0.05 * fine)[None, None]

    def value(x: Tensor) -> Tensor:
        return (curvature * torch.fft.fft2(x - target).abs().square()).sum(dim=(1, 2, 3))

    settings = StyleConfig(iterations=15, smoothing=0.0)
    found = minimise(_problem(value), torch.full_like(target, 0.5), settings).images
    left, first = (
        torch.fft.fft2(x - target)[..., slow].abs().square().sum().sqrt()
        for x in (found, torch.full_like(target, 0.5))
    )
    assert float(left / first) < 0.05


def test_a_search_goes_on_though_losses_are_rounded() -> None:
    """By a tenth of what there is to gain: gradients lead on to the minimum all the same."""
    centre = torch.rand(4, 1, 8, 8) * 0.5 + 0.25
    scales = torch.logspace(-2, 2, 64).view(1, 1, 8, 8)
    exact = _problem(lambda x: 10.0 + (scales * (x - centre).square()).flatten(1).mean(1))
    above: list[Tensor] = []

    def rounded(x: Tensor) -> tuple[Losses, Tensor]:
        losses, grad = exact(x)
        above.append(losses.total - 10.0)
        total = losses.total * (1 + 0.0005 * (1e5 * losses.total).sin())
        return Losses(total, losses.layers, total), grad

    settings = StyleConfig(iterations=60, smoothing=0, plateau=0)
    minimise(rounded, torch.full_like(centre, 0.5), settings)
    assert (above[0] > 0.1).all()
    assert (above[-1] < 1e-5).all()


def test_broadened_is_symmetric_and_takes_nothing_away() -> None:
    """As a preconditioner must be, borders included."""
    basis = torch.eye(108, dtype=torch.float64).view(108, 1, 12, 9)
    matrix = Broadening(basis)(basis).view(108, 108)
    torch.testing.assert_close(matrix, matrix.T)
    assert float(torch.linalg.eigvalsh(matrix).min()) >= 1 - 1e-12


def test_the_metric_of_an_image_with_itself() -> None:
    """Half the product and a square are the whole product, where pixels may not move as well."""
    draw = torch.Generator().manual_seed(3)
    grad, values = torch.randn(2, 3, 1, 12, 9, generator=draw, dtype=torch.float64)
    movable = (torch.rand(grad.shape, generator=draw) > 0.2).to(grad.dtype)
    metric = Metric(grad, movable, StyleConfig(smoothing=0.75))
    whole = (values * metric(values)).sum(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(metric.square(values), whole)
    assert (whole > 0).all()


def test_band_limit_is_symmetric_and_positive() -> None:
    """As a preconditioner must be: <a, S b> = <S a, b>, <a, S a> >= 0, borders included."""
    a, b = torch.randn(2, 1, 1, 9, 7, dtype=torch.float64)
    left, right = (a * band_limit(b, [1.0, 1.0])).sum(), (band_limit(a, [1.0, 1.0]) * b).sum()
    torch.testing.assert_close(left, right)
    basis = torch.eye(63, dtype=torch.float64).view(63, 1, 9, 7)
    matrix = band_limit(basis, [1.0]).view(63, 63)
    assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-12


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_smoothed_steps_print_no_checkerboard(optimiser: str) -> None:
    """A loss that rewards a checkerboard as much as a blob: only the blob appears, as long as the
    filter is whole passes."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    blob = torch.exp(-((rows - 8) ** 2 + (columns - 8) ** 2) / 8)
    checkerboard = (-1.0) ** (rows + columns)
    target = (0.5 + 0.2 * blob + 0.2 * checkerboard)[None, None]
    settings = StyleConfig(
        optimiser=optimiser,  # type: ignore[arg-type]
        iterations=60,
        step=0.02,
        smoothing=1.0,
        smoothing_left=1.0,
    )
    result = minimise(
        _quadratic(target, torch.ones_like(target)), torch.full_like(target, 0.5), settings
    )
    change = result.images[0, 0] - 0.5
    inner = slice(3, -3)
    share = (change * checkerboard)[inner, inner].mean().abs()
    assert float(share) < 0.02
    assert float(change[8, 8]) > 0.12


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_a_finished_image_is_frozen_and_alone_decides_when(optimiser: str) -> None:
    """An easy image beside a hard one ends as it does by itself, bit for bit, and early."""
    centre = torch.rand(2, 1, 8, 8) * 0.5 + 0.25
    scales = torch.stack([torch.ones(1, 8, 8), torch.logspace(0, 6, 64).view(1, 8, 8)])
    offset = torch.tensor([5.0, 5.0])  # a floor, so that a loss can level off

    def problem(rows: slice) -> Evaluate:
        return _problem(
            lambda x: (scales[rows] * (x - centre[rows]).square()).flatten(1).sum(1) + offset[rows]
        )

    config = StyleConfig(optimiser=optimiser, iterations=200, plateau=20, smoothing=0)  # type: ignore[arg-type]
    start = torch.full_like(centre, 0.5)
    both = minimise(problem(slice(0, 2)), start, config)
    easy = minimise(problem(slice(0, 1)), start[:1], config)
    assert torch.equal(both.images[0], easy.images[0])
    assert len(easy.curve) < len(both.curve) <= 200
    curve = torch.stack(both.curve)[:, 0]
    assert (curve[len(easy.curve) :] == curve[len(easy.curve) - 1]).all()


def test_plateau_zero_spends_every_evaluation() -> None:
    counts: list[int] = []
    evaluate = _problem(lambda x: (x - 0.5).square().flatten(1).sum(1) + 1.0, counts)
    minimise(evaluate, torch.zeros(1, 1, 4, 4), StyleConfig(iterations=70, plateau=0))
    assert len(counts) == 70


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
@pytest.mark.parametrize("smoothing", [0, 2])
def test_pinned_pixels_stay_and_the_others_reach_their_minimum(
    optimiser: str, smoothing: int
) -> None:
    centre, start = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    pinned = torch.rand(2, 1, 8, 8) < 0.3
    config = StyleConfig(optimiser=optimiser, iterations=300, step=0.02, smoothing=smoothing)  # type: ignore[arg-type]
    found = minimise(_quadratic(centre, torch.ones(8, 8)), start, config, pinned).images
    assert torch.equal(found[pinned], start[pinned])
    if smoothing == 0:
        torch.testing.assert_close(found[~pinned], centre[~pinned], rtol=0, atol=0.01)


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
@pytest.mark.parametrize("smoothing", [0, 2])
def test_the_gradient_at_pinned_pixels_changes_no_bit(optimiser: str, smoothing: int) -> None:
    centre, start = torch.rand(2, 2, 1, 8, 8)
    pinned = torch.rand(2, 1, 8, 8) < 0.3
    quadratic = _quadratic(centre, torch.logspace(0, 2, 64).view(8, 8))

    def noisy(x: Tensor) -> tuple[Losses, Tensor]:
        losses, grad = quadratic(x)
        return losses, torch.where(pinned, 100 * torch.randn_like(grad), grad)

    config = StyleConfig(optimiser=optimiser, iterations=30, step=0.02, smoothing=smoothing)  # type: ignore[arg-type]
    clean, found = (minimise(problem, start, config, pinned) for problem in (quadratic, noisy))
    assert torch.equal(found.images, clean.images)
    assert not torch.equal(found.images, start)


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
def test_pinning_is_the_problem_in_the_other_pixels_alone(optimiser: str) -> None:
    """A coupled quadratic in 8x8 pixels, the right half pinned, against the one in 8x4 pixels."""
    mixing = torch.randn(64, 64, dtype=torch.float64) / 8
    centre, start = torch.rand(2, 1, 1, 8, 8, dtype=torch.float64)
    pinned = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    pinned[..., 4:] = True
    whole = _problem(lambda x: ((x - centre).flatten(1) @ mixing).square().sum(1))
    half = _problem(
        lambda x: ((torch.cat([x, start[..., 4:]], 3) - centre).flatten(1) @ mixing).square().sum(1)
    )
    config = StyleConfig(optimiser=optimiser, iterations=40, step=0.02, smoothing=0)  # type: ignore[arg-type]
    one = minimise(whole, start, config, pinned)
    other = minimise(half, start[..., :4], config)
    assert torch.equal(one.images[..., 4:], start[..., 4:])
    torch.testing.assert_close(torch.stack(one.curve), torch.stack(other.curve))
    torch.testing.assert_close(one.images[..., :4], other.images)
