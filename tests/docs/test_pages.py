"""What the documents say of the repository: links, tolerances, the API reference."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from docs.commands import DOCUMENTS, ROOT
from tolerances import TOLERANCES

from busaug.data.ingest import prepare

READERS = ROOT / "docs/reader_table.py"

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ROW = re.compile(r"^\| (.+?) \| (\S+) \|$", re.MULTILINE)


def reference() -> dict[str, Any]:
    """The script that writes the API reference, as a module's names."""
    return runpy.run_path(str(ROOT / "docs/api_reference.py"))


def anchors(document: Path) -> set[str]:
    """The headings of a document as links name them."""
    heads = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs/index.md"
    linked = {link.partition("#")[0] for link in _LINK.findall(index.read_text(encoding="utf-8"))}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {index.name}
    assert pages <= linked


def test_tolerances_shown_are_those_of_the_tests() -> None:
    text = (ROOT / "docs/numerics.md").read_text(encoding="utf-8")
    _, after = text.split("| row | tolerance |\n| --- | --- |\n")
    rows = _ROW.findall(after.partition("\n\n")[0] + "\n")
    shown = {name.replace("\\|", "|"): float(value) for name, value in rows}
    assert len(shown) >= 10
    assert shown == {name: TOLERANCES[name] for name in shown}


def test_the_api_reference_is_what_its_script_makes() -> None:
    made = reference()["render"]()
    there = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert there == made, "make it again: python docs/api_reference.py"


def test_the_page_of_readers_is_what_its_script_makes() -> None:
    made = runpy.run_path(str(READERS))["render"]()
    there = (ROOT / "docs/readers.md").read_text(encoding="utf-8")
    assert there == made, "make it again: python docs/reader_table.py"


@pytest.mark.real
@pytest.mark.slow
def test_counts_shown_of_real_images(busi_256: Path, busi_native: Path, tmp_path: Path) -> None:
    page = runpy.run_path(str(READERS))
    for source in (busi_256, busi_native):
        prepare([source], tmp_path / source.name, overlays=False)
        assert page["counts"](source, tmp_path / source.name) == page["REAL"][source.name]


def test_the_api_reference_has_every_public_name() -> None:
    import busaug
    import busaug.training

    shown = {(entry.module, entry.name) for _, entry in reference()["entries"]()}
    for module in (busaug, busaug.training):
        names = {name for name in module.__all__ if not name.startswith("_")}
        assert {(module.__name__, name) for name in names} <= shown


def test_public_functions_tell_shapes_and_errors() -> None:
    tensors = ("srad", "quiet_window", "rodinia_v1", "uva", "relevance", "style_loss")
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for part in page.split("\n### ")[1:]:
        title = part.partition("\n")[0].strip("`")
        if title.rpartition(".")[2] in tensors:
            assert re.search(r"\(.*\bW\)|\(B, N, M\)", part), title
            assert "InputError" in part, title
