"""The tables of results: what is in a results file, as rows of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from busaug.classify.metrics import METRICS
from busaug.errors import InputError

Row = Mapping[str, Any]

MAIN = ("auc", "balanced_accuracy", "sensitivity", "specificity", "mcc")
OTHERS = tuple(name for name in METRICS if name not in MAIN)
COMPARED = ("auc", "balanced_accuracy")
LEAKING = ("accuracy", "auc", "balanced_accuracy")
NAMES = {
    "auc": "AUC",
    "mcc": "MCC",
    "f1": "F1",
    "brier": "Brier",
    "ece": "ECE",
    "sensitivity": "sens.",
    "specificity": "spec.",
    "balanced_accuracy": "bal. acc.",
}
UNDEFINED = "undefined"
_ECE = (
    "ECE without intervals: bootstrap draws repeat images, which raises it, so that an interval "
    "need not hold its own mean"
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text; the first ``heads`` columns name its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    heads: int = 1


def tables(results: Row, sections: Sequence[str] = ()) -> list[Table]:
    """The tables of a results file, all of them or those of some ``SECTIONS``.

    Raises InputError for an unknown section.
    """
    check_sections(sections, SECTIONS)
    chosen = [name for name in SECTIONS if not sections or name in sections]
    return [table for name in chosen for table in SECTIONS[name](results) if table.rows]


def check_sections(sections: Sequence[str], known: Iterable[str]) -> None:
    """Raise InputError for a section that is not known."""
    known = tuple(known)
    for name in sections:
        if name not in known:
            raise InputError(f"unknown section {name!r}", remedy=f"Use some of {', '.join(known)}")


def metric_name(name: str) -> str:
    return NAMES.get(name, name.replace("_", " "))


def spelt(name: str) -> str:
    """A metric's name as in a title."""
    return NAMES["auc"] if name == "auc" else name.replace("_", " ")


def _setting(results: Row) -> list[Table]:
    """What was run, on what."""
    facts = results["experiment"]
    rows = []
    if images := facts.get("images"):
        counts = ", ".join(f"{label} {n}" for label, n in images.items())
        rows.append(("images", f"{counts}; {facts['groups']} groups of near-duplicates"))
    for budget, protocol in settings(results["conditions"]):
        members = rows_of(results["conditions"], budget, protocol)
        folds, seeds = (max(row[key] for row in members) for key in ("folds", "seeds"))
        arms = len({row["arm"] for row in members})
        shape = f"{folds} folds x {seeds} seeds" if folds > 1 else f"{seeds} splits"
        rows.append((f"{budget}, {protocol} protocol", f"{arms} arms, {shape}"))
    for backbone, weights in facts.get("weights", {}).items():
        rows.append((f"weights of {backbone}", f"{weights['name']}, {weights['sha256'][:12]}"))
    environment = facts.get("environment", {})
    machines = [
        device["name"] + (f", {device['cores']} cores" if "cores" in device else "")
        for device in environment.get("devices", [])
    ]
    if machines:
        rows.append(("machine", "; ".join(machines)))
    if "begun" in facts:
        rows.append(("dates", " to ".join(_dates(facts))))
    rows.append(("busaug", str(results["busaug"])))
    interval = results["interval"]
    rows.append(
        (
            f"{interval['level']:.0%} intervals",
            f"{interval['replicates']} bootstrap draws of {interval['groups']} groups",
        )
    )
    return [Table("Setting", ("", ""), tuple(rows))]


def _dates(facts: Row) -> list[str]:
    return list(dict.fromkeys(facts[key][:10] for key in ("begun", "continued") if key in facts))


def _made(results: Row) -> list[Table]:
    """What became of the planned images, before any classifier sees them."""
    rows = tuple(
        (
            row["arm"],
            str(row["planned"]),
            str(row["accepted"]),
            ", ".join(f"{reason} {count}" for reason, count in row["rejected"].items()),
            *("" if row[name] is None else f"{row[name]:.3f}" for name in ("style_left", "ssim")),
        )
        for row in results.get("made", ())
    )
    columns = ("arm", "planned", "accepted", "rejected", "style left", "SSIM to the content")
    note = "Style left: style distance at the end over that of the content; medians of the accepted"
    return [Table("Synthetic images", columns, rows, (note,))]


def _metrics(results: Row) -> list[Table]:
    """Means with intervals, a table for each half of the metrics."""
    made = []
    for budget, protocol in settings(results["conditions"]):
        members = rows_of(results["conditions"], budget, protocol)
        for names in (MAIN, OTHERS):
            rows = [
                (row["arm"], _ratio(row), *(_level(row["metrics"][name], name) for name in names))
                for row in members
            ]
            columns = ("arm", "ratio", *map(metric_name, names))
            title = f"Metrics, {budget}, {protocol} protocol"
            notes = _undefined(members, names) + ((_ECE,) if "ece" in names else ())
            made.append(Table(title, columns, tuple(rows), notes, heads=2))
    return made


