"""Despeckling of a random strength, as augmentation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.ops.srad import srad, srad_options


class RandomSrad(nn.Module):
    """Speckle-reducing anisotropic diffusion (``busaug.srad``) of a random scale for each image.

    With probability p an image is replaced by one of its scales 1 to ``scales``, each as likely;
    otherwise it stays. The whole batch is diffused in one call. In eval mode nothing is changed.

    Shape: (B, C, H, W) or (C, H, W), float32 or float64 in [0, 1], on any device with kernels; the
    channels of an image share its scale. No gradient passes.

    Args:
        p: Probability that an image is changed, in [0, 1].
        scales: Number of strengths.
        iterations: Iterations between two scales.
        generator: Where draws come from; torch's global CPU generator by default, which a
            DataLoader seeds differently in each worker.
        options: Further options of ``busaug.srad``.

    Raises:
        InputError: an option out of range; and in use, as ``busaug.srad`` does.
    """

    def __init__(
        self,
        p: float = 0.5,
        scales: int = 4,
        iterations: int = 5,
        *,
        generator: torch.Generator | None = None,
        **options: object,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise InputError(f"p={p} is no probability", remedy="Give 0 to 1")
        self.p = p
        self._generator = generator
        self._options = srad_options(scales=scales, iterations=iterations, **options)

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim not in (3, 4):
            raise InputError(
                f"images have the shape {tuple(images.shape)}", remedy="Give (B, C, H, W)"
            )
        if not self.training:
            return images
        batch = images if images.ndim == 4 else images[None]
        draws = torch.rand(2, len(batch), generator=self._generator)
        scale = (draws[1] * self._options.scales).long().clamp(max=self._options.scales - 1)
        (chosen,) = torch.where(draws[0] < self.p)
        if not len(chosen):
            return images
        place = chosen.to(images.device)
        stack = srad(batch[place], **self._options.model_dump())
        changed = batch.clone()
        changed[place] = stack[scale[chosen].to(images.device), torch.arange(len(chosen))]
        return changed.view(images.shape)
