"""Styled variants as MONAI dictionaries, despeckling among MONAI's transforms.

python examples/with_monai.py CATALOG VARIANTS...
"""

from __future__ import annotations

from collections.abc import Iterator

from loop import arguments, fit, network
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandFlipd, RandGaussianNoised
from monai.utils import set_determinism
from torch import Tensor

from busaug.training import StyledVariants
from busaug.training.monai import RandSradd


def as_dictionary(item: tuple[Tensor, int]) -> dict[str, Tensor | int]:
    image, label = item
    return {"image": image, "label": label}


def main() -> None:
    given = arguments(__doc__)
    set_determinism(0)
    variants = StyledVariants(given.catalog, given.variants, p=0.5, size=96)
    pipeline = Compose(
        [
            as_dictionary,
            RandFlipd("image", prob=0.5, spatial_axis=1),
            RandSradd("image", prob=0.3),
            RandGaussianNoised("image", prob=0.3, std=0.02),
        ],
        map_items=False,  # an item is one pair, not a list of items
    )
    loader = DataLoader(Dataset(variants, pipeline), batch_size=16, shuffle=True, num_workers=2)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        variants.set_epoch(epoch)
        for batch in loader:
            yield batch["image"], batch["label"]

    fit(network(len(variants.classes)), batches, given.epochs)


if __name__ == "__main__":
    main()
