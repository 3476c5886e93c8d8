"""The report as a reader gets it: complete, self-contained, escaped, the same everywhere."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report.conftest import SIZE, Runs, build_runs, keep_weights

from busaug.errors import InputError
from busaug.report.html import build, write


class Page(HTMLParser):
    """Tags with their attributes, visible text, and whether every tag is closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def images(self) -> list[dict[str, str]]:
        return [attrs for tag, attrs in self.tags if tag == "img"]


def decoded(image: dict[str, str]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))


def by_alt(page: Page, start: str) -> dict[str, str]:
    return next(image for image in page.images() if image["alt"].startswith(start))


@pytest.fixture(scope="module")
def html(shared_runs: Runs) -> str:
    return build([shared_runs.root])


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there(page: Page) -> None:
    ids = {attrs["id"] for tag, attrs in page.tags if tag == "section"}
    assert ids == {
        *("data", "augmented", "classifier", "relevance", "speckle", "settings", "left-out"),
    }
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links >= {f"#{name}" for name in ids}
    anchors = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert links <= {f"#{name}" for name in anchors}
    assert len(anchors) == len(set(anchors))


@pytest.mark.parametrize(
    "words",
    [
        "Not for diagnosis",
        "Random features No pretrained weights were found for classifier, augmented",
        "class Training Validation Test All benign 4 1 1 6 malignant 4 1 1 6 all 8 2 2 12",
        "Groups shared between splits: 0 of 12.",
        "Classes left out on request: normal 3",
        "Planned Accepted Rejected benign 4 3 1 malignant 4 3 1",
        "all 8 accepted 6 near-copy of its content 1 saturated 1",
        "Image Class Outcome Loss Loss left Style left SSIM set-0-0000--0000 benign accepted",
        "set-1-0003--0000 malignant saturated 2,230 45 % 35 % 0.850",
        "Rejected: near-copy of its content Hardly anything was changed: SSIM to the content image"
        " is above 0.995. It is shown. set-0-0003--0000 benign rejected: near-copy",
        "More than 2 % of the pixels are black or white now",
        "style distance left 20 %",
        "SSIM to content 0.70",
        "loss 5,000 to 2,500",
        "References: set-0-0001, set-0-0002",
        "trained on 4 benign and 4 malignant images (2 of them synthetic) in 6 updates",
        "Test, n = 41 predicted benign predicted malignant benign 17 81 % 4 19 %",
        "75.6 %",
        "Precision is undefined: no image was predicted so",
        "2 images explained; largest conservation error 3.0e-06",
        "set-1-0005 malignant predicted otherwise relevance for malignant predicted benign"
        " conservation error 3e-06",
        "image Iterations SNR ENL original 0 2.50 6.2 scale 1 10 5.00 25.0 scale 2 20 10.00 -",
        "style.fusion FM",
        "balance 19500",
        "skipped set/broken.png: is truncated",
        "dropped set/twin.png: two classes",
        "skipped set-0-0003: images/set-0-0003.png is truncated",
        "its Catalog has no overlay masks",
        "its explainer, another, was not trained on its Catalog",
    ],
)
def test_what_is_promised_is_said(page: Page, words: str) -> None:
    assert words in page.text


def test_nothing_is_fetched(page: Page, html: str) -> None:
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attrs.get(name, "#").startswith(("data:image/", "#"))
    assert not re.search(r"https?://|@import|url\(", html)
    assert not [attrs for tag, attrs in page.tags if tag in ("link", "iframe", "object")]


def test_every_picture_has_words_and_decodes(page: Page) -> None:
    images = page.images()
    # per class four rows of content, two references, result and relevance, but one result was not
    # kept; an overlay and a strip; three distributions, one history, two ROC curves, one of speckle
    assert len(images) == 2 * (4 * 5 + 1 + 1) - 1 + 3 + 1 + 2 + 1
    for image in images:
        assert image["alt"].strip()
        if image["src"].startswith("data:image/png"):
            decoded(image).load()


