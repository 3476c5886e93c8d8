"""The augmentation part: counts, figures, a page for each outcome, and a list of the images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from busaug.report import plots
from busaug.report.collect import (
    Notes,
    Row,
    Run,
    note_skipped,
    number,
    rows_of,
    skipped_rows,
    source_catalog,
    style_catalog,
)
from busaug.report.items import ACCEPTED, Item, percent, written
from busaug.report.pictures import relevance_gradient
from busaug.report.sample import Sample
from busaug.report.sections import Figure, Table
from busaug.report.sheets import SheetMaker, SheetRow

SHEET_ROWS_MAX = 120
"""Sheet rows of accepted images, and as many of rejected ones."""
LISTED_MAX = 2000
"""Rows of the list of images."""
REASONS_MAX = 10
"""Reasons with a page of their own; others share one."""
_CURVES_MAX = 60
"""A class; more would blur into one."""
_OTHER = "other reasons"
_OF = ("content", "references", "result")

REASONS: Mapping[str, str] = {
    "near-copy of its content": (
        "Hardly anything was changed: SSIM to the content image is above {ssim_max}."
    ),
    "saturated": (
        "More than {saturated_max} of the pixels are black or white now and were neither in the "
        "content image."
    ),
    "lesion changed": (
        "SSIM to the content image, on the lesion and its margin, is below {lesion_ssim_min}: the "
        "class may no longer hold."
    ),
    "loss not below initial": "The optimisation did not lower the loss.",
    "not finite": "The loss became infinite or undefined.",
    "covered": "Burnt-in text and markers cover too much of the content image or a reference.",
    "unreadable": "The content image, a reference or a mask could not be read.",
    "out of memory": "There was not enough memory for this pair, even alone.",
}
"""What a reason means; braces hold settings of the gate."""


Curve = list[tuple[float, float]]
"""(evaluations, loss)."""


@dataclasses.dataclass(frozen=True)
class Page:
    """The images of one outcome."""

    anchor: str
    """Also what a list row of this outcome refers to it by."""
    title: str
    outcomes: Sequence[str]
    """Usually the title alone."""
    meaning: str
    count: int
    rows: Sequence[SheetRow]

    @property
    def summary(self) -> str:
        """How many there are and how many are shown."""
        if not self.count:
            return "There is none."
        shown = len(self.rows)
        if shown == self.count:
            return f"All {shown} are shown." if shown > 1 else "It is shown."
        return f"Shown are {shown} of {self.count:,}, a fair draw from each class."


@dataclasses.dataclass(frozen=True)
class Listed:
    """A row of the list."""

    item: Item
    page: str
    """Anchor of its page."""
    sheet: str | None
    """Anchor of its pictures, where they are shown."""


@dataclasses.dataclass(frozen=True)
class AugmentSection:
    run: Run
    place: str
    """Begins its anchors."""
    planned: int
    accepted: int
    counts: Table
    """Accepted and rejected by class."""
    texture: Table | None
    """Speckle of contents, references and results by class, of the accepted images shown."""
    figures: Sequence[Figure]
    pages: Sequence[Page]
    """Accepted images first, then a page a reason for rejection."""
    listed: Sequence[Listed]
    labels: Sequence[str]
    weighted: bool
    """Whether relevance enters the loss, so that there is a column for it."""
    weight_max: float
    gradient: str

    @property
    def lesions(self) -> bool:
        """Whether anything is known about lesions."""
        return any(row.item.lesion_ssim is not None for row in self.listed)

    @property
    def label_options(self) -> list[tuple[str, str]]:
        return [(label, label) for label in self.labels]

    @property
    def page_options(self) -> list[tuple[str, str]]:
        return [(page.anchor, page.title) for page in self.pages]


class _Tally:
    """What is needed of a manifest, gathered row by row: its length does not matter."""

    def __init__(self, limit: int) -> None:
        self.count: Counter[tuple[str, str]] = Counter()
        """By class and outcome."""
        self.values: dict[str, dict[str, list[float]]] = {"style_left": {}, "ssim": {}}
        """Figure to class to values."""
        self.curves: Sample[str, tuple[str, Curve]] = Sample(_CURVES_MAX)
        """With their class."""
        self.listed: Sample[tuple[str, str], Item] = Sample(LISTED_MAX)
        self.accepted: Sample[str, Item] = Sample(limit)
        self.rejected: Sample[tuple[str, str], Item] = Sample(max(1, limit // 2))

    def add(self, row: Row) -> None:
        item = Item.of(row)
        self.count[item.label, item.outcome] += 1
        for key, found in self.values.items():
            value = number(row, key)
            if value is not None:
                found.setdefault(item.label, []).append(value)
        if curve := _curve(row):
            self.curves.add(item.label, item.id, (item.label, curve))
        self.listed.add((item.outcome, item.label), item.id, item)
        if item.reason is None:
            self.accepted.add(item.label, item.id, item)
        else:
            self.rejected.add((item.outcome, item.label), item.id, item)


def augment_section(
    run: Run, place: str, runs: Sequence[Run], limit: int, notes: Notes
) -> AugmentSection | None:
    """The part of one run; None for an unfinished one.

    ``runs`` are all of the report, among which its Catalogs are looked for. ``place`` begins its
    anchors. At most ``limit`` sheet rows are shown a class, and half as many of each class and
    reason for rejection.
    """
    note_skipped(run, skipped_rows(run), notes)
    tally = _Tally(limit)
    for row in rows_of(run, "manifest.jsonl", notes):
        tally.add(row)
        if str(row.get("reason") or "").startswith("unreadable"):
            notes.add(run, f"{row.get('id')}: {row['reason']}")
    if not tally.count:
        return None
    if run.summary.get("unmasked"):
        notes.add(
            run,
            "its Catalog has no overlay masks: burnt-in text and calipers, if there were any, were"
            " restyled like tissue",
        )
    if run.summary.get("explained_from_elsewhere"):
        notes.add(
            run,
            f"its explainer, {run.summary.get('explainer')}, was not trained on its Catalog, as far"
            " as is known: relevance has leaked if it saw images that are tested",
        )
    sources = source_catalog(run, runs, notes), style_catalog(run, runs, notes)
    maker = SheetMaker(run, *sources, notes)
    chosen = [*tally.accepted.kept(SHEET_ROWS_MAX), *tally.rejected.kept(SHEET_ROWS_MAX)]
    maker.weigh(chosen)
    sheets = [maker.make(row, f"{place}-row-{index}") for index, row in enumerate(chosen, start=1)]
    pages = _pages(run, place, tally.count, sheets)
    listed = _listed(tally, pages)
    _note_limits(run, tally, pages, len(listed), notes)
    labels = sorted({label for label, _ in tally.count})
    return AugmentSection(
        run=run,
        place=place,
        planned=tally.count.total(),
        accepted=sum(n for (_, outcome), n in tally.count.items() if outcome == ACCEPTED),
        counts=_counts(labels, tally.count),
        texture=_texture(labels, pages[0].rows),
        figures=_figures(run, tally),
        pages=pages,
        listed=listed,
        labels=labels,
        weighted=run.setting("relevance", "mode") != "L0",
        weight_max=maker.weight_max,
        gradient=relevance_gradient(),
    )


def _pages(
    run: Run, place: str, count: Counter[tuple[str, str]], rows: Sequence[SheetRow]
) -> list[Page]:
    """The page of accepted images, then one a reason, the most frequent first."""
    totals: Counter[str] = Counter()
    for (_, outcome), n in count.items():
        totals[outcome] += n
    accepted = totals.pop(ACCEPTED, 0)
    reasons = sorted(totals, key=lambda name: (-totals[name], name))
    outcomes = {ACCEPTED: (accepted, [ACCEPTED])}
    outcomes |= {name: (totals[name], [name]) for name in reasons[:REASONS_MAX]}
    if others := reasons[REASONS_MAX:]:
        outcomes[_OTHER] = (sum(totals[name] for name in others), others)
    return [
        Page(
            anchor=f"{place}-reason-{index}" if index else f"{place}-accepted",
            title=title,
            outcomes=names,
            meaning=_meaning(run, title),
            count=n,
            rows=[row for row in rows if row.item.outcome in names],
        )
        for index, (title, (n, names)) in enumerate(outcomes.items())
    ]


def _meaning(run: Run, title: str) -> str:
    """What the outcome says, with the gate's settings."""
    if title == ACCEPTED:
        return "They passed every check of the gate and are in the new data set."
    gate = run.setting("gate") or {}
    forms: Mapping[str, Callable[[float], str]] = {
        "ssim_max": str,
        "saturated_max": percent,
        "lesion_ssim_min": str,
    }
    told = {name: written(number(gate, name), form, "the limit") for name, form in forms.items()}
    return REASONS.get(title, "").format_map(told)


