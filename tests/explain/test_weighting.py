"""Weights of the content loss from relevance."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCES

from busaug.config import RelevanceConfig
from busaug.explain.weighting import content_weights

SPATIAL = torch.tensor([[[4.0, -1.0], [0.0, 1.0]]])


def _config(mode: str, **values: float) -> RelevanceConfig:
    return RelevanceConfig.model_validate({"mode": mode, **values})


def test_weighted_by_hand() -> None:
    got = content_weights(SPATIAL, _config("LA", floor=0.1))
    expected = 0.1 + 0.9 * 4 * torch.tensor([[[4.0, 0.0], [0.0, 1.0]]]) / 5
    torch.testing.assert_close(got, expected)


def test_selected_by_hand() -> None:
    got = content_weights(torch.tensor([[[4.0, -3.0], [0.5, 1.0]]]), _config("LB", quantile=0.5))
    torch.testing.assert_close(got, torch.tensor([[[2.0, 2.0], [0.0, 0.0]]]))


@given(seed=st.integers(0, 500), mode=st.sampled_from(["LA", "LB", "LS"]))
def test_weights_have_mean_one(seed: int, mode: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    spatial = torch.randn(1, 7, 5, generator=generator)
    weights = content_weights(spatial, _config(mode), "image")
    assert float(weights.mean()) == pytest.approx(1.0, rel=TOLERANCES["weights of mean one"])
    assert float(weights.min()) >= 0


def test_shuffled_holds_the_same_values_elsewhere() -> None:
    spatial = torch.randn(1, 7, 7)
    weighted = content_weights(spatial, _config("LA"))
    shuffled = content_weights(spatial, _config("LS"), 0, "image")
    assert torch.equal(weighted.flatten().sort().values, shuffled.flatten().sort().values)
    assert not torch.equal(weighted, shuffled)
    assert torch.equal(shuffled, content_weights(spatial, _config("LS"), 0, "image"))


def test_without_positive_relevance_the_magnitude_counts() -> None:
    got = content_weights(-SPATIAL.abs(), _config("LA", floor=0.0))
    torch.testing.assert_close(got, 4 * SPATIAL.abs() / 6)


def test_no_relevance_at_all_weighs_evenly() -> None:
    torch.testing.assert_close(
        content_weights(torch.zeros(1, 3, 3), _config("LA")), torch.ones(1, 3, 3)
    )
