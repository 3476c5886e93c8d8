"""What this installation is and has: versions, native build, devices, back ends, weights."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, get_args

LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "scikit-learn", "pillow", "nvtx")


def gather() -> dict[str, Any]:
    """Facts for ``busaug info``, ready for JSON.

    ``versions`` (None: not installed), ``native`` (see ``busaug.ops._backend.build_info``),
    ``devices``, ``distributed`` (this process's launcher and back end, what torch and Horovod can
    carry) and ``weights`` (backbone to the file found without a download, or None).
    """
    from busaug.ops._backend import build_info

    return {
        "versions": _versions(),
        "native": build_info(),
        "devices": _devices(),
        "distributed": _distributed(),
        "weights": _weights(),
    }


def _versions() -> dict[str, str | None]:
    from busaug import __version__

    versions: dict[str, str | None] = {"busaug": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _devices() -> list[dict[str, Any]]:
    import torch

    devices: list[dict[str, Any]] = [
        {
            "device": "cpu",
            "name": cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        }
    ]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        devices.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "memory_gib": round(properties.total_memory / 2**30, 1),
            }
        )
    return devices


def cpu_name() -> str:
    """The processor as the system names it."""
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _distributed() -> dict[str, Any]:
    return {**_this_process(), "torch": _torch_carriers(), "horovod": _horovod()}


def _this_process() -> dict[str, Any]:
    """Who started this process, and which back end it would take."""
    from busaug.distributed.launch import choose, detect
    from busaug.errors import InputError

    facts: dict[str, Any] = {"launcher": None, "processes": 1, "backend": None, "problem": None}
    try:
        place = detect()
        facts |= {"launcher": place.launcher, "processes": place.size}
        facts["backend"] = choose(place)
    except InputError as error:
        facts["problem"] = error.what
    return facts


def _torch_carriers() -> dict[str, bool]:
    import torch.distributed

    if not torch.distributed.is_available():
        return {"gloo": False, "nccl": False, "mpi": False}
    return {
        "gloo": torch.distributed.is_gloo_available(),
        "nccl": torch.distributed.is_nccl_available(),
        "mpi": torch.distributed.is_mpi_available(),
    }


def _horovod() -> dict[str, Any]:
    """Whether Horovod can start here, with what it was built, or what is wrong with it."""
    from busaug.distributed.horovod_backend import load_horovod
    from busaug.errors import InputError

    facts: dict[str, Any] = {"version": None, "problem": None}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        facts["version"] = importlib.metadata.version("horovod")
    try:
        hvd = load_horovod()
    except InputError as error:
        return {**facts, "problem": error.what, "gloo": False, "nccl": False, "mpi": False}
    built = {name: bool(getattr(hvd, f"{name}_built")()) for name in ("gloo", "nccl", "mpi")}
    return {**facts, **built}


def _weights() -> dict[str, str | None]:
    from busaug.models.weights import Backbone, find_weights

    found = {backbone: find_weights(backbone) for backbone in get_args(Backbone)}
    return {backbone: None if path is None else str(path) for backbone, path in found.items()}