def _listed(tally: _Tally, pages: Sequence[Page]) -> list[Listed]:
    """The list in the order of class and id."""
    page_of = {outcome: page.anchor for page in pages for outcome in page.outcomes}
    sheet_of = {row.item.id: row.anchor for page in pages for row in page.rows}
    items = sorted(tally.listed.kept(LISTED_MAX), key=lambda item: (item.label, item.id))
    return [Listed(item, page_of[item.outcome], sheet_of.get(item.id)) for item in items]


def _note_limits(run: Run, tally: _Tally, pages: Sequence[Page], listed: int, notes: Notes) -> None:
    planned = tally.count.total()
    for page in pages:
        if len(page.rows) < page.count:
            notes.add(
                run,
                f"pictures of {page.count - len(page.rows):,} images ({page.title}): "
                f"a draw of {len(page.rows):,} is shown",
            )
    if listed < planned:
        notes.add(
            run,
            f"{planned - listed:,} images in the list: it has a draw from each class and outcome, "
            "manifest.jsonl has all",
        )


def _counts(labels: Sequence[str], count: Counter[tuple[str, str]]) -> Table:
    body = []
    for label in labels:
        planned = sum(n for (name, _), n in count.items() if name == label)
        yes = count[label, ACCEPTED]
        body.append([label, *(f"{n:,}" for n in (planned, yes, planned - yes))])
    return Table(["class", "Planned", "Accepted", "Rejected"], body)


