"""Fusion of references."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCES

from busaug.ops.mmd import gram
from busaug.ops.style_loss import style_loss
from busaug.ops.style_target import FeatureTarget, GramTarget
from busaug.reference import mmd
from busaug.style import targets as targets_module
from busaug.style.targets import fuse_features, specify_histogram, style_targets

LAYERS = ("a",)


def _features(k: int, seed: int = 0, relu: bool = True) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(k, 6, 5, 4, generator=generator)
    return x.clamp_min(0) if relu else x  # ReLU features: many tied zeros


def _target(features: torch.Tensor, fusion: str) -> torch.Tensor:
    """The target's matrix (N, N)."""
    target = style_targets({"a": features}, LAYERS, fusion)["a"]  # type: ignore[arg-type]
    return (target.matrix if isinstance(target, GramTarget) else gram(target.features))[0]


@pytest.mark.parametrize("fusion", ["FM", "GM", "UM", "SR"])
@pytest.mark.parametrize("positions", [(2, 2), (8, 5)])
def test_features_and_matrix_are_the_same_target(fusion: str, positions: tuple[int, int]) -> None:
    """Few positions: features are carried where there are any. Many: their matrix."""
    references = 1 if fusion == "SR" else 3
    x = torch.rand(references, 40, *positions)
    target = style_targets({"a": x}, LAYERS, fusion)["a"]  # type: ignore[arg-type]
    carried = FeatureTarget if positions == (2, 2) and fusion != "GM" else GramTarget
    assert isinstance(target, carried)
    image = torch.rand(1, 40, positions[0] * positions[1])
    expected = mmd.style_loss_gram(image.double(), _target(x, fusion).double())
    tolerance = TOLERANCES["style target, float32"]
    found = style_loss(image, target).double()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("fusion", ["FM", "GM", "UM"])
def test_one_reference_is_the_single_reference_target(fusion: str) -> None:
    x = _features(1)
    torch.testing.assert_close(_target(x, fusion), _target(x, "SR"))


@pytest.mark.parametrize("fusion", ["FM", "GM", "UM"])
def test_order_of_references_does_not_matter(fusion: str) -> None:
    x = _features(3)
    expected = _target(x, fusion)
    for order in itertools.permutations(range(3)):
        torch.testing.assert_close(_target(x[list(order)], fusion), expected)


@pytest.mark.parametrize("fusion", ["FM", "GM", "UM", "SR"])
def test_targets_are_symmetric(fusion: str) -> None:
    target = _target(_features(1 if fusion == "SR" else 4), fusion)
    torch.testing.assert_close(target, target.mT)


def test_union_is_the_gram_matrix_of_pooled_columns() -> None:
    x = _features(3)
    pooled = x.permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(_target(x, "UM"), mmd.gram(pooled))


def test_feature_maximum_keeps_the_mean_of_every_channel() -> None:
    columns = _features(4).flatten(2)
    fused = fuse_features(columns)
    expected = columns.mean(dim=(0, 2))
    tolerance = TOLERANCES["channel means of FM"]
    torch.testing.assert_close(fused.mean(dim=1), expected, rtol=tolerance, atol=tolerance)


def test_gram_maximum_keeps_the_mean_channel_energies() -> None:
    x = _features(4)
    diagonal = _target(x, "GM").diagonal()
    expected = mmd.gram(x.flatten(2)).diagonal(dim1=1, dim2=2).sort(dim=-1).values.mean(dim=0)
    torch.testing.assert_close(diagonal.sort().values, expected)


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_specification_matches_the_reference_and_is_idempotent(
    rows: list[list[int]], seed: int
) -> None:
    values = torch.tensor(rows, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    quantiles = torch.randn(values.shape, generator=generator, dtype=torch.float64).sort(-1).values
    once = specify_histogram(values, quantiles)
    torch.testing.assert_close(once, mmd.histogram_specification(values, quantiles))
    again = specify_histogram(once, once.sort(-1).values)
    torch.testing.assert_close(again, once)


def test_a_second_reference_is_refused_for_single_style() -> None:
    with pytest.raises(ValueError, match="one reference"):
        _target(_features(2), "SR")


@pytest.mark.parametrize("masked", [False, True])
def test_channels_fused_some_at_a_time_are_those_of_all(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = _features(3).flatten(2)
    kept = torch.rand(3, 20) > 0.3 if masked else None
    expected = fuse_features(features, kept)
    for limit in (1, 130):  # one channel at a time, two
        monkeypatch.setattr(targets_module, "_SORTED_AT_ONCE", limit)
        assert torch.equal(fuse_features(features, kept), expected)
