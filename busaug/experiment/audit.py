"""Whether published figures can come from any binary confusion matrix at all.

A rate stands for the values that round to it or are cut off to it. Of those all are allowed, so
that what is called impossible is so however the figures were printed. Sensitivity, precision and F1
are taken as those of one class; averages over classes obey other laws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from busaug.experiment.printed import Figure, PrintedRow

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Cells = tuple[Ints, Ints, Ints, Ints]
"""True positives, false negatives, false positives, true negatives."""
Verdict = Literal["possible", "impossible", "unclear"]
Range = tuple[Fraction, Fraction]

N_MAX = 1000
"""Test sets searched where a table does not tell its size."""
_ZERO, _ONE = Fraction(0), Fraction(1)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A confusion matrix that yields the printed figures."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def positives(self) -> int:
        return self.true_positive + self.false_negative

    @property
    def negatives(self) -> int:
        return self.false_positive + self.true_negative


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is to be said about one row."""

    row: PrintedRow
    verdict: Verdict
    """``possible``: a matrix was found. ``impossible``: there is none of any size, or none of the
    size told. ``unclear``: none was found up to the size searched, or too few figures."""
    reasons: tuple[str, ...]
    prevalence: Mapping[str, Range | None]
    """Shares of positives that ``accuracy`` and ``precision`` each allow; None for none."""
    matrix: Matrix | None

    def values(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.row.name,
            "printed": {name: figure.text for name, figure in self.row.rates.items()},
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "prevalence": {
                name: share and [float(bound) for bound in share]
                for name, share in self.prevalence.items()
            },
            "matrix": self.matrix and dataclasses.asdict(self.matrix),
        }


def audit_row(row: PrintedRow, *, n_max: int = N_MAX) -> Finding:
    """Check one row: accuracy between the class accuracies, F1 against precision and recall, one
    prevalence for all, and a whole-numbered matrix.

    Where the row tells its size only that is searched, else test sets up to ``n_max``.
    """
    reasons = [*_outside(row), *_f1(row)]
    prevalence = _prevalences(row)
    reasons += _prevalence_reasons(row, prevalence)
    if reasons:
        return Finding(row, "impossible", tuple(reasons), prevalence, None)
    if len(row.rates) < 2:
        return Finding(row, "unclear", ("too few figures to check",), prevalence, None)
    told = _sizes_told(row)
    matrix = next(_matrices(row, told or range(2, n_max + 1)), None)
    if matrix is not None:
        return Finding(row, "possible", (), prevalence, matrix)
    if told:
        reason = f"no confusion matrix of {_size_text(row)} gives these figures"
        return Finding(row, "impossible", (reason,), prevalence, None)
    reason = f"no confusion matrix of up to {n_max} images gives these figures"
    return Finding(row, "unclear", (reason,), prevalence, None)


def _outside(row: PrintedRow) -> list[str]:
    """Accuracy is the mean of sensitivity and specificity, weighted by class size."""
    rates = row.rates
    if not {"accuracy", "sensitivity", "specificity"} <= rates.keys():
        return []
    accuracy, one, other = (rates[k] for k in ("accuracy", "sensitivity", "specificity"))
    if min(one.low, other.low) <= accuracy.high and accuracy.low <= max(one.high, other.high):
        return []
    low, high = sorted((one, other), key=lambda figure: figure.printed)
    return [
        f"accuracy {accuracy.text} lies outside [{low.text}, {high.text}], the range of "
        "sensitivity and specificity"
    ]


def _f1(row: PrintedRow) -> list[str]:
    """F1 is the harmonic mean of precision and recall."""
    rates = row.rates
    if not {"precision", "sensitivity", "f1"} <= rates.keys():
        return []
    precision, recall, f1 = (rates[k] for k in ("precision", "sensitivity", "f1"))
    if not precision.low or not recall.low:
        return []
    low, high = (
        2 * p * r / (p + r) for p, r in ((precision.low, recall.low), (precision.high, recall.high))
    )
    if low <= f1.high and f1.low <= high:
        return []
    computed = 2 * precision.printed * recall.printed / (precision.printed + recall.printed)
    return [
        f"F1 {f1.text} is not the harmonic mean of precision {precision.text} and sensitivity "
        f"{recall.text}, which is {f1.like(computed)}"
    ]


def _prevalences(row: PrintedRow) -> dict[str, Range | None]:
    """Shares of positives allowed by each of accuracy and precision, given both class rates.

    Every condition is linear in the share x: accuracy x s + (1 - x) t with s and t at their bounds;
    precision r from x s (1 - r) against r (1 - t)(1 - x).
    """
    rates = row.rates
    if not {"sensitivity", "specificity"} <= rates.keys():
        return {}
    s, t = rates["sensitivity"], rates["specificity"]
    found: dict[str, Range | None] = {}
    if "accuracy" in rates:
        a = rates["accuracy"]
        found["accuracy"] = _linear(
            [(s.low - t.low, a.high - t.low), (t.high - s.high, t.high - a.low)]
        )
    if "precision" in rates:
        r = rates["precision"]
        most, least = r.low * (1 - t.high), r.high * (1 - t.low)
        found["precision"] = _linear(
            [(-s.high * (1 - r.low) - most, -most), (s.low * (1 - r.high) + least, least)]
        )
    return found


