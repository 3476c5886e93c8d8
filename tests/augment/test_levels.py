"""Images made coarse to fine, and large ones."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from augment.conftest import contents_of, rows_of
from augment.test_masks import corner, with_masks
from tolerances import TOLERANCES

from busaug.augment import calibration, maps
from busaug.augment import engine as engine_module
from busaug.augment.calibration import balance_share, calibrate
from busaug.augment.job import Job
from busaug.augment.plan import Unit
from busaug.augment.run import augment
from busaug.data.catalog import Catalog
from busaug.data.images import read_gray
from busaug.distributed.communicator import Single
from busaug.style.pyramid import carried

MakeJob = Callable[..., Job]
TWO = ("style.size=64", "style.levels=2", "style.iterations=8")


@pytest.mark.parametrize("start", ["content", "noise"])
def test_an_image_is_judged_from_where_it_began(job: MakeJob, tmp_path: Path, start: str) -> None:
    """Whatever the coarse level gave, the first loss is that of the start at full size."""
    settings = ["style.size=64", "style.iterations=8", "gate.saturated_max=1"]
    settings.append(f"style.start={start}")
    one, two = (rows_of(job(*settings, f"style.levels={n}"), tmp_path / str(n)) for n in (1, 2))
    for single, double in zip(one, two, strict=True):
        assert double["loss_initial"] == pytest.approx(
            single["loss_initial"], rel=TOLERANCES["manifest figures"]
        )
        assert double["loss_curve"][0][1] == double["loss_initial"]
        assert double["loss_final"] < double["loss_initial"]
        assert double["sha256"] != single["sha256"]
        assert double["reason"] is None


def test_the_fine_level_begins_with_what_the_coarse_one_changed(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One evaluation moves nothing, so that the image is where the fine level began."""
    begun = []

    def noted(*arguments: torch.Tensor) -> torch.Tensor:
        begun.append(carried(*arguments))
        return begun[-1]

    monkeypatch.setattr(engine_module, "carried", noted)
    made = job("style.size=64", "style.levels=2", "style.iterations=20", "style.coarse=0.97")
    engine = made.engine(made.extractor(), 1e4, made.catalog.root, keep_targets=False)
    pair = made.plan().pair(0)
    (outcome,) = engine.run(Unit(0, (pair,)))
    assert np.array_equal(outcome.image, begun[0][0, 0])  # type: ignore[arg-type]
    assert outcome.figures is not None
    assert outcome.figures.change > 0.005
    assert outcome.figures.style_left < 1


def test_levels_give_the_same_bytes_again(job: MakeJob, tmp_path: Path) -> None:
    for name in "ab":
        augment(job(*TWO, "relevance.mode=LA"), tmp_path / name)
    assert contents_of(tmp_path / "a") == contents_of(tmp_path / "b")


def test_the_optimiser_leaves_overlays_alone_on_every_level(
    job: MakeJob, tiny: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "laid_over", lambda image, content, overlays: image)
    marked = with_masks(tiny, "overlay", {r.id: corner() for r in tiny.records})
    made = dataclasses.replace(job(*TWO, "style.size=80", "gate.kept_min=0"), catalog=marked)
    for row in rows_of(made, tmp_path / "two"):
        pixels = read_gray(tmp_path / "two" / row["file"]).pixels
        engine = made.engine(made.extractor(), 1.0, tmp_path, keep_targets=False)
        content = engine.loader.content(marked.by_id[row["content"]])
        scale = 65535 if pixels.dtype == np.uint16 else 255
        expected = np.rint(content.pixels[0, 0].double().numpy() * scale)
        under = content.overlays[0, 0].numpy()  # type: ignore[index]
        assert under.sum() > 400
        assert np.array_equal(pixels[under], expected[under])
        assert (pixels[~under] != expected[~under]).mean() > 0.05


def test_targets_kept_on_disk_change_no_byte_of_any_level(job: MakeJob, tmp_path: Path) -> None:
    made = job(*TWO)
    extractor, pair = made.extractor(), made.plan().pair(0)
    images = []
    for kept in (True, False):
        engine = made.engine(extractor, 1e4, tmp_path, keep_targets=kept)
        images += [engine.run(Unit(0, (pair,)))[0].image for _ in range(2)]
    assert len(list((tmp_path / "targets").iterdir())) == 2  # one a level
    assert all(np.array_equal(image, images[0]) for image in images[1:])  # type: ignore[arg-type]


def test_the_balance_follows_the_positions_above_the_limit(
    job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SIZE_MAX", 32)
    small, large = job("style.size=32"), job("style.size=96")
    extractor = small.extractor()
    values = [calibrate(j.sources, j.config, extractor, Single()) for j in (small, large)]
    assert balance_share(extractor, (96, 96), 32) == (6 * 6) / (2 * 2)
    assert balance_share(extractor, (64, 32), 32) == 2
    assert values[1] == pytest.approx(9 * values[0], rel=1e-12)


def test_large_images_are_explained_at_the_limit(
    job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_SIDE_MAX", 64)
    made = job("style.size=128", "relevance.mode=LA", "plan.contents=2", "style.iterations=2")
    rows = rows_of(made, tmp_path / "a")
    assert [row["reason"] for row in rows] == [None, None]
    engine = made.engine(made.extractor(), 1.0, tmp_path / "a", keep_targets=False)
    assert engine.maps is not None
    content = made.plan().pair(0).content
    weights = engine.maps.weights(content, engine.loader.content(content).pixels[0])
    assert weights.shape == (1, 4, 4)
    assert json.loads((tmp_path / "a/run.json").read_text())["summary"]["accepted"] == 2
