"""Styled variants with albumentations' transforms, despeckling among them.

python examples/with_albumentations.py CATALOG VARIANTS...
"""

from __future__ import annotations

from collections.abc import Iterable

import albumentations as A
import torch
from loop import arguments, fit, network
from torch import Tensor
from torch.utils.data import DataLoader

from busaug.training import StyledVariants
from busaug.training.albumentations import RandomSrad

PIPELINE = A.Compose([A.Rotate(10, p=0.5), RandomSrad(p=0.3)], seed=0)


def augmented(image: Tensor) -> Tensor:
    """A tensor (1, H, W) through the pipeline, which takes arrays (H, W)."""
    return torch.from_numpy(PIPELINE(image=image[0].numpy())["image"])[None]


def main() -> None:
    given = arguments(__doc__)
    torch.manual_seed(0)
    data = StyledVariants(given.catalog, given.variants, p=0.5, size=96, transform=augmented)
    loader = DataLoader(data, batch_size=16, shuffle=True, num_workers=2, persistent_workers=True)

    def batches(epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        data.set_epoch(epoch)
        return loader

    fit(network(len(data.classes)), batches, given.epochs)


if __name__ == "__main__":
    main()