def _undefined(members: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """Why a metric does not count in some of the jobs."""
    notes = []
    for row in members:
        for name in names:
            for reason, count in row["undefined"].get(name, {}).items():
                notes.append(
                    f"{_named(row)}: {metric_name(name)} is undefined in {count} of "
                    f"{row['jobs']} jobs, {reason}"
                )
    return tuple(notes)


def _differences(results: Row) -> list[Table]:
    """Arms less the baseline, and less the arm that their configuration names."""
    return [
        *_compared(results["comparisons"], results["baseline"]),
        *_compared(results.get("contrasts", ()), None),
    ]


def _compared(found: Sequence[Row], baseline: str | None) -> Iterator[Table]:
    """A table a metric; without a common baseline each row tells its own."""
    own = baseline is None
    columns = ("arm", "ratio", *(("less",) if own else ()), "difference")
    columns += ("p (t)", "Holm", "p (permutation)", "Holm")
    for budget, protocol in settings(found):
        for name in COMPARED:
            rows = []
            for row in rows_of(found, budget, protocol):
                metric = row["metrics"][name]
                rows.append(
                    (
                        row["arm"],
                        _ratio(row),
                        *((row["against"],) if own else ()),
                        _interval(metric, signed=True),
                        *(_p(metric[key]) for key in ("p", "p_holm")),
                        *(_p(metric[key]) for key in ("p_permutation", "p_permutation_holm")),
                    )
                )
            title = f"{spelt(name)} less that of {baseline or 'another arm'}, {budget}, {protocol}"
            yield Table(f"{title} protocol", columns, tuple(rows), heads=3 if own else 2)


def _confusion(results: Row) -> list[Table]:
    """Counts over all jobs."""
    made = []
    classes = results["classes"]
    for budget, protocol in settings(results["conditions"]):
        members = rows_of(results["conditions"], budget, protocol)
        rows = [
            (row["arm"], _ratio(row), *(str(n) for line in row["confusion"] for n in line))
            for row in members
        ]
        heads = [f"{true} as {said}" for true in classes for said in classes]
        title = f"Confusion, {budget}, {protocol} protocol, all folds and seeds"
        made.append(Table(title, ("arm", "ratio", *heads), tuple(rows), heads=2))
    return made


def _leak(results: Row) -> list[Table]:
    """The paper's protocol beside the honest one."""
    made = []
    for budget in dict.fromkeys(row["budget"] for row in results["leaks"]):
        for name in LEAKING:
            rows = []
            for row in results["leaks"]:
                if row["budget"] == budget:
                    found = row["metrics"][name]
                    both = (_interval(found[key]) for key in ("paper", "honest"))
                    gap = _interval(found["gap"], signed=True)
                    rows.append((row["arm"], _ratio(row), *both, gap))
            columns = ("arm", "ratio", "paper's protocol", "honest protocol", "leak")
            title = f"The leak in {spelt(name)}, {budget}"
            made.append(Table(title, columns, tuple(rows), heads=2))
    return made


def _claims(results: Row) -> list[Table]:
    """The paper's claims, one a row."""
    rows, notes = [], []
    for row in results["claims"]:
        ours = [
            "not run" if row[key] is None else _interval(row[key], signed=row["gain"])
            for key in ("paper", "honest")
        ]
        rows.append((row["claim"], row["printed"], *ours, row["verdict"]))
        if row["remark"]:
            notes.append(f"{row['claim']}, {row['printed']}: {row['remark']}")
    columns = ("claim", "paper", "ours, its protocol", "ours, honest", "verdict")
    return [Table("The paper's claims", columns, tuple(rows), tuple(notes), heads=0)]


SECTIONS: Mapping[str, Callable[[Row], list[Table]]] = {
    "setting": _setting,
    "made": _made,
    "metrics": _metrics,
    "differences": _differences,
    "confusion": _confusion,
    "leak": _leak,
    "claims": _claims,
}


def settings(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The budgets and protocols of rows."""
    return list(dict.fromkeys((row["budget"], row["protocol"]) for row in rows))


def rows_of(rows: Sequence[Row], budget: str, protocol: str) -> list[Row]:
    return [row for row in rows if (row["budget"], row["protocol"]) == (budget, protocol)]


def _named(row: Row) -> str:
    ratio = _ratio(row)
    return f"{row['arm']} at {ratio}" if ratio else str(row["arm"])


def _ratio(row: Row) -> str:
    return f"{row['ratio']:g}" if row["ratio"] else ""


def _level(found: Row, name: str) -> str:
    return _interval({**found, "low": None, "high": None} if name == "ece" else found)


def _interval(found: Row, *, signed: bool = False) -> str:
    """A mean with its interval; with the number of jobs where some do not define it."""
    if found["mean"] is None:
        return UNDEFINED
    form = "{:+.3f}" if signed else "{:.3f}"
    text = _plain(form.format(found["mean"]))
    if found["low"] is not None:
        low, high = (_plain(form.format(found[key])) for key in ("low", "high"))
        text += f" [{low}, {high}]"
    if found["defined"] < found["jobs"]:
        text += f" ({found['defined']} of {found['jobs']})"
    return text


def _plain(text: str) -> str:
    """No negative zero."""
    return text.replace("-", "+" if "+" in text else "") if float(text) == 0 else text


def _p(value: float | None) -> str:
    if value is None:
        return UNDEFINED
    return "< .001" if value < 0.001 else f"{value:.3f}"
