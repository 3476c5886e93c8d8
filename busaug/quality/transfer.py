"""What became of a style transfer's planned images, as its manifest tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from busaug.augment.manifest import MANIFEST_FILE, Manifest
from busaug.data.catalog import Catalog

_DIGITS = 6
_OF_A_PLAN = {"class", "accepted", "reason"}

Row = dict[str, Any]


def transfers(synthetic: Mapping[str, Catalog]) -> list[Row]:
    """For every set that a style transfer made, an ``outcome`` of all images and one a class.

    Sets without a manifest of planned images give no row.
    """
    found = []
    for name, catalog in synthetic.items():
        rows = _planned(catalog)
        labels = dict.fromkeys(row["class"] for row in rows)
        found += [{"set": name, "class": None, **outcome(rows)}] if rows else []
        for label in sorted(labels) if len(labels) > 1 else ():
            members = [row for row in rows if row["class"] == label]
            found.append({"set": name, "class": label, **outcome(members)})
    return found


def _planned(catalog: Catalog) -> list[Row]:
    manifest = Manifest(catalog.root)
    if not (catalog.root / MANIFEST_FILE).is_file():
        return []
    return [row for row in manifest.rows() if row.keys() >= _OF_A_PLAN]


def outcome(rows: Iterable[Mapping[str, Any]]) -> Row:
    """Counts of manifest rows, and figures of the accepted ones.

    A figure (``loss_left``, ``style_left``, ``ssim``, ``saturated``) is its median and extremes,
    or None where some accepted image has none. ``rejected`` counts by reason; ``lesions`` are the
    planned images whose lesion could be compared, ``lesion_ssim`` is over these, rejected or not.
    """
    rows = list(rows)
    lesions = [row["lesion_ssim"] for row in rows if row.get("lesion_ssim") is not None]
    accepted = [_with_loss_left(row) for row in rows if row["accepted"]]
    reasons = (row["reason"].split(":")[0] for row in rows if not row["accepted"])
    return {
        "planned": len(rows),
        "accepted": len(accepted),
        "rejected": dict(Counter(reasons)),
        "lesions": len(lesions),
        "lesion_ssim": _spread(lesions),
        **{
            name: _spread([row.get(name) for row in accepted])
            for name in ("loss_left", "style_left", "ssim", "saturated")
        },
    }


def _with_loss_left(row: Mapping[str, Any]) -> Mapping[str, Any]:
    initial, final = row.get("loss_initial"), row.get("loss_final")
    return {**row, "loss_left": final / initial if initial and final is not None else None}


def _spread(values: list[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    figures = {"median": median(known), "min": min(known), "max": max(known)}
    return {name: round(value, _DIGITS) for name, value in figures.items()}
