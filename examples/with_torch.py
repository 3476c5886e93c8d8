"""Styled variants in a plain torch loop; whole batches despeckled on the device.

python examples/with_torch.py CATALOG VARIANTS...
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from loop import DEVICE, arguments, fit, network
from torch import Tensor
from torch.utils.data import DataLoader

from busaug.training import RandomSrad, StyledVariants


def main() -> None:
    given = arguments(__doc__)
    torch.manual_seed(0)
    data = StyledVariants(given.catalog, given.variants, p=0.5, size=96)
    loader = DataLoader(data, batch_size=16, shuffle=True, num_workers=2, persistent_workers=True)
    despeckle = RandomSrad(p=0.3)  # (B, C, H, W), each image by itself, as Kornia's modules do

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        data.set_epoch(epoch)
        for images, labels in loader:
            yield despeckle(images.to(DEVICE)), labels

    fit(network(len(data.classes)), batches, given.epochs)


if __name__ == "__main__":
    main()