def test_the_pictures_are_the_files(page: Page, shared_runs: Runs) -> None:
    result = decoded(by_alt(page, "Result of set-1-0002"))
    with Image.open(shared_runs.augmented / "images" / "set-1-0002--0000.png") as file:
        assert np.array_equal(np.asarray(result), np.asarray(file))
    content = decoded(by_alt(page, "Content image set-1-0002"))
    assert content.size == (40, 40)  # as the run saw it, not as the Catalog holds it
    with Image.open(shared_runs.catalog / "images" / "set-1-0002.png") as file:
        assert file.size == (SIZE, SIZE)
        seen = np.asarray(file.resize((40, 40), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(np.asarray(content, dtype=float) - seen).max() <= 2


def test_relevance_colours_where_the_weight_is(runs: Runs) -> None:
    weights = np.zeros((6, 6), np.float32)
    weights[:, :2] = 3.0  # the left third
    for file in (runs.augmented / "relevance").glob("*.safetensors"):
        file.unlink()
        keep_weights(runs.augmented, file.stem, weights)
    picture = decoded(by_alt(Page(build([runs.root])), "Relevance weight over set-0-0000"))
    pixels = np.asarray(picture, dtype=int)
    coloured = np.ptp(pixels, axis=2) > 20
    assert coloured[:, :8].mean() > 0.9
    assert coloured[:, 24:].mean() < 0.02


def test_the_same_runs_elsewhere_give_the_same_file(shared_runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(shared_runs.root, tmp_path / "moved")
    write([tmp_path / "moved"], tmp_path / "moved.html")
    text = (tmp_path / "moved.html").read_text(encoding="utf-8")
    assert text == build([shared_runs.root])
    assert str(tmp_path) not in text
    assert str(shared_runs.root) not in text


def test_names_are_shown_not_run(tmp_path: Path) -> None:
    nasty = ("<b>a</b><script>alert(1)", 'z" onerror="alert(1)$x_{')
    runs = build_runs(tmp_path / "<i>runs", nasty)
    page = Page(build([runs.root, runs.classifier]))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "i" not in {tag for tag, _ in page.tags}
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    assert nasty[0] in page.text
    assert nasty[1] in page.text


def test_rows_a_class_are_limited_by_a_stable_draw(shared_runs: Runs) -> None:
    pages = [Page(build([shared_runs.augmented], rows_a_class=n)) for n in (1, 2)]
    contents = [
        {image["alt"] for image in page.images() if image["alt"].startswith("Content")}
        for page in pages
    ]
    assert [len(found) for found in contents] == [2 + 2, 4 + 2]  # of each rejection at least one
    assert contents[0] < contents[1]
    assert "pictures of 4 images (accepted): a draw of 2 is shown" in pages[0].text
    assert "Shown are 2 of 6, a fair draw from each class." in pages[0].text


def test_a_run_alone_is_enough(shared_runs: Runs) -> None:
    page = Page(build([shared_runs.explained]))
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == ["relevance", "settings", "left-out"]
    assert "Random features" not in page.text


def test_without_relevance_there_is_no_column(runs: Runs) -> None:
    file = runs.augmented / "run.json"
    file.write_text(file.read_text().replace('"LA"', '"L0"'))
    shutil.rmtree(runs.augmented / "relevance")
    page = Page(build([runs.root]))
    assert not [image for image in page.images() if image["alt"].startswith("Relevance weight")]
    assert "relevance/" not in page.text


def damage_source(runs: Runs) -> None:
    (runs.catalog / "images" / "set-0-0001.png").unlink()


def damage_catalog(runs: Runs) -> None:
    shutil.rmtree(runs.catalog)


def damage_manifest(runs: Runs) -> None:
    (runs.augmented / "manifest.jsonl").unlink()


def damage_result(runs: Runs) -> None:
    (runs.augmented / "images" / "set-0-0000--0000.png").write_bytes(b"half")


def damage_map(runs: Runs) -> None:
    (runs.augmented / "relevance" / "set-0-0000.safetensors").write_bytes(b"half")


def damage_overlay(runs: Runs) -> None:
    (runs.explained / "overlays" / "set-0-0005.png").unlink()


def damage_metrics(runs: Runs) -> None:
    (runs.classifier / "metrics_val.json").write_text("{")


def damage_test_metrics(runs: Runs) -> None:
    (runs.classifier / "metrics_test.json").unlink()


def damage_history(runs: Runs) -> None:
    (runs.classifier / "history.jsonl").unlink()


def damage_strip(runs: Runs) -> None:
    (runs.despeckled / "strips" / "set-0-0000.png").write_bytes(b"half")


@pytest.mark.parametrize(
    ("damage", "folder", "words"),
    [
        (damage_source, "augmented", "the source image set-0-0001 is missing or unreadable"),
        (damage_catalog, "augmented", "its Catalog was not found"),
        (damage_manifest, "augmented", "manifest.jsonl does not exist"),
        (damage_result, "augmented", "images/set-0-0000--0000.png cannot be read"),
        (damage_map, "augmented", "relevance/set-0-0000.safetensors cannot be read"),
        (damage_overlay, "explained", "the overlay of set-0-0005 cannot be read"),
        (damage_metrics, "classifier", "metrics_val.json cannot be read as JSON"),
        (damage_test_metrics, "classifier", "it was not evaluated on the test split"),
        (damage_history, "classifier", "history.jsonl does not exist"),
        (damage_strip, "despeckled", "strips/set-0-0000.png cannot be read"),
    ],
)
def test_what_is_missing_is_said(
    runs: Runs, damage: Callable[[Runs], None], folder: str, words: str
) -> None:
    damage(runs)
    page = Page(build([runs.root / folder]))
    assert words in page.text
    assert str(runs.root) not in page.text


def test_paths_of_this_machine_are_cut(runs: Runs) -> None:
    file = runs.explained / "run.json"
    skipped = '[{"id": "x", "reason": "/home/me/my data/x (1).png cannot be decoded"}]'
    file.write_text(file.read_text().replace('"skipped": []', f'"skipped": {skipped}'))
    assert "skipped x: x (1).png cannot be decoded" in Page(build([runs.explained])).text


def test_an_unfinished_run_and_an_unknown_one_are_listed(runs: Runs) -> None:
    file = runs.augmented / "run.json"
    file.write_text('{"command": "augment", "hash": "abc", "identity": {}, "summary": {}}')
    (runs.augmented / "manifest.jsonl").unlink()
    (runs.root / "other").mkdir()
    (runs.root / "other" / "run.json").write_text('{"command": "later"}')
    page = Page(build([runs.root]))
    assert "augmented" not in {attrs.get("id") for _, attrs in page.tags}
    assert "busaug later" in page.text


def test_a_moved_catalog_is_found_among_the_runs(runs: Runs) -> None:
    (runs.root / "catalog").rename(runs.root / "renamed")
    page = Page(build([runs.root]))
    assert by_alt(page, "Content image set-0-0000")
    assert "its Catalog was not found" not in page.text


def test_another_catalog_is_not_taken_for_the_source(runs: Runs) -> None:
    file = runs.catalog / "catalog.jsonl"
    file.write_text(file.read_text().replace('"split": "val"', '"split": "test"'))
    assert "its Catalog was not found" in Page(build([runs.root])).text


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        build([tmp_path])
    with pytest.raises(InputError, match="is no folder"):
        build([tmp_path / "absent"])
