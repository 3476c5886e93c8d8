"""A classifier's logits for many images, every one of them, on one rank or several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from busaug import console
from busaug.distributed.communicator import Communicator
from busaug.models.preprocess import network_input
from busaug.trace import span


def predict_logits(model: nn.Module, images: Tensor, batch: int) -> Iterator[Tensor]:
    """Logits (b, C) on the CPU of each batch of images (N, 1, S, S); the model is put in eval mode.

    Every image is predicted: the last batch is what is left.
    """
    model.eval()
    device = next(model.parameters()).device
    for part in torch.split(images, batch):
        with span("predict"), torch.no_grad():
            logits = model(network_input(part, device)).detach().cpu()
        yield logits


def gather_logits(
    model: nn.Module, images: Tensor, batch: int, comm: Communicator, *, progress: str = ""
) -> Tensor:
    """Logits (N, C) on the CPU of all images, every rank predicting its share; on every rank.

    Each image counts once: the shares are the whole, and no rank pads its own. A ``progress`` is
    shown under that name.
    """
    own = images[comm.share(len(images))]
    shown = console.progress(progress, len(own)) if progress else contextlib.nullcontext()
    parts = []
    with shown as advance:
        for logits in predict_logits(model, own, batch):
            parts.append(logits)
            if advance is not None:
                advance(len(logits))
    return torch.cat(comm.gather(torch.cat(parts)))
