"""``busaug experiment audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from busaug.experiment.audit import Finding


def audit(
    table: Annotated[
        Path,
        typer.Argument(help="CSV file of published rates; columns are known by their names."),
    ],
    n_max: Annotated[
        int,
        typer.Option(min=2, max=20_000, help="Test sets searched where the table tells no size."),
    ] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where any row is impossible.")
    ] = False,
) -> None:
    """Whether published figures can come from any binary confusion matrix.

    Accuracy must lie between sensitivity and specificity, F1 must follow from precision and recall,
    and one test set must give them all, as they are printed.
    """
    from busaug import console
    from busaug.experiment.audit import audit_row
    from busaug.experiment.printed import read_printed

    findings = [audit_row(row, n_max=n_max) for row in read_printed(table)]
    impossible = sum(finding.verdict == "impossible" for finding in findings)
    if as_json:
        console.out.print_json(data=[finding.values() for finding in findings])
    else:
        _print(findings)
        console.say(f"{impossible} of {len(findings)} rows are impossible as printed")
        console.say("Rates are taken as those of one class; averages over classes obey other laws.")
    if strict and impossible:
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from busaug import console

    names = [n for n in _ORDER if any(n in finding.row.rates for finding in findings)]
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("verdict")
    for finding in findings:
        rates = finding.row.rates
        cells = [finding.row.name, *(rates[n].text if n in rates else "" for n in names)]
        style = {"impossible": "red", "possible": "green"}.get(finding.verdict, "yellow")
        table.add_row(
            escape(finding.row.name), *map(escape, cells), f"[{style}]{finding.verdict}[/]"
        )
    console.out.print(table)
    console.say("")
    for finding in findings:
        for reason in finding.reasons:
            console.say(f"{finding.row.name}: {reason}")
        if (matrix := finding.matrix) is not None:
            console.say(
                f"{finding.row.name}: for example {matrix.true_positive} of {matrix.positives} "
                f"positives and {matrix.true_negative} of {matrix.negatives} negatives right"
            )


_ORDER = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
)
