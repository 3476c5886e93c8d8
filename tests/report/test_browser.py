"""The report in a browser: no error, no overflow, and controls that do what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from report.browser import PROGRAM, Browser, Tab, chromium
from report.conftest import Runs, build_runs

from busaug.files import read_jsonl, write_jsonl
from busaug.report.html import write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed"),
]

WIDTHS = pytest.mark.parametrize("width", [1280, 390])
LONG = "a name without a place to break at: " + "x" * 150
PLACE = "#augmented-1"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def report(shared_runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    write([shared_runs.root], file)
    return file


@pytest.fixture
def tab(browser: Browser, report: Path) -> Iterator[Tab]:
    opened = browser.open(report, width=1280)
    yield opened
    assert opened.complaints() == []


def overflow(tab: Tab) -> list[str]:
    """What is wider than the window, outside of boxes that scroll by themselves, all unfolded."""
    tab.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    found: list[str] = tab.run(
        """[...document.querySelectorAll("body *")].filter((e) =>
             e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5
             && !e.closest(".scroll, .contents"))
           .map((e) => `${e.tagName}.${e.className} ${e.getBoundingClientRect().right}`)"""
    )
    if tab.run("document.documentElement.scrollWidth > innerWidth"):
        found.append("the page scrolls sideways")
    return found


def listed(tab: Tab) -> list[str]:
    """First cells of the list's visible rows, in their order."""
    found: list[str] = tab.run(
        f"""[...document.querySelectorAll("{PLACE} tbody tr:not([hidden]) th")]
            .map((e) => e.textContent)"""
    )
    return found


def sheets(tab: Tab) -> list[str]:
    """Names of the sheet rows that can be seen, in their order."""
    found: list[str] = tab.run(
        f"""[...document.querySelectorAll("{PLACE} article")].filter((e) => e.checkVisibility())
            .map((e) => e.dataset.name)"""
    )
    return found


def choose(tab: Tab, selector: str, value: str) -> None:
    """As a user does: the control changes and says so."""
    tab.run(
        f"""(() => {{ const control = document.querySelector(`{PLACE} {selector}`);
            control.value = {value!r};
            if (control.value !== {value!r}) throw new Error("no such value");
            control.dispatchEvent(new Event("input", {{bubbles: true}})); }})()"""
    )


def focus(tab: Tab, selector: str) -> None:
    assert tab.run(
        f"""(() => {{ const e = document.querySelector(`{selector}`); e.focus();
            return document.activeElement === e; }})()"""
    )


def status(tab: Tab) -> str:
    text: str = tab.run(f"""document.querySelector("{PLACE} [role=status]").textContent""")
    return text


NAMES = [f"set-{number}-{index:04d}--0000" for number in (0, 1) for index in range(4)]


@WIDTHS
def test_it_opens_without_a_complaint_and_fits(browser: Browser, report: Path, width: int) -> None:
    tab = browser.open(report, width=width)
    assert overflow(tab) == []
    assert tab.complaints() == []
    assert [a for a in tab.addresses() if not a.startswith("data:")] == [report.as_uri()]
    broken = "[...document.images].filter((e) => !e.complete || !e.naturalWidth).length"
    assert tab.run(broken) == 0
    assert tab.run("document.querySelectorAll('form:not([hidden])').length") == 2


@WIDTHS
def test_long_names_fit(browser: Browser, tmp_path: Path, width: int) -> None:
    runs = build_runs(tmp_path / "runs", ("benign", LONG))
    rows = read_jsonl(runs.augmented / "manifest.jsonl")
    for row in rows:
        row["id"] = f"{row['id']}-{'y' * 150}"
        row["reason"] = row["reason"] and f"{row['reason']}: {'z' * 200}"
    write_jsonl(runs.augmented / "manifest.jsonl", rows)
    write([runs.root], tmp_path / "report.html")
    tab = browser.open(tmp_path / "report.html", width=width)
    assert overflow(tab) == []
    assert tab.complaints() == []


@WIDTHS
def test_without_scripts_everything_is_there_and_nothing_is_dead(
    browser: Browser, report: Path, width: int
) -> None:
    tab = browser.open(report, width=width, script=False)
    tab.call("Emulation.setScriptExecutionDisabled", value=False)  # to be able to look
    assert listed(tab) == NAMES
    assert sorted(sheets(tab)) == NAMES
    assert tab.run(
        "[...document.querySelectorAll('form, button')].every((e) => !e.checkVisibility())"
    )
    assert overflow(tab) == []


def test_every_control_has_a_name(tab: Tab) -> None:
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "combobox", "spinbutton", "link", "region", "navigation", "form", "image"}
    named = [node for node in tree if node.get("role", {}).get("value") in roles]
    assert {node["role"]["value"] for node in named} == roles
    assert all(node["name"]["value"].strip() for node in named if not node["ignored"])


