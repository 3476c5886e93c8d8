"""Positions under overlays: what is left is as if they had never been there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCES

from busaug.data.images import read_gray, resize, to_float
from busaug.data.overlays import detect_overlays
from busaug.models.weights import random_weights, resolve_weights
from busaug.ops.mmd import gram
from busaug.ops.style_target import GramTarget
from busaug.reference import mmd
from busaug.style.calibrate import gradient_ratio
from busaug.style.features import FeatureExtractor
from busaug.style.masking import Masks, column_weights, kept_positions, kept_weights
from busaug.style.objective import Objective, content_loss, style_losses
from busaug.style.targets import fuse_features, stretch, style_targets

IDENTITY = TOLERANCES["mmd identities, float64"]
examples = settings(max_examples=50)
FUSIONS = ["FM", "GM", "UM", "SR"]


@st.composite
def masked_maps(draw, references=1, channels=4):
    """Float64 maps (k, N, h, w), and the positions (k, 1, h, w) that count, one or more of each."""
    seed = draw(st.integers(0, 10_000))
    grid = draw(st.tuples(st.integers(1, 5), st.integers(2, 5)))
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(references, channels, *grid, generator=generator, dtype=torch.float64)
    kept = torch.rand(references, 1, *grid, generator=generator) < draw(st.floats(0.1, 1.0))
    kept[:, :, -1, -1] = True
    return maps.clamp_min(0), kept


def alone(maps, kept):
    """The kept columns (N, M') of one map (N, h, w)."""
    return maps.flatten(1)[:, kept.flatten()]


def matrix(target):
    return (target.matrix if isinstance(target, GramTarget) else gram(target.features))[0]


def target(maps, fusion, kept=None):
    layers = None if kept is None else {"a": kept}
    return matrix(style_targets({"a": maps}, ("a",), fusion, layers)["a"])


def test_a_position_is_left_out_where_its_square_holds_an_overlay_pixel():
    overlays = torch.zeros(2, 1, 12, 8, dtype=torch.bool)
    overlays[0, 0, 3, 2] = overlays[1, 0, 11, 7] = True
    expected = torch.ones(2, 1, 3, 2, dtype=torch.bool)
    expected[0, 0, 0, 0] = expected[1, 0, 2, 1] = False
    assert torch.equal(kept_positions(overlays, (3, 2)), expected)
    masks = Masks.of(overlays, {"coarse": (3, 2), "fine": (12, 8)})
    assert masks.share.tolist() == pytest.approx([5 / 6, 5 / 6])


@examples
@given(masked_maps())
def test_weighted_columns_have_the_gram_matrix_of_the_kept_ones(case):
    maps, kept = case
    weighted = (maps * column_weights(kept).double()).flatten(2)
    expected = mmd.gram(alone(maps[0], kept[0]))
    tolerance = TOLERANCES["column weights, float32"]
    torch.testing.assert_close(gram(weighted)[0], expected, rtol=tolerance, atol=0)


@examples
@given(masked_maps(), st.booleans())
def test_weights_of_the_content_loss(case, given_weights):
    maps, kept = case
    weights = maps[:, :1].float() if given_weights else None
    found = kept_weights(weights, kept)
    assert (found[~kept] == 0).all()
    assert float(found.mean()) == pytest.approx(1.0, abs=TOLERANCES["weights of mean one"]) or (
        kept.all() and given_weights
    )
    before = torch.ones_like(kept).float() if weights is None else weights
    if float(before[kept].sum()) > 0:  # in proportion to what they were
        crossed = found * before[kept].sum(), before * kept * found.sum()
        torch.testing.assert_close(*crossed, rtol=1e-4, atol=1e-4)
    else:
        assert len(found[kept].unique()) == 1
    if kept.all() and given_weights:
        assert found.equal(weights)


@examples
@given(masked_maps(), masked_maps())
def test_losses_are_those_of_the_kept_columns_alone(case, other):
    maps, kept = case
    style = other[0].flatten(2)
    targets = {"a": GramTarget(gram(style))}
    features = maps.clone().requires_grad_()
    value = style_losses({"a": features}, targets, {"a": column_weights(kept).double()})
    (gradient,) = torch.autograd.grad(value.sum(), features)
    columns = alone(maps[0], kept)
    tolerance = TOLERANCES["column weights, float32"]
    scale = float(mmd.gram(columns).square().sum() + mmd.gram(style[0]).square().sum())
    columns.requires_grad_()
    expected = mmd.style_loss_kernel(columns, style[0])
    (expected_gradient,) = torch.autograd.grad(expected, columns)
    assert abs(value.item() - expected.item()) <= tolerance * scale
    found = alone(gradient[0], kept)
    assert (found - expected_gradient).norm() <= tolerance * (scale + 1)
    assert (gradient[0].flatten(1)[:, ~kept.flatten()] == 0).all()

    weights = kept_weights(None, kept).double()
    content = torch.zeros_like(maps)
    share = maps[0, 0].numel() / int(kept.sum())
    plain = 0.5 * float(alone(maps[0], kept).square().sum()) * share
    assert float(content_loss(maps, content, weights)) == pytest.approx(plain, rel=tolerance)


@examples
@given(masked_maps(references=3))
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_lies_under_overlays_does_not_matter(fusion, case):
    maps, kept = case
    if fusion == "SR":
        maps, kept = maps[:1], kept[:1]
    other = torch.where(kept, maps, 1e6 * torch.rand_like(maps))
    assert torch.equal(target(maps, fusion, kept), target(other, fusion, kept))


@examples
@given(masked_maps(references=3))
@pytest.mark.parametrize("fusion", FUSIONS)
def test_references_masked_alike_make_the_target_of_their_kept_columns(fusion, case):
    maps, kept = case
    if fusion == "SR":
        maps = maps[:1]
    kept = kept[:1].expand(len(maps), -1, -1, -1)
    cut = maps.flatten(2)[:, :, kept[0].flatten()][:, :, None]
    tolerance = TOLERANCES["column weights, float32"]
    torch.testing.assert_close(
        target(maps, fusion, kept), target(cut, fusion), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("grid", [(2, 2), (8, 5)])
def test_masks_that_keep_everything_change_no_bit(fusion, grid):
    maps = torch.rand(1 if fusion == "SR" else 3, 40, *grid)
    kept = torch.ones(len(maps), 1, *grid, dtype=torch.bool)
    assert torch.equal(target(maps, fusion), target(maps, fusion, kept))


@examples
@given(masked_maps(references=3))
def test_feature_maximum_keeps_the_mean_over_what_each_reference_keeps(case):
    maps, kept = case
    fused = fuse_features(maps.flatten(2), kept.flatten(1))
    means = [alone(each, keep).mean(dim=1) for each, keep in zip(maps, kept, strict=True)]
    assert fused.shape[1] == int(kept.any(dim=0).sum())
    torch.testing.assert_close(fused.mean(dim=1), torch.stack(means).mean(dim=0))


def test_feature_maximum_by_hand():
    """Position 0 is kept by the first reference alone, 3 by none."""
    maps = torch.tensor([[[5.0, 1.0, 2.0, 9.0]], [[9.0, 4.0, 0.0, 9.0]]])
    kept = torch.tensor([[True, True, True, False], [False, True, True, False]])
    # maxima 5 4 2; quantiles 1 2 5 and 0 4, the latter stretched to 0 2 4
    expected = torch.tensor([[(5 + 4) / 2, (2 + 2) / 2, (1 + 0) / 2]])
    torch.testing.assert_close(fuse_features(maps, kept), expected)


@examples
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_stretched_rows_have_the_same_distribution(have, count, seed):
    """Every value repeated ``count`` times, and the mean of every ``have`` of them."""
    rows = torch.rand(2, have, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = rows.sort(dim=1).values
    expected = rows.repeat_interleave(count, dim=1).view(2, count, have).mean(dim=2)
    torch.testing.assert_close(stretch(rows, count), expected, rtol=IDENTITY, atol=IDENTITY)


@pytest.fixture(scope="module")
def extractor():
    return FeatureExtractor("resnet50", random_weights("resnet50"), "shallow")


def test_grids_are_those_of_the_features(extractor):
    for extent in ((32, 32), (70, 70), (33, 118)):
        features = extractor(torch.rand(1, 1, *extent))
        assert extractor.grids(extent) == {n: tuple(x.shape[2:]) for n, x in features.items()}


@pytest.mark.parametrize("packed", [False, True])
def test_pixels_deep_inside_an_overlay_do_not_reach_the_losses(packed):
    """The deeper layer here sees 17 pixels to each side; the nearest kept square is 24 away.

    To the bit, or, where convolutions go by tiles whose pixels share roundings, to a rounding.
    """
    extractor = FeatureExtractor("resnet50", random_weights("resnet50"), "shallow", packed=packed)

    def same(one, other):
        away = TOLERANCES["overlays' reach, float32"] if packed else 0.0
        return torch.allclose(one, other, rtol=away, atol=away * float(one.abs().max()))

    image, references = torch.rand(1, 1, 96, 96), torch.rand(2, 1, 96, 96)
    overlays = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    overlays[..., 16:80, 16:80] = True
    changed = image.clone()
    changed[..., 40:56, 40:56] = 1.0
    masks = Masks.of(overlays, extractor.grids((96, 96)))
    layers = ("relu", "layer1")
    with torch.no_grad():
        targets = style_targets(extractor(references), layers, "FM")
        weights = {name: column_weights(masks.kept[name]) for name in layers}
        before, after = extractor(image), extractor(changed)
        assert same(style_losses(before, targets, weights), style_losses(after, targets, weights))
        assert not same(style_losses(before, targets), style_losses(after, targets))
        # and as a reference
        kept = {name: torch.cat([masks.kept[name]] * 2) for name in layers}
        for fusion in ("FM", "GM", "UM"):
            one, two = (
                style_targets(extractor(torch.cat([x, references[:1]])), layers, fusion, kept)
                for x in (image, changed)
            )
            for name in layers:
                assert same(matrix(one[name]), matrix(two[name]))


def test_an_objective_masks_both_losses(extractor):
    images = torch.rand(2, 1, 64, 64)
    overlays = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    overlays[1, :, :20, :30] = True
    masks = Masks.of(overlays, extractor.grids((64, 64)))
    with torch.no_grad():
        content = extractor(torch.rand(2, 1, 64, 64))[extractor.content_layer]
        targets = style_targets(extractor(torch.rand(1, 1, 64, 64)), extractor.style_layers, "SR")
        targets = {name: GramTarget(torch.stack([matrix(t)] * 2)) for name, t in targets.items()}
        weights = 0.5 + torch.rand(2, 1, 8, 8)
        weights /= weights.mean(dim=(2, 3), keepdim=True)
        plain = Objective(extractor, content, targets, torch.ones(1, 1), weights).losses(images)
        found = Objective(
            extractor, content, targets, torch.ones(1, 1), weights, masks.kept
        ).losses(images)
        features = extractor(images)
    assert torch.equal(found.layers[:, 0], plain.layers[:, 0])
    assert torch.equal(found.content[0], plain.content[0])
    for row, name in enumerate(extractor.style_layers):
        columns = alone(features[name][1], masks.kept[name][1]).double()
        expected = mmd.style_loss_gram(columns, targets[name].matrix[1].double())
        assert float(found.layers[row, 1]) == pytest.approx(
            float(expected), rel=TOLERANCES["style target, float32"]
        )
    kept = masks.kept[extractor.content_layer][1]
    squares = (features[extractor.content_layer][1] - content[1]).square().sum(dim=0)[kept[0]]
    chosen = weights[1][kept]
    expected = 0.5 * 64 * float((squares * chosen).sum() / chosen.sum())
    assert float(found.content[1]) == pytest.approx(
        expected, rel=TOLERANCES["style target, float32"]
    )


def test_the_gradient_ratio_is_over_pixels_that_may_move(extractor):
    noise, image, reference = torch.rand(3, 1, 1, 48, 48)
    pinned = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    pinned[..., :30] = True
    with torch.no_grad():
        content = extractor(image)[extractor.content_layer]
        targets = style_targets(extractor(reference), extractor.style_layers, "SR")
    objective = Objective(extractor, content, targets, torch.ones(1, 1))
    # the ratio of directional derivatives, pixel by pixel of a patch that is free
    patch = noise[..., 30:].clone().requires_grad_()
    joined = torch.cat([noise[..., :30], patch], dim=3)
    losses = objective.losses(joined)
    norms = [
        torch.autograd.grad(part.sum(), patch, retain_graph=True)[0].norm()
        for part in (losses.content, losses.style)
    ]
    expected = float(norms[0] / norms[1])
    found = float(gradient_ratio(objective, noise, pinned))
    assert found == pytest.approx(expected, rel=TOLERANCES["balance fixed point"])
    assert found != pytest.approx(float(gradient_ratio(objective, noise)), rel=1e-3)


def test_channels_last_features_stay_so():
    maps = torch.rand(2, 8, 6, 6).to(memory_format=torch.channels_last)
    kept = torch.rand(2, 1, 6, 6) < 0.7
    assert (maps * column_weights(kept)).is_contiguous(memory_format=torch.channels_last)


def _square(file: Path) -> torch.Tensor:
    return resize(torch.from_numpy(to_float(read_gray(file))), 224)


@pytest.mark.real
def test_real_marks_reach_the_target_less_when_masked(busi_256, resnet50_weights):
    """Marks of images with calipers or a fan, laid on images without: known without them."""
    extractor = FeatureExtractor("resnet50", resolve_weights(str(resnet50_weights)))
    marked = [busi_256 / f"benign/benign ({n}).png" for n in (5, 97, 141, 229, 285)]
    marked += [busi_256 / f"malignant/malignant ({n}).png" for n in (64, 81, 106)]
    clean = [busi_256 / f"benign/benign ({n}).png" for n in (17, 25, 33, 37, 53, 77, 93, 113)]
    ratios = []
    for with_marks, without in zip(marked, clean, strict=True):
        found = detect_overlays(to_float(read_gray(with_marks))).mask
        overlays = resize(torch.from_numpy(found).float(), 224)[None, None] > 0.1
        image = _square(without)[None, None]
        spoilt = torch.where(overlays, _square(with_marks)[None, None], image)
        with torch.no_grad():
            features, whole = extractor(spoilt), extractor(image)
            kept = Masks.of(overlays, extractor.grids((224, 224))).kept
            losses = [
                style_losses(whole, style_targets(features, extractor.style_layers, "SR", mask))
                for mask in (kept, None)
            ]
        ratios.append((losses[0] / losses[1])[:, 0])
    assert (torch.stack(ratios).median(dim=0).values < 0.8).all()
