"""Despeckling of a random strength as a MONAI dictionary transform.

Imported by name alone: ``from busaug.training.monai import RandSradd``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch

from busaug.errors import InputError
from busaug.ops.srad import srad_options
from busaug.training.scales import at_scales, require_probability

try:
    from monai.config import KeysCollection
    from monai.transforms import MapTransform, RandomizableTransform
    from monai.utils import convert_data_type, convert_to_dst_type
except ImportError as error:
    raise InputError(
        f"busaug.training.monai needs MONAI, which cannot be imported ({error})",
        remedy="pip install monai",
    ) from error


class RandSradd(RandomizableTransform, MapTransform):
    """With probability ``prob`` replace the images under ``keys`` by one of their SRAD scales.

    All images of a call get the same scale, each of 1 to ``scales`` as likely; other entries, masks
    and labels among them, stay. Draws come from the transform's own ``R`` (``set_random_state``,
    which ``monai.data.DataLoader`` seeds in each worker).

    Images are (C, H, W), float32 or float64 in [0, 1] or uint8, arrays, tensors or MetaTensors;
    kind, dtype and metadata stay. Raises InputError as ``busaug.srad`` does.

    Args:
        keys: Keys of the images.
        prob: Probability that the images are changed.
        scales: Number of strengths.
        iterations: Iterations between two scales.
        allow_missing_keys: Pass over keys that an item lacks.
        options: Further options of ``busaug.srad``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        scales: int = 4,
        iterations: int = 5,
        *,
        allow_missing_keys: bool = False,
        **options: object,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        require_probability("prob", prob)
        RandomizableTransform.__init__(self, prob)
        self._options = srad_options(scales=scales, iterations=iterations, **options)
        self._scale = 0

    def randomize(self, data: Any = None) -> None:
        super().randomize(data)
        self._scale = int(self.R.randint(1, self._options.scales + 1))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = dict(data)
        self.randomize()
        if not self._do_transform:
            return found
        scale = torch.tensor([self._scale])
        for key in self.key_iterator(found):
            image, *_ = convert_data_type(found[key], torch.Tensor)
            (changed,) = at_scales(image[None], scale, self._options)
            found[key], *_ = convert_to_dst_type(changed, found[key])
        return found
