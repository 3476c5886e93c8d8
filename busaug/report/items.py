"""One planned image of a run of augment, as its manifest row tells it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from busaug.report.collect import number, reason_of

ACCEPTED = "accepted"


@dataclasses.dataclass(frozen=True)
class Item:
    """What is shown of one image; figures are None where they are not known."""

    id: str
    label: str
    content: str
    references: tuple[str, ...]
    file: str | None
    outcome: str
    """``accepted``, or the kind of rejection."""
    reason: str | None
    """The rejection with its details."""
    loss_initial: float | None
    loss: float | None
    """At the end."""
    style_left: float | None
    ssim: float | None
    lesion_ssim: float | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Item:
        kind = reason_of(row)
        references = row.get("references")
        return cls(
            id=str(row.get("id")),
            label=str(row.get("class")),
            content=str(row.get("content")),
            references=tuple(map(str, references)) if isinstance(references, list) else (),
            file=str(row["file"]) if row.get("file") else None,
            outcome=kind or ACCEPTED,
            reason=str(row.get("reason") or kind) if kind else None,
            loss_initial=number(row, "loss_initial"),
            loss=number(row, "loss_final"),
            style_left=number(row, "style_left"),
            ssim=number(row, "ssim"),
            lesion_ssim=number(row, "lesion_ssim"),
        )

    @property
    def loss_left(self) -> float | None:
        """The loss at the end over that at the start."""
        return (
            self.loss / self.loss_initial if self.loss_initial and self.loss is not None else None
        )

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(name, value) of the ``data-`` attributes that it is sorted and filtered by."""
        figures = {
            "loss": self.loss,
            "loss-left": None if self.loss_left is None else 100 * self.loss_left,
            "style-left": None if self.style_left is None else 100 * self.style_left,
            "ssim": self.ssim,
            "lesion-ssim": self.lesion_ssim,
        }
        texts = [("name", self.id), ("label", self.label), ("outcome", self.outcome)]
        return texts + [(key, f"{v:.6g}") for key, v in figures.items() if v is not None]

    @property
    def columns(self) -> list[str]:
        """The figures as a table shows them, in the order of ``keys``."""
        return [
            *(written(self.loss, loss), written(self.loss_left, percent)),
            *(written(self.style_left, percent), written(self.ssim, "{:.3f}".format)),
            written(self.lesion_ssim, "{:.3f}".format),
        ]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(what, figure) to be read beside the pictures."""
        found = []
        if self.ssim is not None:
            found.append(("SSIM to content", f"{self.ssim:.2f}"))
        if self.lesion_ssim is not None:
            found.append(("SSIM on the lesion", f"{self.lesion_ssim:.2f}"))
        if self.style_left is not None:
            found.append(("style distance left", percent(self.style_left)))
        if self.loss is not None and self.loss_initial is not None:
            found.append(("loss", f"{loss(self.loss_initial)} to {loss(self.loss)}"))
        return found


def written(value: float | None, form: Callable[[float], str], unknown: str = "-") -> str:
    return unknown if value is None else form(value)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def loss(value: float) -> str:
    """Four digits, whole numbers without an exponent."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"
