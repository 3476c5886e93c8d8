"""``busaug augment`` and ``busaug explain`` from the command line."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augment.conftest import FAST, make_record
from tolerances import TOLERANCES

from busaug.cli import app as program
from busaug.data.catalog import Catalog
from busaug.data.images import pixel_hash, write_pixels
from busaug.files import read_jsonl
from busaug.models.vgg import VGG
from busaug.seeding import draw


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    root = tmp_path / "catalog"
    records = []
    for label in ("benign", "malignant"):
        for index in range(4):
            row = make_record(index, label, "test" if index == 3 else "train")
            pixels = draw("cli", label, index).integers(0, 256, (40, 40)).astype("uint8")
            write_pixels(root / row.file, pixels)
            records.append(type(row)(**{**row.__dict__, "sha256": pixel_hash(pixels)}))
    Catalog(root, tuple(records)).save()
    return root


def _run(*arguments: object) -> int:
    """The exit code of the program, as a shell sees it."""
    import sys
    from unittest.mock import patch

    with patch.object(sys, "argv", ["busaug", *map(str, arguments)]):
        try:
            program.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


SETTINGS = [part for setting in FAST for part in ("--set", setting)]
RANDOM = ["--weights", "random"]


def test_augment_writes_images_and_says_how_many(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _run("augment", catalog, out, *RANDOM, *SETTINGS, "--pairs", "2") == 0
    rows = read_jsonl(out / "manifest.jsonl")
    assert len(rows) == 12
    captured = capsys.readouterr()
    assert "12 of 12 images accepted" in captured.out
    assert "random" in captured.err  # the warnings
    assert "no overlay masks" in " ".join(captured.err.split())


def test_what_augment_packed_is_explained_and_despeckled(catalog: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = [*SETTINGS, "--format", "webdataset", "--set", "plan.contents=2"]
    assert _run("augment", catalog, out, *RANDOM, *settings) == 0
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["runlog", "shards"]
    options = ["--model", "random", "--size", "32", "--split", "all", "--limit", "1"]
    assert _run("explain", out, tmp_path / "maps", *options) == 0
    assert len(read_jsonl(tmp_path / "maps/relevance.jsonl")) == 2
    assert _run("despeckle", out, tmp_path / "even", "--scales", "2") == 0
    assert len(Catalog.load(tmp_path / "even/scale_2").records) == 2


def test_strict_fails_where_an_image_is_rejected(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SETTINGS, "--set", "plan.contents=2", "--set", "gate.ssim_max=0"]
    for name, options, code in (("loose", [], 0), ("strict", ["--strict"], 1)):
        assert _run("augment", catalog, tmp_path / name, *RANDOM, *settings, *options) == code
        assert "rejected, near-copy of its content: 2" in capsys.readouterr().out
    always = ["--resume", "always"]
    assert _run("augment", catalog, tmp_path / "new", *RANDOM, *settings, *always) == 2
    assert "holds no run to continue" in capsys.readouterr().err


def test_dry_run_prints_and_writes_nothing(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = [*SETTINGS, "--set", "style.references=1"]
    assert _run("augment", catalog, out, *RANDOM, *settings, "--pairs", "all", "--dry-run") == 0
    assert not out.exists()
    text = capsys.readouterr().out
    assert "pairs: 18 (benign 9, malignant 9)" in text
    assert re.search(r"disk: about .* MiB as png\n", text)
    assert "time: about" in text


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--set", "style.gama=1"], "unknown config field style.gama"),
        (["--set", "style.gamma=0"], "style.gamma=0"),
        (["--weights", "none.pth"], "none.pth"),
        (["--explainer", "none"], "none"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--preset", "nope"], "nope"),
        (["--pairs", "some"], "plan.pairs"),
        (["--schedule", "guided"], "guided"),
        (["--resume", "perhaps"], "perhaps"),
        (["--format", "zip"], "output.format='zip'"),
        (["--set", "output.shard=0"], "output.shard=0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    catalog: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    match: str,
) -> None:
    out = tmp_path / "out"
    weights = [] if "--weights" in arguments else RANDOM
    assert _run("augment", catalog, out, *weights, *SETTINGS, *arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert match in errors[0]
    assert not out.exists()


def test_a_folder_that_is_no_catalog(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("augment", tmp_path, tmp_path / "out", *RANDOM) == 2
    assert "busaug prepare" in capsys.readouterr().err


def test_explain_writes_maps_and_prints_conservation(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"
    options = ["--model", "random", "--size", "32", "--split", "all", "--limit", "2"]
    assert _run("explain", catalog, out, *options) == 0
    rows = read_jsonl(out / "relevance.jsonl")
    assert len(rows) == 4
    assert all((out / row["overlay"]).is_file() and (out / row["array"]).is_file() for row in rows)
    for row in rows:
        assert row["conservation_error"] < TOLERANCES["conservation, float32"]
        assert all(abs(row["sums"][k]) <= size for k, size in row["magnitudes"].items())
    assert "conservation" in capsys.readouterr().out


def test_explain_compares_composites_layer_by_layer(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "random", "--size", "32", "--split", "all", "--limit", "1"]
    names = ["alpha1beta0", "alpha2beta1"]
    out = tmp_path / "maps"
    both = [part for name in names for part in ("--composite", name)]
    assert _run("explain", catalog, out, *options, *both) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert names in printed
    assert [line for line in printed if line[:1] == ["input"]]
    rows = read_jsonl(out / "relevance.jsonl")
    assert [row["composite"] for row in rows] == ["alpha1beta0"] * 2
    for row in rows:
        (other,) = row["compared"]
        assert other["composite"] == "alpha2beta1"
        for each in (row, other):
            total = np.load(out / each["array"]).sum(dtype=np.float64)
            assert total == pytest.approx(row["logit"], rel=TOLERANCES["conservation, float32"])
        assert not np.array_equal(np.load(out / row["array"]), np.load(out / other["array"]))
    with (out / "conservation.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * (2 + 16 + 1 + 1)  # stem and its pool, blocks, last pool, input
    assert [line["composite"] for line in table[:2]] == names
    for line in table:
        layer = line["layer"]
        parts = [
            row if line["composite"] == row["composite"] else row["compared"][0] for row in rows
        ]
        errors = [
            abs(p["sums"][layer] / row["logit"] - 1) for p, row in zip(parts, rows, strict=True)
        ]
        assert float(line["error_worst"]) == pytest.approx(max(errors), rel=1e-4, abs=1e-12)


def test_explain_tells_a_vgg_from_its_file(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network of two blocks, as torchvision would name its values; three classes of no name."""
    torch.manual_seed(1)
    torch.save(VGG([[4], [6, 8]], 3, batchnorm=True).state_dict(), tmp_path / "net.pth")
    options = ["--model", tmp_path / "net.pth", "--size", "32", "--split", "all", "--limit", "1"]
    assert _run("explain", catalog, tmp_path / "maps", *options) == 0
    assert "(vgg6_bn)" in capsys.readouterr().out
    rows = read_jsonl(tmp_path / "maps/relevance.jsonl")
    assert {row["target"] for row in rows} <= {"class 0", "class 1", "class 2"}
    assert "classifier.4" in rows[0]["sums"]


