"""In what order images are seen, and which of a batch are a rank's own."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.seeding import draw


def epoch_batches(count: int, size: int, seed: int, epoch: int) -> list[Tensor]:
    """The global batches of an epoch: rows of ``count`` images, each once, in an order of its own.

    They depend on neither the number of ranks nor anything drawn before.
    """
    order = draw("training-order", seed, epoch).permutation(count)
    return minibatches(torch.from_numpy(order), size)


def minibatches(order: Tensor, size: int) -> list[Tensor]:
    """An order of images (n,) cut into batches; a last one of a single image joins the one before.

    Batch statistics of one image do not exist, and no image is dropped.
    """
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
