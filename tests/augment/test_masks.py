"""``augment`` on images with burnt-in text and lesion masks."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from augment.conftest import rows_of
from data.drawing import drawn, label

from busaug.augment.calibration import calibrate
from busaug.augment.engine import Outcome
from busaug.augment.job import Job
from busaug.augment.plan import Unit
from busaug.augment.run import augment
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.catalog import Catalog
from busaug.data.images import read_gray, read_mask, write_gray, write_mask
from busaug.data.ingest import prepare
from busaug.data.phantom import LABELS, phantom
from busaug.distributed.communicator import Single
from busaug.errors import InputError, OutputError
from busaug.models.weights import Weights

MakeJob = Callable[..., Job]
SIDE = 40


def with_masks(
    catalog: Catalog, kind: str, masks: dict[str, np.ndarray], folder: str = "masks"
) -> Catalog:
    """The Catalog with masks (40, 40) of a kind, ``overlay`` or ``mask``, of these images."""
    records = []
    for record in catalog.records:
        if record.id in masks:
            name = f"{folder}/{kind}/{record.id}.png"
            write_mask(catalog.root / name, masks[record.id])
            record = dataclasses.replace(record, **{kind: name})
        records.append(record)
    changed = Catalog(catalog.root, tuple(records))
    changed.save()
    return Catalog.load(catalog.root)


def corner(rows: int = 9, columns: int = 17) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:rows, :columns] = True
    return mask


def run_unit(job: Job, contents: tuple[str, ...] = ()) -> dict[str, Outcome]:
    """The outcomes of one unit of the pairs with these contents, or of all."""
    pairs = [pair for unit in job.plan() for pair in unit.pairs]
    chosen = tuple(pair for pair in pairs if not contents or pair.content.id in contents)
    engine = job.engine(job.extractor(), 1.0, job.catalog.root, keep_targets=False)
    return {each.pair.content.id: each for each in engine.run(Unit(0, chosen))}


@pytest.fixture
def marked(tmp_path: Path) -> Catalog:
    """Simulated images with a burnt-in label each, lesion masks, 96x96."""
    for name in LABELS:
        for number in range(5):
            image, lesion = phantom(name, f"marked/{number}", 96)
            image, _ = drawn(image, label(f"RT {number}", (8 + 6 * number, 4 + 16 * number)))
            file = tmp_path / "set" / name / f"{name} ({number}).png"
            write_gray(file, image.astype(np.float32), 8)
            write_mask(file.with_name(f"{name} ({number})_mask.png"), lesion)
    prepare([tmp_path / "set"], tmp_path / "marked")
    return Catalog.load(tmp_path / "marked")


@pytest.mark.parametrize(
    ("start", "masked"), [("content", True), ("content", False), ("noise", True)]
)
def test_burnt_in_text_stays_to_the_bit_and_the_rest_changes(
    marked: Catalog,
    fast: Callable[..., Config],
    weights: Weights,
    tmp_path: Path,
    start: str,
    masked: bool,
) -> None:
    config = fast(
        "style.size=96",
        "style.references=1",
        f"style.start={start}",
        f"style.mask_overlays={masked}",
        "plan.contents=2",
        "gate.saturated_max=1",
        "output.keep_rejected=true",
    )
    rows = rows_of(Job(marked, config, weights, None), tmp_path / "a")
    for row in rows:
        record = marked.by_id[row["content"]]
        assert record.overlay is not None
        text = read_mask(marked.root / record.overlay)
        assert text.sum() > 50
        content = read_gray(marked.path(record)).pixels
        made = read_gray(tmp_path / "a" / row["file"]).pixels
        letters = text & (content > 200)
        assert letters.sum() > 20
        assert np.array_equal(made[letters], content[letters]) == masked
        assert (made[~text] != content[~text]).mean() > 0.05
        assert row["masked"] == pytest.approx(text.mean() if masked else 0, abs=1e-8)
        assert -1 < row["lesion_ssim"] < 1


def test_the_default_settings_mask_and_judge_lesions() -> None:
    assert Config().style.mask_overlays
    assert 0 < Config().gate.lesion_ssim_min < 1


def test_empty_masks_change_nothing(job: MakeJob, tiny: Catalog) -> None:
    before = run_unit(job("plan.contents=4"))
    empty = {record.id: np.zeros((SIDE, SIDE), bool) for record in tiny.records}
    catalog = with_masks(tiny, "overlay", empty)
    after = run_unit(dataclasses.replace(job("plan.contents=4"), catalog=catalog))
    assert [o.figures for o in after.values()] == [o.figures for o in before.values()]
    assert all(np.array_equal(after[key].image, before[key].image) for key in before)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L0", "LA"])
def test_a_masked_image_does_not_change_its_neighbours(
    job: MakeJob, tiny: Catalog, mode: str
) -> None:
    """The neighbours' batch now has masks; theirs keep everything."""
    made = job(f"relevance.mode={mode}")
    pairs = [pair for unit in made.plan() for pair in unit.pairs]
    first = pairs[0].content.id
    others = [p.content.id for p in pairs[1:] if first not in {r.id for r in p.references}][:1]
    before = run_unit(made, (first, *others))
    catalog = with_masks(tiny, "overlay", {first: corner()})
    after = run_unit(dataclasses.replace(made, catalog=catalog), (first, *others))
    assert not np.array_equal(after[first].image, before[first].image)  # type: ignore[arg-type]
    for name in others:
        assert np.array_equal(after[name].image, before[name].image)  # type: ignore[arg-type]
        assert after[name].figures == before[name].figures


