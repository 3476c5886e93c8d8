"""Cards in the manner of Hugging Face: what a data set or model is, is for, and is not for.

They lie in the run's own folder, so that they go where it goes. Names from files and folders stand
in code spans, which show everything as it is; the front matter is written as YAML.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from busaug import __version__
from busaug.data.catalog import Catalog
from busaug.files import write_text
from busaug.report.collect import (
    Notes,
    Run,
    find_runs,
    json_of,
    reason_of,
    rows_of,
    source_catalog,
    style_catalog,
)
from busaug.report.sections import METRIC_NAMES, format_metric
from busaug.runfolder import read_run

DATASET_CARD = "DATASET_CARD.md"
MODEL_CARD = "MODEL_CARD.md"

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

_BUSI = "Al-Dhabyani et al., Data in Brief 28:104863, 2020"
_PUBLISHED: Mapping[str, tuple[str, str]] = {
    "busi": (_BUSI, "as its authors publish it"),
    "curated-busi": (f"from BUSI: {_BUSI}", "of its record, and BUSI's"),
    "udiat": ("Yap et al., IEEE JBHI 22(4), 2018", "on request, for research only"),
    "bus-bra": ("Gómez-Flores et al., Medical Physics, 2024", "reported as CC BY 4.0"),
    "breast": ("Pawłowska et al., Scientific Data, 2024; TCIA 9WKK-Q141", "of its TCIA record"),
    "bus-uclm": ("Vallez et al., 2025", "reported as CC BY 4.0 and as CC BY-NC 4.0"),
    "breastmnist": (f"MedMNIST, from BUSI: {_BUSI}", "reported as CC BY 4.0"),
    "oasbud": ("Piotrzkowska-Wróblewska et al., Medical Physics, 2017", "of its record"),
    "gdph-sysucc": ("GDPH and SYSUCC", "of its paper"),
}
"""Layout to publication and terms. Terms change: a card asks its reader to look them up."""


def write_cards(paths: Sequence[Path]) -> list[Path]:
    """Write the card of every run of augment and train at ``paths`` or below; returns the files.

    Raises InputError where a path holds no run, OutputError for a folder that cannot be written.
    """
    runs = find_runs(paths)
    written = []
    for run in runs:
        card = {"augment": (DATASET_CARD, dataset_card), "train": (MODEL_CARD, model_card)}
        if run.command in card and run.summary:  # none before the run is done
            name, render = card[run.command]
            write_text(run.folder / name, render(run, runs))
            written.append(run.folder / name)
    return written


def dataset_card(run: Run, runs: Sequence[Run]) -> str:
    """The card of a data set that ``busaug augment`` made."""
    notes = Notes()
    labels, rejected = Counter[str](), Counter[str]()
    contents, used = set[str](), set[str]()
    for row in rows_of(run, "manifest.jsonl", notes):
        reason = reason_of(row)
        if reason is not None:
            rejected[reason] += 1
            continue
        labels[str(row.get("class"))] += 1
        contents.add(str(row.get("content")))
        used.update(str(name) for name in row.get("references") or ())
    accepted = labels.total()
    catalog, lent = source_catalog(run, runs, notes), style_catalog(run, runs, notes)
    records = [] if catalog is None else [r for r in catalog.records if r.id in contents]
    # styles of another Catalog may bear the ids of contents
    foreign = bool(run.identity.get("styles"))
    sources = _sources(catalog, contents if foreign else contents | used)
    sources += [row for row in _sources(lent, used) if row not in sources]
    front = {
        "pretty_name": f"Styled variants: {run.name}",
        "license": "other",
        "license_name": "terms-of-the-sources",
        "task_categories": ["image-classification"],
        "size_categories": [_size(accepted)],
        "tags": ["medical", "ultrasound", "breast", "synthetic", "style-transfer"],
    }
    return _render(
        "dataset_card.md.j2",
        front,
        run=run,
        labels=dict(sorted(labels.items())),
        accepted=accepted,
        planned=accepted + rejected.total(),
        contents=len(contents),
        groups=len({r.group for r in records}),
        masked=sum(bool(r.mask) for r in records),
        known=catalog is not None,
        rejected=rejected,
        sources=sources,
    )


def model_card(run: Run, runs: Sequence[Run]) -> str:
    """The card of a classifier that ``busaug train`` made."""
    notes = Notes()
    catalog = source_catalog(run, runs, notes)
    found = ((split, json_of(run, f"metrics_{split}.json", notes)) for split in ("test", "val"))
    assessed = {split: row for split, row in found if row is not None}
    front: dict[str, Any] = {
        "license": "other",
        "license_name": "terms-of-the-sources",
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["medical", "ultrasound", "breast"],
    }
    if "test" in assessed:
        front["metrics"] = list(assessed["test"]["metrics"])
        front["model-index"] = [_index_entry(run, assessed["test"])]
    used = () if catalog is None else (r.id for r in catalog.records if r.split == "train")
    return _render(
        "model_card.md.j2",
        front,
        run=run,
        assessed=assessed,
        names=METRIC_NAMES,
        sources=_sources(catalog, set(used)),
    )


def _index_entry(run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    """The test figures as Hugging Face's ``model-index`` has them; shares stay in 0 ... 1."""
    metrics = [
        {"type": name, "value": value}
        for name, value in row["metrics"].items()
        if value is not None
    ]
    return {
        "name": run.name,
        "results": [
            {
                "task": {"type": "image-classification"},
                "dataset": {"name": "test split of the Catalog", "type": "busaug-catalog"},
                "metrics": metrics,
            }
        ],
    }


def _sources(catalog: Catalog | None, used: set[str]) -> list[tuple[str, int, str, str]]:
    """(name, images used, publication, terms) of each data set that gave images."""
    if catalog is None:
        return []
    layouts = ((read_run(catalog.root) or {}).get("identity") or {}).get("sources") or {}
    counts = Counter(r.source.split("/")[0] for r in catalog.records if r.id in used)
    return [
        (name, count, *_PUBLISHED.get(layouts.get(name, ""), ("not known to busaug", "unknown")))
        for name, count in sorted(counts.items())
    ]


def _size(count: int) -> str:
    return next((name for limit, name in _SIZES if count < limit), "n>1M")


def _render(template: str, front: Mapping[str, Any], **values: Any) -> str:
    environment = Environment(  # Markdown: names go through ``code``, nothing else is foreign
        loader=PackageLoader("busaug", "report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(code=code, metric=_metric, codes=codes)
    head = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=False, width=100)
    body = environment.get_template(template).render(version=__version__, **values)
    lines = (line.rstrip() for line in body.rstrip().splitlines())
    return f"---\n{head}---\n\n" + "\n".join(lines) + "\n"


def code(name: object) -> str:
    """Foreign text as a code span, on one line, safe in a table's cell as well.

    Backquotes and bars, which would end span or cell, become their look-alikes.
    """
    if name is None:
        return "-"
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", str(name)).strip()
    return "`" + line.translate({ord("`"): "'", ord("|"): "¦"}) + "`" if line else "-"


def codes(names: Iterable[object]) -> str:
    return ", ".join(map(code, names)) or "-"


def _metric(value: float | None, name: str) -> str:
    return format_metric(name, value)