def _texture(labels: Sequence[str], rows: Sequence[SheetRow]) -> Table | None:
    """Medians of speckle's SNR and equivalent looks (its square) by class; None without any."""
    body = []
    for label in labels:
        found = [r.texture for r in rows if r.texture and r.item.label == label]
        if not found:
            continue
        columns = [
            [each.content for each in found],
            [each.references for each in found if each.references is not None],
            [each.result for each in found],
        ]
        medians = [float(np.median(column)) if column else None for column in columns]
        snr = ["-" if value is None else f"{value:.2f}" for value in medians]
        enl = ["-" if value is None else f"{value**2:.1f}" for value in medians]
        body.append([label, str(len(found)), *snr, *enl])
    head = ["class", "Images", *(f"{figure} {of}" for figure in ("SNR", "ENL") for of in _OF)]
    return Table(head, body) if body else None


def _figures(run: Run, tally: _Tally) -> list[Figure]:
    figures = []
    for key, title, label, limits in (
        ("style_left", "Style distance left", "style distance at the end / at the start", {}),
        (
            "ssim",
            "Similarity to the content image",
            "SSIM",
            {"rejected above": run.setting("gate", "ssim_max")},
        ),
    ):
        values = dict(sorted(tally.values[key].items()))
        if values:
            kept = {name: value for name, value in limits.items() if value is not None}
            uri = plots.distribution(title, label, values, kept)
            medians = ", ".join(f"{name} {np.median(v):.2f}" for name, v in values.items())
            figures.append(Figure(uri, f"{title}: medians {medians}"))
    curves: dict[str, list[Curve]] = {}
    for label, curve in tally.curves.kept():
        curves.setdefault(label, []).append(curve)
    if curves:
        ends = ", ".join(
            f"{name} {np.median([line[-1][1] / line[0][1] for line in lines]):.2f}"
            for name, lines in curves.items()
        )
        alt = f"Loss over its start; medians at the end: {ends}"
        figures.append(Figure(plots.loss_curves(curves), alt))
    return figures


def _curve(row: Row) -> Curve:
    """Where both are known; empty for no curve."""
    points = [(x, y) for x, y in row.get("loss_curve") or () if y is not None]
    return points if len(points) > 1 and points[0][1] > 0 else []
