"""Pictures of any shape on the engine's grids."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from augment.conftest import make_record, rows_of
from hypothesis import given
from hypothesis import strategies as st

from busaug.augment.framing import extent_of, filling, whole
from busaug.augment.inputs import Loader
from busaug.augment.job import Job
from busaug.augment.plan import Unit
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.catalog import Catalog
from busaug.data.images import load_batch, pixel_hash, read_gray, write_pixels
from busaug.models.weights import Weights
from busaug.seeding import draw

MakeJob = Callable[..., Job]
SHAPES = ((40, 56), (56, 40), (40, 57), (48, 48), (60, 84))
"""Of 48 px: 32x48, 48x32, 32x48, 48x48, 32x48."""


def sized(height: int, width: int):
    return dataclasses.replace(make_record(0, "benign", "train"), height=height, width=width)


@given(st.integers(32, 2000), st.integers(32, 2000), st.sampled_from([64, 224, 1024]))
def test_the_aspect_ratio_is_kept_to_half_a_step(height: int, width: int, size: int) -> None:
    rows, columns = extent_of(sized(height, width), size, "native")
    assert max(rows, columns) == size
    exact = min(height, width) * size / max(height, width)
    assert min(rows, columns) == pytest.approx(max(exact, 32), abs=4)
    assert (rows <= columns) == (height <= width) or rows == columns
    assert extent_of(sized(height, width), size, "square") == (size, size)


@given(st.integers(32, 500), st.integers(32, 500), st.integers(4, 30), st.integers(4, 30))
def test_a_reference_fills_the_grid_and_keeps_its_shape(
    height: int, width: int, rows: int, columns: int
) -> None:
    extent = (8 * rows, 8 * columns)
    frame = filling(sized(height, width), extent, "native")
    assert frame.window == extent
    assert frame.scaled[0] == extent[0] or frame.scaled[1] == extent[1]
    assert frame.scaled[0] >= extent[0]
    assert frame.scaled[1] >= extent[1]
    longer = max(frame.scaled)
    assert frame.scaled[0] * width == pytest.approx(frame.scaled[1] * height, abs=longer * 500 / 32)
    assert filling(sized(height, width), extent, "square") == whole(extent)


def test_the_window_is_in_the_middle() -> None:
    frame = dataclasses.replace(whole((4, 6)), window=(4, 2))
    picture = torch.arange(24.0).view(1, 4, 6)
    assert torch.equal(frame.crop(picture), picture[..., 2:4])


@pytest.fixture
def mixed(tmp_path: Path) -> Catalog:
    """Ten training images a class, two of each shape."""
    records = []
    for label in ("benign", "malignant"):
        for index in range(10):
            pixels = draw("mixed", label, index).integers(0, 256, SHAPES[index % 5])
            row = make_record(index, label, "train")
            write_pixels(tmp_path / row.file, pixels.astype(np.uint8))
            digest = pixel_hash(pixels.astype(np.uint8))
            height, width = pixels.shape
            records.append(dataclasses.replace(row, sha256=digest, height=height, width=width))
    Catalog(tmp_path, tuple(records)).save()
    return Catalog.load(tmp_path)


@pytest.fixture
def native(mixed: Catalog, fast: Callable[..., Config], weights: Weights) -> MakeJob:
    settings = ("style.size=48", "style.aspect=native", "gate.saturated_max=1")
    return lambda *more: Job(mixed, fast(*settings, *more), weights, None)


def test_outputs_have_the_aspect_ratio_of_their_contents(
    native: MakeJob, mixed: Catalog, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    rows = rows_of(native("plan.contents=10"), out)
    made = Catalog.load(out).by_id
    extents = set()
    for row in rows:
        assert row["reason"] is None
        content = mixed.by_id[row["content"]]
        expected = extent_of(content, 48, "native")
        assert read_gray(out / row["file"]).pixels.shape == expected
        assert (made[row["id"]].height, made[row["id"]].width) == expected
        extents.add(expected)
    assert len(extents) > 1


def test_contents_of_one_extent_are_neighbours_in_the_plan(native: MakeJob) -> None:
    plan = native().plan()
    for label in plan.counts():
        found = [
            extent_of(pair.content, 48, "native")
            for unit in plan
            for pair in unit.pairs
            if pair.label == label
        ]
        changes = sum(a != b for a, b in itertools.pairwise(found))
        assert changes == len(set(found)) - 1 == 2


def test_a_unit_of_several_extents_is_a_batch_of_each(native: MakeJob) -> None:
    job = native("plan.contents=20", "relevance.mode=LA")
    pairs = [pair for unit in job.plan() for pair in unit.pairs][:10]
    engine = job.engine(job.extractor(), 1.0, job.catalog.root, keep_targets=False)
    together = engine.run(Unit(0, tuple(pairs)))
    assert [outcome.pair for outcome in together] == pairs
    for extent in {extent_of(pair.content, 48, "native") for pair in pairs}:
        part = [p for p in pairs if extent_of(p.content, 48, "native") == extent]
        alone = engine.run(Unit(0, tuple(part)))
        for outcome in alone:
            (same,) = [each for each in together if each.pair == outcome.pair]
            assert np.array_equal(same.image, outcome.image)  # type: ignore[arg-type]
            assert same.figures == outcome.figures


def test_references_are_cut_to_the_grid_of_their_content(native: MakeJob, mixed: Catalog) -> None:
    job = native()
    loader = Loader(Sources.of(mixed), job.config, job.extractor())
    for unit in job.plan():
        for pair in unit.pairs:
            inputs = loader.pair(pair)
            assert inputs.references.pixels.shape == (2, 1, *inputs.extent)
            if inputs.extent == (32, 48):
                wide = [r for r in pair.references if (r.height, r.width) == (56, 40)]
                for record in wide:  # 56 x 40 scaled to 67 x 48, rows 17 to 49 of it
                    expected = load_batch(mixed, [record], (67, 48))[..., 17:49, :]
                    got = inputs.references.pixels[pair.references.index(record)]
                    assert torch.equal(got, expected[0])
                    return
    pytest.fail("no upright reference was drawn for a lying content")


def test_squares_are_the_default(native: MakeJob) -> None:
    job = native("style.aspect=square")
    loader = Loader(job.sources, job.config, job.extractor())
    assert loader.pair(job.plan().pair(0)).extent == (48, 48)
    assert Config().style.aspect == "square"