def test_heads_sort_by_keyboard_in_both_directions(tab: Tab) -> None:
    assert listed(tab) == NAMES
    focus(tab, f"{PLACE} th[data-sort=loss] button")
    state = f"""document.querySelector("{PLACE} th[data-sort=loss]").getAttribute("aria-sort")"""
    assert tab.run(state) == "none"
    tab.press("Enter")  # 2500 - 100 index, and 30 more in the second class
    up = [NAMES[n] for n in (3, 7, 2, 6, 1, 5, 0, 4)]
    assert (listed(tab), tab.run(state)) == (up, "ascending")
    tab.press(" ")
    assert (listed(tab), tab.run(state)) == (up[::-1], "descending")
    accepted = [name for name in up[::-1] if name not in (NAMES[3], NAMES[7])]
    assert sheets(tab) == [*accepted, NAMES[3], NAMES[7]]  # a page after the other
    focus(tab, f"{PLACE} th[data-sort=ssim] button")
    tab.press("Enter")
    assert listed(tab) == [NAMES[n] for n in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert tab.run(state) == "none"


def test_numbers_are_sorted_as_numbers_and_the_unknown_last(
    browser: Browser, runs: Runs, tmp_path: Path
) -> None:
    rows = read_jsonl(runs.augmented / "manifest.jsonl")
    losses = [9.0, 10000.0, 200.0, None, -3.0, 1e-5, 30.5, None]
    for row, loss in zip(rows, losses, strict=True):
        row["loss_final"] = loss
    write_jsonl(runs.augmented / "manifest.jsonl", rows)
    write([runs.augmented], tmp_path / "report.html")
    tab = browser.open(tmp_path / "report.html", width=1280)
    choose(tab, "[name=sort]", "loss")
    assert listed(tab) == [NAMES[n] for n in (4, 5, 0, 6, 2, 1, 3, 7)]
    choose(tab, "[name=order]", "down")
    assert listed(tab) == [NAMES[n] for n in (1, 2, 6, 0, 5, 4, 3, 7)]
    choose(tab, "[data-from=lossLeft]", "-1000")
    assert NAMES[3] not in listed(tab)


def test_filters_hide_in_the_list_and_the_sheets_alike(tab: Tab) -> None:
    assert status(tab) == "Shown: 8 of 8 in the list, 8 of 8 with pictures"
    choose(tab, "[data-equal=label]", "malignant")
    assert listed(tab) == sheets(tab) == NAMES[4:]
    choose(tab, "[data-from=ssim]", "0.75")
    choose(tab, "[data-to=ssim]", "0.8")
    assert listed(tab) == sheets(tab) == NAMES[5:7]
    assert status(tab) == "Shown: 2 of 8 in the list, 2 of 8 with pictures"
    choose(tab, "[data-to=lossLeft]", "47")
    assert listed(tab) == [NAMES[6]]
    focus(tab, f"{PLACE} [type=reset]")
    tab.press("Enter")
    tab.run("new Promise((done) => setTimeout(done, 20))")
    assert listed(tab) == NAMES
    assert len(sheets(tab)) == 8


def test_a_reason_is_a_page(tab: Tab) -> None:
    heads = (
        f"""[...document.querySelectorAll("{PLACE} .outcome h3")]"""
        ".filter((e) => e.checkVisibility()).map((e) => e.textContent)"
    )
    everything = ["Accepted", "Rejected: near-copy of its content", "Rejected: saturated"]
    assert tab.run(heads) == everything
    focus(tab, f"{PLACE} .pages li:nth-child(4) a")
    tab.press("Enter")
    assert tab.run(heads) == ["Rejected: saturated"]
    assert listed(tab) == sheets(tab) == [NAMES[7]]
    assert tab.run("document.querySelector('.pages [aria-current]').textContent") == "saturated 1"
    tab.run("history.back(); new Promise((done) => addEventListener('hashchange', done))")
    focus(tab, f"{PLACE} .pages a")
    tab.press("Enter")
    assert tab.run(heads) == everything


def test_an_address_opens_its_page(browser: Browser, report: Path) -> None:
    """Its own script goes there, and a damaged address harms nothing."""
    tab = browser.open(report, width=1280, anchor="#%")
    assert listed(tab) == NAMES
    assert tab.complaints() == []
    tab = browser.open(report, width=1280, anchor="#augmented-1-reason-1")
    assert listed(tab) == sheets(tab) == [NAMES[3]]
    place = tab.run("document.getElementById('augmented-1-reason-1').getBoundingClientRect().top")
    assert 0 <= place < 900


def test_a_result_gives_way_to_its_content(tab: Tab) -> None:
    button = f"{PLACE} .flicker"
    same = (
        f"""document.querySelector("{button} img").src === """
        f"""document.querySelector("{PLACE} .pictures img").src"""
    )
    pressed = f"""document.querySelector("{button}").getAttribute("aria-pressed")"""
    assert (tab.run(same), tab.run(pressed)) == (False, "false")
    focus(tab, button)
    tab.press(" ")
    assert (tab.run(same), tab.run(pressed)) == (True, "true")
    tab.press("Enter")
    assert (tab.run(same), tab.run(pressed)) == (False, "false")


def test_nothing_but_its_own_script_runs(browser: Browser, report: Path, tmp_path: Path) -> None:
    """Were a name ever to leave its place, the browser would refuse to run it."""
    text = report.read_text(encoding="utf-8")
    injected = "<img src=x onerror='window.bad = 1'><script>window.bad = 1</script></body>"
    (tmp_path / "report.html").write_text(text.replace("</body>", injected), encoding="utf-8")
    tab = browser.open(tmp_path / "report.html", width=1280)
    assert tab.run("window.bad") is None
    assert len(tab.complaints()) >= 2
    assert len(sheets(tab)) == 8
