"""What the examples share: their arguments, a small network and a plain training loop."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def arguments(description: str | None) -> argparse.Namespace:
    """The folders and the number of epochs."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", help="folder of 'busaug prepare'")
    parser.add_argument("variants", nargs="+", help="folders of 'busaug augment'")
    parser.add_argument("--epochs", type=int, default=10)
    return parser.parse_args()


def network(classes: int) -> nn.Module:
    """For gray images of any size."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 5, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes)),
    )


def fit(
    model: nn.Module, batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]], epochs: int
) -> None:
    """Train on the (images, labels) that ``batches`` yields for each epoch."""
    model.to(DEVICE).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(epochs):
        loss_sum = right = count = 0.0
        for images, labels in batches(epoch):
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            logits = model(images)
            loss = nn.functional.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_sum += loss.item() * len(labels)
            right += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
        print(f"epoch {epoch + 1}: loss {loss_sum / count:.3f}, accuracy {right / count:.2f}")
