"""Styles of another Catalog: read from there, told everywhere, refused where they would leak."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from augment.conftest import contents_of, make_record, rows_of
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from busaug.augment.job import Job
from busaug.augment.past import PastRun
from busaug.augment.regenerate import regenerate
from busaug.augment.run import augment
from busaug.augment.sources import Sources
from busaug.augment.verify import verify
from busaug.classify.inputs import training_rows
from busaug.cli.app import app
from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch, pixel_hash, read_gray, write_pixels
from busaug.errors import InputError, OutputError
from busaug.files import read_json
from busaug.report import html
from busaug.report.cards import dataset_card
from busaug.report.collect import Notes, find_runs
from busaug.seeding import draw

MakeJob = Callable[..., Job]


def make_styles(
    root: Path, labels: tuple[str, ...] = ("benign", "malignant"), split: str = "train"
) -> Catalog:
    """Five images a class of another source, under the very ids of the contents' Catalog."""
    records = []
    for label in labels:
        for index in range(5):
            row = make_record(index, label, split, group=f"other-{label}-{index}")
            noise = gaussian_filter(draw("other", label, index).random((48, 48)), 3)
            pixels = (60 + 100 * noise / noise.max()).astype(np.uint8)
            write_pixels(root / row.file, pixels)
            records.append(dataclasses.replace(row, sha256=pixel_hash(pixels), width=48, height=48))
    Catalog(root, tuple(records)).save()
    return Catalog.load(root)


@pytest.fixture
def styles(tmp_path: Path) -> Catalog:
    return make_styles(tmp_path / "styles")


def styled(job: Job, styles: Catalog, *, allow_leak: bool = False) -> Job:
    return dataclasses.replace(job, styles=styles, allow_leak=allow_leak)


def with_copy(styles: Catalog, record: Record, source: Catalog) -> Catalog:
    """The styles with one image that is nearly a held-out one of another Catalog."""
    pixels = read_gray(source.path(record)).pixels.astype(np.int64)
    pixels = (pixels + draw("scan twice").integers(-2, 3, pixels.shape)).clip(0, 255)
    victim = styles.of_class(record.label).records[0]
    write_pixels(styles.root / victim.file, pixels.astype(np.uint8))
    copy = dataclasses.replace(
        victim, sha256=pixel_hash(pixels.astype(np.uint8)), width=40, height=40
    )
    rows = [copy if row.id == victim.id else row for row in styles.records]
    Catalog(styles.root, tuple(rows)).save()
    return Catalog.load(styles.root)


def test_contents_and_styles_are_read_each_from_its_own_folder(
    job: MakeJob, tiny: Catalog, styles: Catalog
) -> None:
    made = styled(job(), styles)
    assert {r.id for r in styles.records} <= {r.id for r in tiny.records}, "the hard case"
    engine = made.engine(made.extractor(), 1.0, styles.root, keep_targets=False)
    pair = made.plan().pair(0)
    inputs = engine.loader.pair(pair)
    size = made.config.style.size
    assert torch.equal(inputs.content.pixels, load_batch(tiny, [pair.content], size))
    assert torch.equal(inputs.references.pixels, load_batch(styles, pair.references, size))
    assert {r.group[:6] for r in pair.references} == {"other-"}


def test_a_run_styled_from_elsewhere_is_checked_and_made_again(
    job: MakeJob, styles: Catalog, tmp_path: Path
) -> None:
    made = styled(job("style.iterations=3"), styles)
    rows = rows_of(made, tmp_path / "a")
    own = rows_of(job("style.iterations=3"), tmp_path / "own")
    assert [row["content"] for row in rows] == [row["content"] for row in own]
    assert all(a["sha256"] != b["sha256"] for a, b in zip(rows, own, strict=True))
    summary = read_json(tmp_path / "a/run.json")["summary"]
    assert summary["styles"] == "../styles"
    assert summary["leaks"] == []
    assert read_json(tmp_path / "own/run.json")["summary"]["styles"] is None

    past = PastRun.open(tmp_path / "a")
    assert not [fault for check in verify(past) for fault in check.faults]
    again = regenerate(past, past.job(made.weights, None), rows[0]["id"])
    assert again.same_bytes
    assert again.same_row
    rows_of(made, tmp_path / "b")
    assert contents_of(tmp_path / "b") == contents_of(tmp_path / "a")


