"""Despeckling of a random strength, as augmentation of batches on any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.ops.srad import srad_options
from busaug.training.scales import at_scales, draw_scales, require_probability


class RandomSrad(nn.Module):
    """Speckle-reducing anisotropic diffusion (``busaug.srad``) of a random scale for each image.

    With probability p an image is replaced by one of its scales 1 to ``scales``, each as likely;
    otherwise it stays. The whole batch is diffused in one call. In eval mode nothing is changed.

    Shape: (B, C, H, W) or (C, H, W), float32 or float64 in [0, 1], uint8 or uint16, on any device
    with kernels; the channels of an image share its scale. No gradient passes.

    Args:
        p: Probability that an image is changed, in [0, 1].
        scales: Number of strengths.
        iterations: Iterations between two scales.
        same_on_batch: Draw once for the whole batch: all of it stays or gets one scale.
        generator: Where draws come from; torch's global CPU generator by default, which a
            DataLoader seeds differently in each worker and epoch.
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
        same_on_batch: bool = False,
        generator: torch.Generator | None = None,
        **options: object,
    ) -> None:
        super().__init__()
        require_probability("p", p)
        self.p = p
        self.same_on_batch = same_on_batch
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
        count = 1 if self.same_on_batch else len(batch)
        drawn = draw_scales(count, self.p, self._options.scales, self._generator)
        return at_scales(batch, drawn.expand(len(batch)), self._options).view(images.shape)

    def extra_repr(self) -> str:
        options = self._options
        return (
            f"p={self.p}, scales={options.scales}, iterations={options.iterations}, "
            f"same_on_batch={self.same_on_batch}"
        )
