"""What this installation is and has: versions, native build, devices, back ends, weights."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, get_args

LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "scikit-learn", "pillow", "nvtx")


def gather() -> dict[str, Any]:
    """Facts for ``busaug info``, ready for JSON.

    ``versions`` (None: not installed), ``native`` (see ``busaug.ops._backend.build_info``),
    ``devices``, ``distributed`` (back end to whether it can be used) and ``weights`` (backbone to
    the file found without a download, or None).
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
            "name": _cpu_name(),
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


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _distributed() -> dict[str, bool]:
    import torch.distributed

    found = {"gloo": False, "nccl": False, "mpi": False}
    if torch.distributed.is_available():
        found = {
            "gloo": torch.distributed.is_gloo_available(),
            "nccl": torch.distributed.is_nccl_available(),
            "mpi": torch.distributed.is_mpi_available(),
        }
    return {**found, "horovod": _has_horovod()}


def _has_horovod() -> bool:
    """Whether Horovod was built for this torch: without that the import leaves no ``init``."""
    try:
        return hasattr(importlib.import_module("horovod.torch"), "init")
    except Exception:  # a broken build raises anything, from ImportError to its own types
        return False


def _weights() -> dict[str, str | None]:
    from busaug.models.weights import Backbone, find_weights

    found = {backbone: find_weights(backbone) for backbone in get_args(Backbone)}
    return {backbone: None if path is None else str(path) for backbone, path in found.items()}