def test_other_styles_are_another_run(job: MakeJob, styles: Catalog, tmp_path: Path) -> None:
    augment(styled(job("plan.contents=2"), styles), tmp_path / "a")
    for other in (job("plan.contents=2"), styled(job("plan.contents=2"), styles, allow_leak=True)):
        with pytest.raises(OutputError, match="styles"):
            augment(other, tmp_path / "a")
    (past,) = [PastRun.open(tmp_path / "a")]
    make_styles(tmp_path / "more")
    moved = Catalog.load(tmp_path / "more")
    Catalog(moved.root, moved.records[:-1]).save()
    faults = [f for c in verify(PastRun.open(past.folder, None, moved.root)) for f in c.faults]
    assert any("not the Catalog that its styles are of" in fault for fault in faults)


def test_all_pairs_are_every_content_with_every_style(job: MakeJob, styles: Catalog) -> None:
    few = styles.where(lambda record: record.id[-1] in "012")
    plan = styled(job("plan.pairs=all", "style.references=1"), few).plan()
    assert plan.counts() == {"benign": 5 * 3, "malignant": 5 * 3}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("held out", "no image of their Catalog is of training"),
        ("another class", "no style is of class malignant"),
        ("copy", "near-duplicates of held-out images"),
    ],
)
def test_what_would_leak_is_refused_unless_allowed_and_then_told(
    job: MakeJob, tiny: Catalog, tmp_path: Path, case: str, said: str
) -> None:
    place = tmp_path / "styles"
    if case == "held out":
        styles = make_styles(place, split="test")
    elif case == "another class":
        styles = make_styles(place, labels=("benign",))
    else:
        held_out = tiny.split("test").records[1]
        styles = with_copy(make_styles(place), held_out, tiny)
    made = job("plan.contents=2")
    with pytest.raises(InputError, match=said) as refused:
        augment(styled(made, styles), tmp_path / "a")
    assert "--allow-leak" in str(refused.value)
    assert not (tmp_path / "a").exists()

    out = tmp_path / "a"
    rows = rows_of(styled(made, styles, allow_leak=True), out)
    assert {row["class"] for row in rows} == {"benign", "malignant"}
    (leak,) = read_json(out / "run.json")["summary"]["leaks"]
    assert said in leak
    assert str(tmp_path) not in leak
    faults = [fault for check in verify(PastRun.open(out)) for fault in check.faults]
    assert leak in faults
    runs = find_runs([out])
    assert leak in dataset_card(runs[0], runs)
    top = html.build([out]).split('id="augmented"')[0]
    assert leak in top


def test_training_on_a_leak_warns(
    job: MakeJob, tiny: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    styles = make_styles(tmp_path / "styles", split="val")
    augment(styled(job("plan.contents=2"), styles, allow_leak=True), tmp_path / "a")
    capsys.readouterr()
    training_rows(tiny, [Catalog.load(tmp_path / "a")])
    assert "leaks: its styles are held-out images" in " ".join(capsys.readouterr().err.split())


def test_the_report_shows_the_styles_of_the_other_catalog(
    job: MakeJob, styles: Catalog, tmp_path: Path
) -> None:
    from busaug.report.collect import style_catalog

    augment(styled(job("plan.contents=2"), styles), tmp_path / "a")
    (run,) = find_runs([tmp_path / "a"])
    found = style_catalog(run, [run], Notes())
    assert found is not None
    assert found.root.resolve() == styles.root.resolve()
    assert "another Catalog" in dataset_card(run, [run])
    (styles.root / "catalog.jsonl").unlink()
    assert "the Catalog of its styles was not found" in html.build([tmp_path / "a"])


def test_a_catalog_is_no_leak_to_itself(tiny: Catalog) -> None:
    own = Sources.between(tiny, tiny, allow_leak=False)
    assert own.contents.records == own.styles.records == tiny.split("train").records


def test_the_command_wants_styles_with_allow_leak(tiny: Catalog, tmp_path: Path) -> None:
    words = ["augment", str(tiny.root), str(tmp_path / "out"), "--allow-leak"]
    shown = CliRunner().invoke(app, words)
    assert isinstance(shown.exception, InputError)
    assert "--styles" in str(shown.exception)
