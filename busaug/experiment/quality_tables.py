"""The tables of a file of ``busaug experiment quality``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from busaug.experiment.tables import UNDEFINED, Table, check_sections

Row = Mapping[str, Any]


def quality_tables(found: Row, sections: Sequence[str] = ()) -> list[Table]:
    """The tables of a quality file, all that hold something or those of some ``SECTIONS``.

    Raises InputError for an unknown section.
    """
    check_sections(sections, SECTIONS)
    chosen = [SECTIONS[name] for name in SECTIONS if not sections or name in sections]
    return [table for table in (make(found) for make in chosen) if table.rows]


def _setting(found: Row) -> Table:
    images = ", ".join(f"{name} {count}" for name, count in found["images"].items())
    splits = {
        label: ", ".join(f"{split} {count}" for split, count in counts.items())
        for label, counts in found.get("splits", {}).items()
    }
    rows = (
        ("images", images),
        *((f"real ones, {label}", counts) for label, counts in splits.items()),
        ("side", f"{found['size']} px"),
        ("features", f"ResNet-50, {found['weights']}, pooled"),
        ("explained", str(found["predictor"])),
        ("busaug", str(found["busaug"])),
    )
    return Table("Image quality", ("", ""), rows)


def _transfer(found: Row) -> Table:
    rows = [row for row in found.get("transfer", ()) if row["class"] is None]
    return _transfers("Style transfer", rows, ("set",))


def _transfer_by_class(found: Row) -> Table:
    rows = [row for row in found.get("transfer", ()) if row["class"] is not None]
    return _transfers("Style transfer by class", rows, ("set", "class"))


def _transfers(title: str, found: Sequence[Row], heads: tuple[str, ...]) -> Table:
    rows = tuple(
        (
            *(row[name] for name in heads),
            f"{row['accepted']} of {row['planned']}",
            ", ".join(f"{reason} {count}" for reason, count in row["rejected"].items()),
            str(row["lesions"]),
            _range(row["lesion_ssim"]),
            *(_spread(row[name]) for name in ("loss_left", "style_left")),
            _range(row["ssim"]),
            _share(row["saturated"]),
        )
        for row in found
    )
    columns = (
        *heads,
        "accepted",
        "rejected",
        "lesions compared",
        "their SSIM",
        "loss left",
        "style left",
        "SSIM to the content",
        "newly saturated",
    )
    note = (
        "Medians of the accepted (lesions: of all that could be compared, rejected or not), and in "
        "brackets the worst (of SSIM the lowest and highest). Left is the loss, or the style "
        "distance, at the end over that of the content."
    )
    return Table(title, columns, rows, (note,), heads=len(heads))


def _spread(figure: Row | None) -> str:
    return "" if figure is None else f"{figure['median']:.3f} ({figure['max']:.3f})"


def _share(figure: Row | None) -> str:
    return "" if figure is None else f"{figure['median']:.1%} ({figure['max']:.1%})"


def _range(figure: Row | None) -> str:
    if figure is None:
        return ""
    return f"{figure['median']:.3f} ({figure['min']:.3f} to {figure['max']:.3f})"


def _despeckling(found: Row) -> Table:
    names = ("snr", "enl", "cnr", "edges")
    rows = tuple(
        (str(row["scale"] or "before"), *(_number(row[name]) for name in names))
        for row in found["despeckling"]
    )
    note = "Medians over images; SNR and ENL in each image's quietest window, CNR with a mask only."
    columns = ("scale", "speckle SNR", "ENL", "CNR of the lesion", "edges kept")
    return Table("Speckle before and after SRAD", columns, rows, (note,))


def _distances(found: Row) -> Table:
    rows = tuple(
        (
            row["set"],
            row["class"],
            f"{row['images']} / {row['real']}",
            _number(row["kid"], 4),
            _number(row["frechet"]),
            _number(row["spectrum_db"]),
        )
        for row in found["distances"]
    )
    notes = (
        "KID is unbiased, so that sets of one distribution may fall below zero. The halves are the "
        "floor, the other classes a yardstick.",
        "The Frechet distance is undefined where a set has no more images than there are features "
        "(2048).",
    )
    columns = ("set", "class", "images / real", "KID", "Frechet", "spectrum, dB")
    return Table("Distances to the real images of the class", columns, rows, notes, heads=2)


def _memory(found: Row) -> Table:
    rows = tuple(
        (
            row["set"],
            str(row["images"]),
            _number(row["nearer_to_another"]),
            _number(row["cosine_own"]),
            _number(row["cosine_other"]),
            _number(row["ssim_other_max"]),
            str(row["near_duplicates_of_another"]),
        )
        for row in found["memory"]
    )
    columns = (
        "set",
        "images",
        "nearer to another case",
        "cosine, own case",
        "cosine, another",
        "SSIM to another, highest",
        "near-duplicates of another",
    )
    return Table("Memorisation", columns, rows)


def _localisation(found: Row) -> Table:
    rows = tuple(
        (
            row["set"],
            row["method"],
            str(row["images"]),
            _with_before(row, "mass"),
            _with_before(row, "pointing"),
            _number(row["area"]),
        )
        for row in found["localisation"]
    )
    columns = ("set", "method", "images", "mass in the lesion", "pointing game", "lesion's area")
    note = "Of synthetic sets: after the transfer, and in brackets before, on the same contents."
    return Table("Relevance on the lesion", columns, rows, (note,), heads=2)


def _with_before(row: Row, name: str) -> str:
    """A figure, and in brackets that of the contents where it is of synthetic images."""
    before = f"{name}_before"
    return _number(row[name]) + (f" ({_number(row[before])})" if before in row else "")


def _number(value: float | None, decimals: int = 3) -> str:
    return UNDEFINED if value is None else f"{value:.{decimals}f}"


SECTIONS: Mapping[str, Callable[[Row], Table]] = {
    "setting": _setting,
    "transfer": _transfer,
    "transfer-by-class": _transfer_by_class,
    "speckle": _despeckling,
    "distances": _distances,
    "memory": _memory,
    "relevance": _localisation,
}
