"""Speckle, and how it is smoothed, in the tests of the diffusion."""

from __future__ import annotations

import numpy as np
import torch

from busaug.ops._launch import SradOptions

OPTIONS: SradOptions = {
    "scales": 3,
    "iterations": 2,
    "time_step": 0.5,
    "q0": 0.4,
    "decay": 0.1,
    "form": 1,
    "correction": 0,
}


def speckled(*shape, dtype=torch.float32, seed=0):
    """Nine-look gamma speckle in [0, 1]."""
    values = np.random.default_rng(seed).gamma(9, 1 / 9, shape)
    return torch.from_numpy(values / values.max()).to(dtype)
