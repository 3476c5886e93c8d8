"""How much of an explanation lies on the lesion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from busaug.seeding import Key, torch_draw


def relevance_mass(relevance: Tensor, lesion: Tensor) -> float | None:
    """Share of the positive relevance (H, W) inside a bool mask; None where nothing is positive."""
    positive = relevance.double().clamp_min(0)
    total = float(positive.sum())
    return float(positive[lesion].sum()) / total if total > 0 else None


def points_at(relevance: Tensor, lesion: Tensor) -> bool:
    """The pointing game (Zhang et al. 2018): whether the largest relevance lies in the mask."""
    return bool(lesion.flatten()[relevance.flatten().argmax()])


def gradient_times_input(model: nn.Module, images: Tensor, targets: Tensor | None) -> Tensor:
    """Gradient of the explained logits times the input, summed over channels: (B, H, W).

    ``targets`` (B,) as for ``busaug.explain.relevance``; None explains the highest logits.
    """
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits: Tensor = model(images)
        explained = (
            logits.max(dim=1).values
            if targets is None
            else logits.gather(1, targets[:, None])[:, 0]
        )
        (gradient,) = torch.autograd.grad(explained.sum(), images)
    return (gradient * images).detach().sum(dim=1)


def random_map(height: int, width: int, *key: Key) -> Tensor:
    """Independent uniform relevance, (height, width): what a map without knowledge scores."""
    return torch.rand(height, width, generator=torch_draw("random map", *key))
