"""From gray planes to what a network expects."""

from __future__ import annotations

from torch import Tensor

from busaug.models.classifier import ClassifierInfo
from busaug.ops.srad import srad

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalise(gray: Tensor) -> Tensor:
    """Gray (B, 1, H, W) in [0, 1] to three equal channels (B, 3, H, W), ImageNet-normalised.

    Differentiable; dtype and device are kept.
    """
    if gray.ndim != 4 or gray.shape[1] != 1:
        raise ValueError(f"expected gray images (B, 1, H, W), got {tuple(gray.shape)}")
    mean = gray.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = gray.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (gray - mean) / std


def despeckle_inputs(gray: Tensor, info: ClassifierInfo) -> Tensor:
    """Gray (B, 1, S, S) in [0, 1] at the despeckling scale that the classifier was trained on.

    Each image by itself: the result does not depend on the batch. Not differentiable.
    """
    if info.srad_scale == 0:
        return gray
    options = info.srad.model_dump() | {"scales": info.srad_scale}
    return srad(gray, **options)[-1]
