"""Other kernels of the style loss, and despeckling before the transfer: settings for comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from augment.conftest import rows_of
from tolerances import TOLERANCES

from busaug.augment.job import Job
from busaug.config import load_config
from busaug.data.images import load_batch
from busaug.errors import InputError
from busaug.models.weights import random_weights
from busaug.ops.srad import srad
from busaug.style.features import FeatureExtractor
from busaug.style.objective import style_losses
from busaug.style.targets import style_targets

MakeJob = Callable[..., Job]
UNMASKED = "style.mask_overlays=false"


@pytest.mark.parametrize("kernel", ["linear", "batchnorm"])
def test_losses_are_those_of_the_channels_moments(kernel: str) -> None:
    features = {"a": torch.rand(1, 3, 4, 5, dtype=torch.float64)}
    references = {"a": torch.rand(3, 3, 4, 5, dtype=torch.float64)}
    targets = style_targets(references, ("a",), "UM", kernel=kernel)  # type: ignore[arg-type]
    (found,) = style_losses(features, targets, kernel=kernel)  # type: ignore[arg-type]
    x, y = features["a"].flatten(2), references["a"].transpose(0, 1).flatten(1)
    means = (x.mean(2) - y.mean(1)).square().sum(1)
    spreads = (x.std(2, correction=0) - y.std(1, correction=0)).square().sum(1)
    expected = means / (4 * 3**2) if kernel == "linear" else (means + spreads) / 3
    torch.testing.assert_close(found, expected)


def test_the_gaussian_loss_is_estimated_anew_and_alike_in_every_run(job: MakeJob) -> None:
    made = job("style.kernel=gaussian", UNMASKED, "style.optimiser=adam")
    engine = made.engine(made.extractor(), 1.0, Path("unused"), keep_targets=False)
    loaded = [engine.loader.pair(pair) for pair in made.plan().work_unit(0).pairs]
    contents = engine.loader.batch([each.content for each in loaded])
    runs = []
    for _ in range(2):
        objective = engine.objective(loaded, contents)
        runs.append([objective.losses(contents.pixels).layers for _ in range(2)])
    assert not torch.equal(runs[0][0], runs[0][1])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        ("style.kernel=linear", "style.fusion=FM"),
        ("style.kernel=batchnorm", "style.fusion=UM"),
        ("style.srad_scale=1",),
    ],
)
def test_they_make_images_nearer_to_the_style_and_are_made_again_alike(
    job: MakeJob, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    made = job(UNMASKED, "style.iterations=8", "plan.contents=2", *settings)
    rows = rows_of(made, tmp_path / "a")
    assert all(row["accepted"] and row["loss_final"] < row["loss_initial"] for row in rows)
    assert rows == rows_of(made, tmp_path / "b")


def test_the_gaussian_kernel_makes_the_same_images_again(job: MakeJob, tmp_path: Path) -> None:
    """Estimates from a handful of positions may begin below zero: nothing is said of losses."""
    made = job(UNMASKED, "plan.contents=2", "style.kernel=gaussian", "style.optimiser=adam")
    rows = rows_of(made, tmp_path / "a")
    assert rows == rows_of(made, tmp_path / "b")
    assert any(row["mean_abs_change"] > 0 for row in rows)


def test_contents_and_references_are_despeckled_before_the_transfer(job: MakeJob) -> None:
    made = job("style.srad_scale=2", "srad.iterations=3")
    loader = made.engine(made.extractor(), 1.0, Path("unused"), keep_targets=False).loader
    pair = made.plan().pair(0)
    inputs = loader.pair(pair)
    for images, records in ((inputs.content, [pair.content]), (inputs.references, pair.references)):
        raw = load_batch(made.catalog, records, 32)
        options = made.config.srad.model_dump() | {"scales": 2}
        torch.testing.assert_close(images.pixels, srad(raw, **options)[-1], rtol=0, atol=0)
        assert not torch.equal(images.pixels, raw)


def test_later_settings_enter_an_identity_only_where_they_are_used(job: MakeJob) -> None:
    """So that runs made before there were such settings are the same runs still."""
    plain = job(UNMASKED)
    assert not {"kernel", "srad_scale"} & set(plain.identity["config"]["style"])
    assert "srad" not in plain.identity["config"]
    smoothed = job(UNMASKED, "style.srad_scale=1").identity["config"]
    assert smoothed["style"]["srad_scale"] == 1
    assert smoothed["srad"] == plain.config.srad.model_dump(mode="json")
    linear = dataclasses.replace(plain, config=job(UNMASKED, "style.kernel=linear").config)
    assert linear.identity["config"]["style"]["kernel"] == "linear"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["style.kernel=linear"], r"mask_overlays=false"),
        (["style.kernel=linear", UNMASKED, "style.fusion=GM"], "fusion GM has none"),
        (["style.kernel=gaussian", UNMASKED], r"optimiser=adam"),
    ],
)
def test_what_they_cannot_do_is_refused(settings: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_config(overrides=settings)


def test_a_target_of_features_serves_the_polynomial_kernel_as_well() -> None:
    extractor = FeatureExtractor("resnet50", random_weights("resnet50"))
    images, references = torch.rand(1, 1, 32, 32), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        features, layers = extractor(images), extractor.style_layers
        given = [
            style_losses(
                features, style_targets(extractor(references), layers, "FM", kernel=kernel)
            )
            for kernel in ("polynomial", "linear")
        ]
    torch.testing.assert_close(*given, rtol=TOLERANCES["style target, float32"], atol=0)
