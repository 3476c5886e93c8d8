"""What every transform here calls: images despeckled, each as strongly as was drawn for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from busaug.config import SradConfig
from busaug.errors import InputError
from busaug.ops.srad import srad

_FULL = {torch.uint8: 255, torch.uint16: 65535}


def require_probability(name: str, value: float) -> None:
    """Raises InputError unless the argument ``name`` lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value} is no probability", remedy="Give 0 to 1")


def draw_scales(
    count: int, p: float, scales: int, generator: torch.Generator | None = None
) -> Tensor:
    """For each of ``count`` images 0 (it stays) or, with probability p, one of 1 to ``scales``.

    int64 (count,) on the CPU.
    """
    chance, level = torch.rand(2, count, generator=generator)
    scale = 1 + (level * scales).long().clamp(max=scales - 1)
    return torch.where(chance < p, scale, 0)


def at_scales(images: Tensor, scales: Tensor, options: SradConfig) -> Tensor:
    """Images (B, ..., H, W), each at its SRAD scale of ``scales`` (B,), int64 on the CPU.

    Where the scale is 0 the image stays. uint8, uint16 (rounded to whole levels), or float32 and
    float64 in [0, 1]; dtype and device stay. Raises InputError as ``busaug.srad`` does.
    """
    (chosen,) = torch.where(scales > 0)
    if not len(chosen):
        return images
    full = _FULL.get(images.dtype)
    changed = images.clone() if full is None else images.to(torch.float32) / full
    place, scale = chosen.to(images.device), scales[chosen].to(images.device)
    deepest = options.model_copy(update={"scales": int(scales.max())})
    stack = srad(changed[place], **deepest.model_dump())
    changed[place] = stack[scale - 1, torch.arange(len(scale), device=images.device)]
    return changed if full is None else (changed * full).round().to(images.dtype)


def array_at_scale(image: NDArray[Any], scale: int, options: SradConfig) -> NDArray[Any]:
    """One array (H, W) or (H, W, C) at one scale; dtypes as for ``at_scales``."""
    native = np.array(image, dtype=image.dtype.newbyteorder("="), order="C")
    planes = torch.from_numpy(native)
    planes = planes if planes.ndim == 2 else planes.movedim(-1, 0)
    (found,) = at_scales(planes[None], torch.tensor([scale]), options)
    return np.ascontiguousarray((found if found.ndim == 2 else found.movedim(0, -1)).numpy())
