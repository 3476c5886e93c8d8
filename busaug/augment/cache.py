"""Tensors kept on disk by key, in a folder that all processes of a run share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from busaug import console
from busaug.files import atomic_file

_CHECKSUM = "sha256"

Tensors = Mapping[str, Tensor]


class TensorCache:
    """``FOLDER/KEY.safetensors``, each with a checksum of its tensors.

    What is read is what was computed, bit for bit. Two processes that miss the same key at the same
    time both compute it; the files are the same.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, key: str) -> bool:
        """Whether there is a file; a damaged one counts."""
        return self._file(key).is_file()

    def fetch(self, key: str, make: Callable[[], Tensors]) -> dict[str, Tensor]:
        """The tensors of this key, on the CPU: from disk, or made, kept and returned.

        A damaged file is told of and made anew. ``key`` is safe as a file name.
        """
        file = self._file(key)
        if file.is_file():
            kept = read_tensors(file)
            if kept is not None:
                return kept
            console.warn(f"{file} is damaged: made again")
        made = {name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}
        with atomic_file(file) as temporary:
            temporary.write_bytes(save(made, metadata={_CHECKSUM: _checksum(made)}))
        return made

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def read_tensors(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a cache's file; None where it is missing, cut short or altered."""
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            noted = (opened.metadata() or {}).get(_CHECKSUM)
    except (OSError, SafetensorError):
        return None
    return tensors if noted == _checksum(tensors) else None


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}:".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
