"""How well relevance was conserved in each layer, over many images."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics
from collections.abc import Mapping, Sequence

from busaug.explain.relevance import Composite, Record

_COLUMNS = (("worst", 9), ("median", 9), ("sum |R| / |f|", 13))


@dataclasses.dataclass(frozen=True)
class LayerConservation:
    """A layer under one composite. f is the explained logit, which R should sum to."""

    worst: float
    """Largest |sum of R - f| / |f| of any image."""
    median: float
    """Its median over the images."""
    magnitude: float
    """Median of sum |R| / |f|: 1 where nothing speaks against the decision, more with
    cancellation; float32 loses as many digits as this has."""


class Conservation:
    """A table of layers and composites, filled image by image."""

    def __init__(self) -> None:
        self._errors: dict[Composite, dict[str, list[float]]] = {}
        self._magnitudes: dict[Composite, dict[str, list[float]]] = {}

    def add(self, composite: Composite, record: Record) -> None:
        """Take in the images of ``record``."""
        logits = record.logits
        for found, values in (
            (self._errors, {k: (v - logits) / logits for k, v in record.sums.items()}),
            (self._magnitudes, {k: v / logits for k, v in record.magnitudes.items()}),
        ):
            layers = found.setdefault(composite, {})
            for name, value in values.items():
                layers.setdefault(name, []).extend(value.abs().tolist())

    def layers(self) -> dict[str, Mapping[Composite, LayerConservation]]:
        """Layer to composite to figures; layers from the deepest on, ``input`` last."""
        names = dict.fromkeys(name for layers in self._errors.values() for name in layers)
        return {name: self._of_layer(name) for name in names}

    def _of_layer(self, name: str) -> dict[Composite, LayerConservation]:
        return {
            composite: LayerConservation(
                max(layers[name]),
                statistics.median(layers[name]),
                statistics.median(self._magnitudes[composite][name]),
            )
            for composite, layers in self._errors.items()
        }

    def csv(self) -> str:
        """The whole table, a line for every layer and composite."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ["layer", "composite", "error_worst", "error_median", "magnitude_over_logit"]
        )
        for name, composites in self.layers().items():
            for composite, found in composites.items():
                figures = (f"{figure:.6g}" for figure in dataclasses.astuple(found))
                writer.writerow([name, composite, *figures])
        return text.getvalue()

    def table(self, rows_max: int = 6) -> Sequence[str]:
        """Lines for a terminal: the layers that conserve worst, worst first, and the input.

        Of layers with the same figures, as a pool has those of what it pools, one is shown.
        """
        layers = self.layers()
        lines: dict[str, str] = {}
        for name in sorted(layers, key=lambda name: -max(c.worst for c in layers[name].values())):
            figures = "".join(
                f"  {found.worst:>9.1e}  {found.median:>9.1e}  {found.magnitude:>13.1f}"
                for found in layers[name].values()
            )
            if name == "input" or figures not in lines.values():
                lines[name] = figures
        chosen = list(lines)[:rows_max]
        if "input" not in chosen:
            chosen[-1] = "input"
        wide = max(len(name) for name in ("layer", *chosen))
        composites = list(self._errors)
        headings = "".join(f"  {heading:>{width}}" for heading, width in _COLUMNS)
        titles = [f"{'layer':<{wide}}" + headings * len(composites)]
        if len(composites) > 1:
            above = "".join(f"  {composite:>{len(headings) - 2}}" for composite in composites)
            titles.insert(0, " " * wide + above)
        return [*titles, *(f"{name:<{wide}}{lines[name]}" for name in chosen)]
