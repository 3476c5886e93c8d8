"""Random draws keyed by content, never by a global generator, rank or batch.

``draw(seed, "plan", content_id, 3)`` is the same stream on every machine, process and order.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

Key = str | int | float


def key_digest(*parts: Key) -> bytes:
    """SHA-256 of the parts, each type-tagged and length-prefixed so that no two tuples collide."""
    state = hashlib.sha256()
    for part in parts:
        text = f"{type(part).__name__}:{part!r}".encode()
        state.update(len(text).to_bytes(4, "big"))
        state.update(text)
    return state.digest()


def key_seed(*parts: Key) -> int:
    """A 63-bit seed from the parts."""
    return int.from_bytes(key_digest(*parts)[:8], "big") >> 1


def draw(*parts: Key) -> np.random.Generator:
    """A NumPy generator keyed by the parts."""
    return np.random.default_rng(key_seed(*parts))


def torch_draw(*parts: Key) -> torch.Generator:
    """A CPU torch generator keyed by the parts."""
    return torch.Generator().manual_seed(key_seed(*parts))
