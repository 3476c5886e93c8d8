"""The table of conservation: figures by hand, worst first."""

import csv
import io

import torch
from torch import Tensor

from busaug.explain.conservation import Conservation
from busaug.explain.relevance import Record


def record(logits: list[float], **sums: list[float]) -> Record:
    """Images of these logits; every layer's magnitude is twice the size of its sum."""
    found = {name: torch.tensor(values, dtype=torch.float64) for name, values in sums.items()}
    sizes: dict[str, Tensor] = {name: 2 * values.abs() for name, values in found.items()}
    explained = torch.tensor(logits, dtype=torch.float64)
    return Record(explained[:, None], explained, torch.zeros(len(logits)).long(), found, sizes)


def test_figures_are_relative_to_the_logit_whatever_its_sign() -> None:
    table = Conservation()
    table.add("alpha2beta1", record([2.0, -4.0], pool=[2.0, -4.4], input=[1.0, -4.0]))
    table.add("alpha2beta1", record([10.0], pool=[10.0], input=[10.0]))
    layers = table.layers()
    assert list(layers) == ["pool", "input"]
    pool, pixels = (layers[name]["alpha2beta1"] for name in ("pool", "input"))
    assert (round(pool.worst, 12), pool.median, pool.magnitude) == (0.1, 0.0, 2.0)
    assert (pixels.worst, pixels.median, pixels.magnitude) == (0.5, 0.0, 2.0)


def test_terminal_shows_the_worst_layers_once_each_and_always_the_input() -> None:
    table = Conservation()
    sums = {f"layer{k}": [1 + k / 100] for k in range(1, 9)}
    sums["twin8"] = sums["layer8"]
    table.add("alpha2beta1", record([1.0], **sums, input=[1.0]))
    lines = [line.split() for line in table.table(rows_max=4)]
    assert [line[0] for line in lines] == ["layer", "layer8", "layer7", "layer6", "input"]
    assert lines[1] == ["layer8", "8.0e-02", "8.0e-02", "2.2"]


def test_composites_stand_beside_each_other() -> None:
    table = Conservation()
    table.add("alpha2beta1", record([1.0], relu=[1.0], input=[1.25]))
    table.add("alpha1beta0", record([1.0], relu=[1.5], input=[1.0]))
    above, headings, first, second = table.table()
    assert above.split() == ["alpha2beta1", "alpha1beta0"]
    assert len(above) == len(headings) == len(first) == len(second)
    assert first.split()[0] == "relu"
    assert second.split() == ["input", "2.5e-01", "2.5e-01", "2.5", "0.0e+00", "0.0e+00", "2.0"]
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows[1:3] == [
        ["relu", "alpha2beta1", "0", "0", "2"],
        ["relu", "alpha1beta0", "0.5", "0.5", "3"],
    ]
