"""``busaug info``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """What is installed here: versions, native build, devices, distributed back ends, weights."""
    from busaug import environment

    facts = environment.gather()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)


def _print(facts: dict[str, Any]) -> None:
    from rich.table import Table

    from busaug import console

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, rows in _sections(facts).items():
        table.add_row(f"[bold]{title}[/bold]", "")
        for name, value in rows:
            table.add_row(f"  {name}", value)
    console.out.print(table)


def _sections(facts: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    native = facts["native"]
    cuda = ", ".join(native["cuda_architectures"])
    return {
        "versions": [(name, value or "-") for name, value in facts["versions"].items()],
        "native build": [
            ("cpu", f"{', '.join(native['simd'])}; here {native['simd_in_use']}"),
            ("cuda", f"{cuda} ({native['cuda_compiler']})" if cuda else "not built"),
            ("compiler", native["compiler"]),
        ],
        "devices": [(device["device"], _device(device)) for device in facts["devices"]],
        "distributed": _distributed(facts["distributed"]),
        "weights": [(name, path or "-") for name, path in facts["weights"].items()],
    }


def _device(device: dict[str, Any]) -> str:
    if device["device"] == "cpu":
        return f"{device['name']}, {device['cores']} cores, {device['threads']} threads in use"
    return f"{device['name']}, capability {device['capability']}, {device['memory_gib']} GiB"


def _distributed(facts: dict[str, Any]) -> list[tuple[str, str]]:
    horovod = facts["horovod"]
    started = f"{facts['processes']} by {facts['launcher']}" if facts["launcher"] else "1"
    return [
        ("processes", started),
        ("back end here", facts["backend"] or facts["problem"]),
        ("torch", _names(facts["torch"])),
        ("horovod", horovod["problem"] or f"{horovod['version']}: {_names(horovod)}"),
    ]


def _names(built: dict[str, Any]) -> str:
    return ", ".join(name for name in ("gloo", "nccl", "mpi") if built[name]) or "-"
