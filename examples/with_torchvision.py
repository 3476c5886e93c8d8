"""Styled variants with torchvision's v2 transforms, despeckling among them.

python examples/with_torchvision.py CATALOG VARIANTS...
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from loop import arguments, fit, network
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from busaug.training import StyledVariants
from busaug.training.torchvision import RandomSrad


def main() -> None:
    given = arguments(__doc__)
    torch.manual_seed(0)
    transform = v2.Compose(
        [v2.RandomHorizontalFlip(), RandomSrad(p=0.3), v2.Normalize(mean=[0.25], std=[0.2])]
    )
    data = StyledVariants(given.catalog, given.variants, p=0.5, size=96, transform=transform)
    loader = DataLoader(data, batch_size=16, shuffle=True, num_workers=2, persistent_workers=True)

    def batches(epoch: int) -> Iterable[tuple[Tensor, Tensor]]:
        data.set_epoch(epoch)
        return loader

    fit(network(len(data.classes)), batches, given.epochs)


if __name__ == "__main__":
    main()
