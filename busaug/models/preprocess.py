"""From gray planes to what a network expects."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.config import SradConfig
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


def network_input(gray: Tensor, device: torch.device) -> Tensor:
    """``imagenet_normalise`` on a device, channels last, which a network's layers then keep.

    Convolutions and BatchNorm are quicker so, in bfloat16 most of all, and parameters stay as they
    are.
    """
    normalised = imagenet_normalise(gray.to(device))
    return normalised.contiguous(memory_format=torch.channels_last)


def despeckle_inputs(gray: Tensor, info: ClassifierInfo) -> Tensor:
    """Gray (B, 1, S, S) in [0, 1] at the despeckling scale that the classifier was trained on."""
    return despeckled(gray, info.srad_scale, info.srad)


def despeckled(gray: Tensor, scale: int, options: SradConfig) -> Tensor:
    """Gray (B, 1, H, W) in [0, 1] at one scale of SRAD; scale 0 is the image as it is.

    Each image by itself: the result does not depend on the batch. Not differentiable.
    """
    if scale == 0:
        return gray
    return srad(gray, **(options.model_dump() | {"scales": scale}))[-1]
