"""The augmentation part: content, references, result and relevance side by side."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from busaug.augment import maps
from busaug.augment.cache import read_tensors
from busaug.augment.framing import extent_of
from busaug.data.catalog import Catalog
from busaug.data.images import FloatImage
from busaug.errors import InputError
from busaug.report import plots
from busaug.report.collect import Notes, Row, Run, note_skipped, rows_of, skipped_rows
from busaug.report.pictures import gray_uri, load_gray, relevance_gradient, relevance_uri
from busaug.report.sections import Figure, Table, pick

REFERENCE_SIDE = 160
_REFERENCES_MAX = 9
_CURVES_MAX = 60
"""A class; more would blur into one."""


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """One output with what it was made from; a picture is None where its file is missing."""

    row: Row
    content: str | None
    references: Sequence[tuple[str, str | None]]
    """(id, picture)."""
    result: str | None
    relevance: str | None

    @property
    def columns(self) -> int:
        """Side of the square grid of references."""
        return max(1, int(np.ceil(np.sqrt(len(self.references)))))


@dataclasses.dataclass(frozen=True)
class AugmentSection:
    run: Run
    planned: int
    accepted: int
    counts: Table
    """Accepted and rejected by class."""
    reasons: Table | None
    figures: Sequence[Figure]
    sheets: Mapping[str, Sequence[SheetRow]]
    """By class."""
    weighted: bool
    """Whether relevance enters the loss, so that there is a column for it."""
    weight_max: float
    gradient: str


def augment_section(
    run: Run, catalog: Catalog | None, limit: int, notes: Notes
) -> AugmentSection | None:
    """Counts, distributions, at most ``limit`` sheet rows a class; None for an unfinished run."""
    note_skipped(run, skipped_rows(run), notes)
    rows = rows_of(run, "manifest.jsonl", notes)
    if not rows:
        return None
    if run.summary.get("unmasked"):
        notes.add(
            run,
            "its Catalog has no overlay masks: burnt-in text and calipers, if there were any, were"
            " restyled like tissue",
        )
    accepted = [row for row in rows if row.get("accepted")]
    for row in rows:
        if str(row.get("reason") or "").startswith("unreadable"):
            notes.add(run, f"{row.get('id')}: {row['reason']}")
    chosen = pick(accepted or rows, limit)
    weights = _weights(run, chosen, notes)
    pooled = [weight.ravel() for weight in weights.values()]
    limit_of_map = float(np.percentile(np.concatenate(pooled), 99)) if pooled else 1.0
    sheets: dict[str, list[SheetRow]] = {}
    for row in chosen:
        sheet = _sheet_row(run, row, catalog, weights, limit_of_map, notes)
        sheets.setdefault(str(row.get("class")), []).append(sheet)
    return AugmentSection(
        run=run,
        planned=len(rows),
        accepted=len(accepted),
        counts=_counts(rows),
        reasons=_reasons(rows),
        figures=_figures(run, rows),
        sheets=sheets,
        weighted=run.setting("relevance", "mode") != "L0",
        weight_max=limit_of_map,
        gradient=relevance_gradient(),
    )


def _counts(rows: Sequence[Row]) -> Table:
    count = Counter((str(row.get("class")), bool(row.get("accepted"))) for row in rows)
    body = []
    for label in sorted({label for label, _ in count}):
        yes, no = count[label, True], count[label, False]
        body.append([label, str(yes + no), str(yes), str(no)])
    return Table(["class", "Planned", "Accepted", "Rejected"], body)


def _reasons(rows: Sequence[Row]) -> Table | None:
    reasons = Counter(str(row["reason"]).split(":")[0] for row in rows if row.get("reason"))
    if not reasons:
        return None
    listed = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return Table(["reason for rejection", "Images"], [[name, str(n)] for name, n in listed])


def _figures(run: Run, rows: Sequence[Row]) -> list[Figure]:
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
        values = _by_class(rows, key)
        if values:
            kept = {name: value for name, value in limits.items() if value is not None}
            uri = plots.distribution(title, label, values, kept)
            medians = ", ".join(f"{name} {np.median(v):.2f}" for name, v in values.items())
            figures.append(Figure(uri, f"{title}: medians {medians}"))
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for row in pick(rows, _CURVES_MAX):
        curve = [(x, y) for x, y in row.get("loss_curve") or () if y is not None]
        if len(curve) > 1 and curve[0][1] > 0:
            curves.setdefault(str(row.get("class")), []).append(curve)
    if curves:
        ends = ", ".join(
            f"{name} {np.median([line[-1][1] / line[0][1] for line in lines]):.2f}"
            for name, lines in curves.items()
        )
        alt = f"Loss over its start; medians at the end: {ends}"
        figures.append(Figure(plots.loss_curves(curves), alt))
    return figures


def _by_class(rows: Sequence[Row], key: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: str(row.get("class"))):
        if row.get(key) is not None:
            found.setdefault(str(row.get("class")), []).append(float(row[key]))
    return found


def _weights(run: Run, rows: Sequence[Row], notes: Notes) -> dict[str, FloatImage]:
    """The relevance weights of the rows' contents, by content id."""
    if run.setting("relevance", "mode") == "L0":
        return {}
    found = {}
    for content in {str(row.get("content")) for row in rows}:
        file = f"{maps.FOLDER}/{content}.safetensors"
        kept = read_tensors(run.folder / file)
        if kept is None:
            notes.add(run, f"{file} cannot be read")
        else:
            found[content] = kept[maps.NAME][0].numpy()
    return found


def _sheet_row(
    run: Run,
    row: Row,
    catalog: Catalog | None,
    weights: Mapping[str, FloatImage],
    limit: float,
    notes: Notes,
) -> SheetRow:
    content_id = str(row.get("content"))
    content = _source(run, catalog, content_id, notes)
    references = [str(name) for name in row.get("references") or ()][:_REFERENCES_MAX]
    pictures = [(name, _source(run, catalog, name, notes)) for name in references]
    result = None
    if row.get("file"):
        try:
            result = gray_uri(load_gray(run.folder / str(row["file"])))
        except InputError:
            notes.add(run, f"{row['file']} cannot be read")
    weight = weights.get(content_id)
    over = content is not None and weight is not None and weight.ndim == 2
    return SheetRow(
        row=row,
        content=None if content is None else gray_uri(content),
        references=[
            (name, None if image is None else gray_uri(image, REFERENCE_SIDE))
            for name, image in pictures
        ],
        result=result,
        relevance=relevance_uri(content, weight, limit) if over else None,  # type: ignore[arg-type]
    )


def _source(run: Run, catalog: Catalog | None, name: str, notes: Notes) -> FloatImage | None:
    """A Catalog image as the run saw it, or None and a note."""
    if catalog is None:
        return None
    record = catalog.by_id.get(name)
    try:
        if record is not None:
            size, aspect = run.setting("style", "size"), run.setting("style", "aspect")
            extent = extent_of(record, size, aspect or "square") if size else None
            return load_gray(catalog.path(record), extent)
    except InputError:
        pass
    notes.add(run, f"the source image {name} is missing or unreadable")
    return None
