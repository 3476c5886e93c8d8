"""The audit against matrices whose figures are known, and against brute force."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from busaug.errors import InputError
from busaug.experiment.audit import Matrix, audit_row
from busaug.experiment.printed import Figure, PrintedRow, read_printed

TABLE_4 = Path(__file__).with_name("published_table_4.csv")
RATES = ("accuracy", "sensitivity", "specificity", "precision", "npv", "f1", "balanced_accuracy")


def rates_of(m: Matrix) -> dict[str, float]:
    """The defined rates of a matrix, by their textbook forms in floats."""
    tp, fn, fp, tn = m.true_positive, m.false_negative, m.false_positive, m.true_negative
    found = {"accuracy": (tp + tn) / (tp + fn + fp + tn)}
    found["sensitivity"], found["specificity"] = tp / (tp + fn), tn / (tn + fp)
    found["balanced_accuracy"] = (found["sensitivity"] + found["specificity"]) / 2
    if tp + fp:
        found["precision"] = tp / (tp + fp)
    if tn + fn:
        found["npv"] = tn / (tn + fn)
    if tp:
        p, r = found["precision"], found["sensitivity"]
        found["f1"] = 2 * p * r / (p + r)
    return found


def printed(rates: dict[str, str], **counts: int) -> PrintedRow:
    percent = any(float(text) > 1 for text in rates.values())
    figures = {name: Figure.of(text, percent=percent) for name, text in rates.items()}
    return PrintedRow("row", figures, counts)


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "table.csv").write_text(text, encoding="utf-8")
    return tmp_path / "table.csv"


@settings(max_examples=40)
@given(
    cells=st.tuples(*[st.integers(0, 20)] * 4),
    decimals=st.integers(1, 3),
    cut=st.booleans(),
    chosen=st.sets(st.sampled_from(RATES), min_size=2),
)
def test_what_a_matrix_prints_is_possible(
    cells: tuple[int, int, int, int], decimals: int, cut: bool, chosen: set[str]
) -> None:
    matrix = Matrix(*cells)
    assume(matrix.positives and matrix.negatives)
    shown = {}
    for name, value in rates_of(matrix).items():
        if name not in chosen:
            continue
        scaled = 100 * value * 10**decimals
        shown[name] = math.floor(scaled + 1e-9) if cut else round(scaled)
    assume(len(shown) > 1 and any(value > 10**decimals for value in shown.values()))
    texts = {name: f"{value / 10**decimals:.{decimals}f}" for name, value in shown.items()}
    size = {"positives": matrix.positives, "negatives": matrix.negatives}
    for row in (printed(texts), printed(texts, **size)):
        finding = audit_row(row, n_max=80)
        assert finding.verdict == "possible", finding.reasons
        assert finding.matrix is not None
        unit = 10.0**-decimals / 100
        found = rates_of(finding.matrix)
        for name, text in texts.items():
            assert -unit / 2 - 1e-12 <= found[name] - float(text) / 100 <= unit + 1e-12
    assert finding.matrix.positives == matrix.positives
    assert finding.matrix.negatives == matrix.negatives


@settings(max_examples=25)
@given(
    texts=st.fixed_dictionaries(
        {"accuracy": st.integers(50, 99), "sensitivity": st.integers(50, 99)},
        optional={name: st.integers(50, 99) for name in ("specificity", "precision", "f1")},
    )
)
def test_the_search_finds_what_brute_force_finds(texts: dict[str, int]) -> None:
    """Test sets of up to 10 images, figures of two digits."""
    row = printed({name: f"0.{value:02d}" for name, value in texts.items()})
    n_max = 10
    unit = 0.01
    exists = False
    for cells in itertools.product(range(n_max), repeat=4):
        matrix = Matrix(*cells)
        if not matrix.positives or not matrix.negatives or sum(cells) > n_max:
            continue
        found = rates_of(matrix)
        if all(
            name in found
            and value / 100 - unit / 2 - 1e-9 <= found[name] <= value / 100 + unit + 1e-9
            for name, value in texts.items()
        ):
            exists = True
            break
    assert (audit_row(row, n_max=n_max).verdict == "possible") == exists


def test_the_published_table() -> None:
    """Accuracy out of range, an F1 of its own, a precision that asks for 1.5 % malignant images."""
    (finding,) = [audit_row(row) for row in read_printed(TABLE_4)]
    assert finding.verdict == "impossible"
    assert finding.reasons[0].startswith("accuracy 92.47 lies outside [94.1, 99.88]")
    assert finding.reasons[1].endswith("which is 93.293")
    assert finding.prevalence["accuracy"] is None
    share = finding.prevalence["precision"]
    assert share is not None
    r, s, t = 0.925, 0.941, 0.9988
    exact = r * (1 - t) / (s * (1 - r) + r * (1 - t))  # Bayes' rule solved for the share
    assert exact == pytest.approx(0.015, abs=0.0005)
    assert share[0] < exact < share[1]
    assert share[1] - share[0] < 0.003


def test_the_published_baseline_is_96_images_not_121() -> None:
    """All called benign: 55.21 % is 53 of 96; 53 benign and 68 malignant give 43.80 %."""
    claim = {"accuracy": "55.21", "sensitivity": "0.00", "specificity": "100.00"}
    assert audit_row(printed(claim, positives=43, negatives=53)).verdict == "possible"
    finding = audit_row(printed(claim, positives=68, negatives=53))
    assert finding.verdict == "impossible"
    assert finding.reasons == ("accuracy asks for 44.8 % positives, the test set has 56.2 %",)
    true = claim | {"accuracy": "43.80"}
    assert audit_row(printed(true, positives=68, negatives=53)).verdict == "possible"


def test_a_size_told_is_the_only_one_searched() -> None:
    row = {"accuracy": "0.75", "sensitivity": "0.5"}
    assert audit_row(printed(row, n=4)).verdict == "possible"
    finding = audit_row(printed({"accuracy": "0.750", "sensitivity": "0.333"}, n=5))
    assert finding.verdict == "impossible"
    assert finding.reasons == ("no confusion matrix of 5 images gives these figures",)


def test_precision_and_accuracy_may_ask_for_other_prevalences() -> None:
    row = {"accuracy": "80.0", "sensitivity": "90.0", "specificity": "70.0", "precision": "90.0"}
    finding = audit_row(printed(row))
    assert finding.verdict == "impossible"
    assert finding.reasons[0].startswith("precision asks for 74")  # x .9 / (x .9 + (1-x) .3) = .9
    assert "accuracy for 49" in finding.reasons[0]  # x .9 + (1-x) .7 = .8


def test_not_found_is_not_impossible() -> None:
    row = {"accuracy": "90.849", "sensitivity": "92.347", "specificity": "90.123"}
    assert audit_row(printed(row), n_max=30).verdict == "unclear"
    found = audit_row(printed(row), n_max=601)  # 181 of 196 and 365 of 405 are one solution
    assert found.verdict == "possible"
    assert audit_row(printed({"accuracy": "91.2"})).reasons == ("too few figures to check",)


@pytest.mark.parametrize(
    ("text", "percent", "low", "high"),
    [
        ("92.47", True, "0.92465", "0.9248"),
        ("94.1 %", True, "0.9405", "0.942"),
        ("0.92 ± 0.01", False, "0.915", "0.93"),
        (".9", False, "0.85", "1"),
        ("0,925", False, "0.9245", "0.926"),
        ("100", True, "0.995", "1"),
    ],
)
def test_what_a_figure_stands_for(text: str, percent: bool, low: str, high: str) -> None:
    figure = Figure.of(text, percent=percent)
    assert (figure.low, figure.high) == (Fraction(low), Fraction(high))


def test_columns_are_known_by_many_names(tmp_path: Path) -> None:
    text = "Model;Acc. (%);Sens;TNR;PPV;F1-Score;AUC;benign;malignant\n"
    text += "ours;90,0;80,0;100,0;100,0;88,9;0,95;10;10\n"
    (row,) = read_printed(write(tmp_path, text))
    assert row.name == "ours"
    assert {name: float(figure.printed) for name, figure in row.rates.items()} == pytest.approx(
        {"accuracy": 0.9, "sensitivity": 0.8, "specificity": 1, "precision": 1, "f1": 0.889}
    )
    assert row.counts == {"negatives": 10, "positives": 10}
    assert audit_row(row).matrix == Matrix(8, 2, 0, 10)


def test_an_empty_cell_is_no_zero(tmp_path: Path) -> None:
    file = write(tmp_path, "name\taccuracy\trecall\nA\t0.9\t-\nB\t0.8\t0.7\n")
    rows = read_printed(file)
    assert [set(row.rates) for row in rows] == [{"accuracy"}, {"accuracy", "sensitivity"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,accuracy\n", "holds no row"),
        ("name,speed\nA,3\n", "no column of a known rate"),
        ("name,recall,sensitivity\nA,.9,.9\n", "are both sensitivity"),
        ("name,accuracy\nA,.9,.8\n", "row 2 has 3 cells"),
        ("name,accuracy\nA,120 %\n", "is no rate"),
        ("name,accuracy,n\nA,.9,7.5\n", "is no count"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_printed(write(tmp_path, text))
    with pytest.raises(InputError, match="cannot be read"):
        read_printed(tmp_path / "absent.csv")