def test_a_catalog_that_tells_nothing_of_overlays_is_noticed(
    job: MakeJob, tiny: Catalog, marked: Catalog, tmp_path: Path
) -> None:
    assert job().unmasked
    assert not job("style.mask_overlays=false").unmasked
    some = with_masks(tiny, "overlay", {tiny.split("train").records[0].id: corner()})
    assert not dataclasses.replace(job(), catalog=some).unmasked
    assert not dataclasses.replace(job(), catalog=marked).unmasked
    augment(job("plan.contents=2"), tmp_path / "a")
    assert json.loads((tmp_path / "a/run.json").read_text())["summary"]["unmasked"]


def test_a_catalog_without_overlays_in_which_prepare_looked_is_no_such_case(
    job: MakeJob, tmp_path: Path
) -> None:
    for name in LABELS:
        for number in range(5):
            image, _ = phantom(name, f"clean/{number}", 64)  # too small to look
            write_gray(tmp_path / "set" / name / f"{number}.png", image, 8)
    for looked in (True, False):
        prepare([tmp_path / "set"], tmp_path / f"{looked}", overlays=looked)
        clean = Catalog.load(tmp_path / f"{looked}")
        assert all(record.overlay is None for record in clean.records)
        assert dataclasses.replace(job(), catalog=clean).unmasked != looked


def test_an_image_wholly_under_overlays_is_rejected_by_name(
    job: MakeJob, tiny: Catalog, tmp_path: Path
) -> None:
    victim = tiny.split("train").records[0].id
    catalog = with_masks(tiny, "overlay", {victim: corner(SIDE, SIDE)})
    rows = rows_of(dataclasses.replace(job(), catalog=catalog), tmp_path / "a")
    for row in rows:
        used = victim in (row["content"], *row["references"])
        assert row["reason"] == (f"covered: overlays leave 0% of {victim}" if used else None)
    summary = json.loads((tmp_path / "a/run.json").read_text())["summary"]
    assert summary["rejected"]["covered"] == sum(row["reason"] is not None for row in rows) > 1


def test_the_least_share_is_a_setting(job: MakeJob, tiny: Catalog) -> None:
    victim = tiny.split("train").records[0].id
    catalog = with_masks(tiny, "overlay", {victim: corner(SIDE, SIDE // 2)})
    shares = {}
    for least in (0.1, 0.9):
        made = dataclasses.replace(job(f"gate.kept_min={least}"), catalog=catalog)
        shares[least] = run_unit(made, (victim,))[victim].reason
    assert shares[0.1] is None
    assert shares[0.9] == f"covered: overlays leave 50% of {victim}"


def test_calibration_passes_over_covered_images_and_sees_masks(job: MakeJob, tiny: Catalog) -> None:
    plain = calibrate(Sources.of(tiny.split("train")), job().config, job().extractor(), Single())
    some = {record.id: corner(20, 20) for record in tiny.records}
    marked = Sources.of(with_masks(tiny, "overlay", some).split("train"))
    masked = calibrate(marked, job().config, job().extractor(), Single())
    assert masked > 0
    assert masked != plain
    every = {record.id: corner(SIDE, SIDE) for record in tiny.records}
    covered = with_masks(tiny, "overlay", every).split("train")
    with pytest.raises(InputError, match="no training image"):
        calibrate(Sources.of(covered), job().config, job().extractor(), Single())


def test_a_lost_mask_costs_only_the_pairs_that_use_it(job: MakeJob, tiny: Catalog) -> None:
    victim = tiny.split("train").records[0].id
    catalog = with_masks(tiny, "overlay", {victim: corner()})
    (catalog.root / (catalog.by_id[victim].overlay or "")).unlink()
    for outcome in run_unit(dataclasses.replace(job(), catalog=catalog)).values():
        used = victim in {r.id for r in (outcome.pair.content, *outcome.pair.references)}
        assert (outcome.reason or "").startswith("unreadable: masks/overlay") == used


def test_a_corrected_mask_makes_another_run(job: MakeJob, tiny: Catalog, tmp_path: Path) -> None:
    victim = tiny.split("train").records[0].id
    made = dataclasses.replace(job(), catalog=with_masks(tiny, "overlay", {victim: corner()}))
    augment(made, tmp_path / "a")
    again = dataclasses.replace(job(), catalog=with_masks(tiny, "overlay", {victim: corner(12)}))
    with pytest.raises(OutputError, match="masks"):
        augment(again, tmp_path / "a")
    unused = dataclasses.replace(again, config=job("style.mask_overlays=false").config)
    assert unused.identity["masks"] == job().identity["masks"]


def test_a_changed_lesion_is_rejected_and_its_figure_kept(
    job: MakeJob, tiny: Catalog, tmp_path: Path
) -> None:
    lesion = np.zeros((SIDE, SIDE), bool)
    lesion[14:26, 14:26] = True
    victim = tiny.split("train").records[0].id
    catalog = with_masks(tiny, "mask", {victim: lesion})
    made = dataclasses.replace(job("gate.lesion_ssim_min=1"), catalog=catalog)
    for row in rows_of(made, tmp_path / "a"):
        assert row["reason"] == ("lesion changed" if row["content"] == victim else None)
        assert (row["lesion_ssim"] is None) == (row["content"] != victim)