def _linear(conditions: list[tuple[Fraction, Fraction]]) -> Range | None:
    """The part of [0, 1] where a x <= b for every (a, b)."""
    low, high = _ZERO, _ONE
    for a, b in conditions:
        if a > 0:
            high = min(high, b / a)
        elif a < 0:
            low = max(low, b / a)
        elif b < 0:
            return None
    return (low, high) if low <= high else None


def _prevalence_reasons(row: PrintedRow, found: Mapping[str, Range | None]) -> list[str]:
    by_accuracy, by_precision = found.get("accuracy"), found.get("precision")
    reasons = []
    if "precision" in found and by_precision is None:
        reasons.append("no share of positives gives the precision with these class rates")
    if by_accuracy and by_precision:
        if max(by_accuracy[0], by_precision[0]) > min(by_accuracy[1], by_precision[1]):
            reasons.append(
                f"precision asks for {_share(by_precision)} positives, accuracy for "
                f"{_share(by_accuracy)}"
            )
    elif by_precision and "accuracy" in found:
        reasons.append(f"precision asks for {_share(by_precision)} positives")
    told = _share_told(row)
    for name, share in found.items():
        if told is not None and share is not None and not share[0] <= told <= share[1]:
            reasons.append(
                f"{name} asks for {_share(share)} positives, the test set has {_percent(told)}"
            )
    return reasons


def _share_told(row: PrintedRow) -> Fraction | None:
    counts = row.counts
    positives, negatives = counts.get("positives"), counts.get("negatives")
    total = counts.get("n")
    if positives is not None and total is None and negatives is not None:
        total = positives + negatives
    if positives is None and total is not None and negatives is not None:
        positives = total - negatives
    return Fraction(positives, total) if positives is not None and total else None


def _sizes_told(row: PrintedRow) -> list[int]:
    counts = row.counts
    if "n" in counts:
        return [counts["n"]]
    if {"positives", "negatives"} <= counts.keys():
        return [counts["positives"] + counts["negatives"]]
    return []


def _size_text(row: PrintedRow) -> str:
    counts = row.counts
    if {"positives", "negatives"} <= counts.keys():
        return f"{counts['positives']} positives and {counts['negatives']} negatives"
    return f"{_sizes_told(row)[0]} images"


def _share(share: Range) -> str:
    low, high = map(_percent, share)
    return low if low == high else f"{low} to {high}"


def _percent(value: Fraction) -> str:
    return f"{float(100 * value):.1f} %"


def _matrices(row: PrintedRow, sizes: Sequence[int]) -> Iterator[Matrix]:
    """Matrices with both classes that give every printed rate, small ones first."""
    for n in sizes:
        positives = np.arange(1, n, dtype=np.int64)
        if "positives" in row.counts:
            positives = positives[positives == row.counts["positives"]]
        if "negatives" in row.counts:
            positives = positives[n - positives == row.counts["negatives"]]
        for cells in _candidates(row.rates, n, positives):
            for index in np.flatnonzero(_fits(row.rates, *cells)):
                yield Matrix(*(int(cell[index]) for cell in cells))


def _candidates(rates: Mapping[str, Figure], n: int, positives: Ints) -> Iterator[Cells]:
    """Matrices of n images that accuracy, sensitivity and specificity leave, many at a time."""
    hits_low, hits_high = _count_range(rates.get("accuracy"), np.array([n]))
    tp_low, tp_high = _count_range(rates.get("sensitivity"), positives)
    for step in range(int((tp_high - tp_low).max(initial=-1)) + 1):
        inside = tp_low + step <= tp_high
        tp, p = (tp_low + step)[inside], positives[inside]
        low, high = _count_range(rates.get("specificity"), n - p)
        low, high = np.maximum(low, hits_low - tp), np.minimum(high, hits_high - tp)
        counts = (high - low + 1).clip(min=0)
        tp, p, low = (np.repeat(values, counts) for values in (tp, p, low))
        tn = low + np.arange(len(low)) - np.repeat(counts.cumsum() - counts, counts)
        yield tp, p - tp, n - p - tn, tn


def _count_range(figure: Figure | None, of: Ints) -> tuple[Ints, Ints]:
    """First and last count whose share of ``of`` the figure may stand for."""
    if figure is None:
        return np.zeros_like(of), of
    low, high = figure.low, figure.high
    return -(-of * low.numerator // low.denominator), of * high.numerator // high.denominator


def _fits(rates: Mapping[str, Figure], tp: Ints, fn: Ints, fp: Ints, tn: Ints) -> Bools:
    """Whether the matrices give every rate; one that is undefined fits nothing."""
    p, q = tp + fn, fp + tn
    quotients = {
        "accuracy": (tp + tn, p + q),
        "sensitivity": (tp, p),
        "specificity": (tn, q),
        "precision": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
        "balanced_accuracy": (tp * q + tn * p, 2 * p * q),
    }
    fits = np.ones(len(tp), np.bool_)
    for name, figure in rates.items():
        part, whole = quotients[name]
        fits &= whole > 0
        fits &= figure.low.numerator * whole <= part * figure.low.denominator
        fits &= part * figure.high.denominator <= figure.high.numerator * whole
    return fits