def test_explain_takes_the_class_that_is_asked_for(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    model = VGG([[4], [6, 8]], 3, batchnorm=True)
    torch.save(model.state_dict(), tmp_path / "net.pth")
    options = ["--model", tmp_path / "net.pth", "--size", "32", "--split", "all", "--limit", "2"]
    chosen: dict[str, list[dict[str, Any]]] = {}
    for text in ("0", "1", "2", "predicted"):
        out = tmp_path / f"maps-{text}"
        assert _run("explain", catalog, out, *options, "--class", text) == 0
        chosen[text] = read_jsonl(out / "relevance.jsonl")
        printed = capsys.readouterr().out
        for name in {row["target"] for row in chosen[text]}:
            shares = [row["probability"] for row in chosen[text] if row["target"] == name]
            told = f"probability {min(shares):.2f} to {max(shares):.2f}"
            assert f"relevance for {name} in {len(shares)} images, {told}" in printed
    for index, row in enumerate(chosen["predicted"]):
        each = [chosen[text][index] for text in "012"]
        assert [other["target"] for other in each] == ["class 0", "class 1", "class 2"]
        logits = np.array([other["logit"] for other in each])
        shares = np.exp(logits) / np.exp(logits).sum()
        assert [other["probability"] for other in each] == pytest.approx(shares)
        assert row["target"] == row["predicted"] == f"class {logits.argmax()}"
        assert (
            row["probability"]
            == row["predicted_probability"]
            == each[logits.argmax()]["probability"]
        )


def test_explain_names_a_network_it_does_not_know(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"stages.0.weight": torch.zeros(3)}, tmp_path / "net.pth")
    assert _run("explain", catalog, tmp_path / "maps", "--model", tmp_path / "net.pth") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "net.pth are of no ResNet or VGG: keys as 'stages.0.weight'" in error


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--model", "none.safetensors"], "none.safetensors"),
        (["--model", "random", "--composite", "gamma"], "'gamma'"),
        (["--model", "random", "--class", "benign"], "has no class 'benign'"),
        (["--model", "random", "--class", "true"], "no names of classes"),
        (["--model", "random", "--split", "dev"], "'dev'"),
        (["--model", "random", "--split", "val"], "no image in its val split"),
    ],
)
def test_explain_names_bad_input(
    catalog: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    match: str,
) -> None:
    assert _run("explain", catalog, tmp_path / "maps", *arguments) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_verify_and_regenerate_tell_a_good_data_set_from_a_changed_one(
    catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, again = tmp_path / "out", tmp_path / "again.png"
    assert _run("augment", catalog, out, *RANDOM, *SETTINGS) == 0
    assert _run("verify", out) == 0
    name = "malignant-0001--0000"
    assert _run("regenerate", out, "--id", name, "--to", again, *RANDOM) == 0
    captured = capsys.readouterr()
    assert captured.out.count("ok ") == 7
    assert f"{name}: the same bytes" in captured.out
    file = out / f"images/malignant/{name}.png"
    assert again.read_bytes() == file.read_bytes()
    pixels = draw("altered").integers(0, 256, (40, 40)).astype("uint8")
    write_pixels(file, pixels[:32, :32])
    assert _run("verify", out) == 1
    assert "WRONG  images are on disk and unchanged (6)" in capsys.readouterr().out
    assert _run("regenerate", out, "--id", name, *RANDOM) == 1
    assert "of the pixels differ" in capsys.readouterr().out
