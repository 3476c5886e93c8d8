"""Weights that the tests of features share."""

from __future__ import annotations

import torch

from busaug.models.weights import Weights, random_weights


def warm(seed: int = 0) -> Weights:
    """Random weights with BatchNorm statistics and affine values that are not the identity."""
    weights = random_weights("resnet50", seed)
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in weights.state.items():
        if key.endswith("running_mean") or (".bn" in key and key.endswith("bias")):
            value = 0.1 * torch.randn(value.shape, generator=generator)
        elif key.endswith("running_var"):
            value = 0.5 + torch.rand(value.shape, generator=generator)
        state[key] = value
    return Weights(state, "warm", weights.sha256, pretrained=False)
