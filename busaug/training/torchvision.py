"""Despeckling of a random strength as a torchvision v2 transform.

Imported by name alone: ``from busaug.training.torchvision import RandomSrad``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from busaug.errors import InputError
from busaug.ops.srad import srad_options
from busaug.training.scales import array_at_scale, at_scales, draw_scales, require_probability

try:
    from torchvision import tv_tensors
    from torchvision.transforms import v2
except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
    raise InputError(
        f"busaug.training.torchvision needs torchvision, which cannot be imported ({error})",
        remedy="Install the torchvision made for the installed torch (from 0.21 on)",
    ) from error

_MODES = ("L", "RGB", "I;16")


class RandomSrad(v2.Transform):
    """With probability p replace the images of a sample by one of their SRAD scales.

    All images of a sample get the same scale, each of 1 to ``scales`` as likely; masks, boxes and
    labels stay. Draws come from torch's global CPU generator, as torchvision's own do; a DataLoader
    seeds it differently in each worker and epoch.

    Images are ``tv_tensors.Image`` or ``Video`` or plain tensors (..., C, H, W), float32 or float64
    in [0, 1], uint8 or uint16, or PIL images of the modes L, RGB, I;16; kind and dtype stay. Raises
    InputError as ``busaug.srad`` does.

    Args:
        p: Probability that the images are changed, in [0, 1].
        scales: Number of strengths.
        iterations: Iterations between two scales.
        options: Further options of ``busaug.srad``.
    """

    def __init__(
        self, p: float = 0.5, scales: int = 4, iterations: int = 5, **options: object
    ) -> None:
        super().__init__()
        require_probability("p", p)
        self._options = srad_options(scales=scales, iterations=iterations, **options)
        self.p, self.scales, self.iterations = p, scales, iterations

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"scale": int(draw_scales(1, self.p, self.scales))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        scale = params["scale"]
        if not scale:
            return inpt
        if isinstance(inpt, PIL.Image.Image):
            return self._picture(inpt, scale)
        if isinstance(inpt, tv_tensors.TVTensor):
            if not isinstance(inpt, tv_tensors.Image | tv_tensors.Video):
                return inpt
            return tv_tensors.wrap(self._tensor(inpt.as_subclass(Tensor), scale), like=inpt)
        return self._tensor(inpt, scale)

    def _tensor(self, image: Tensor, scale: int) -> Tensor:
        return at_scales(image[None], torch.tensor([scale]), self._options)[0]

    def _picture(self, image: PIL.Image.Image, scale: int) -> PIL.Image.Image:
        if image.mode not in _MODES:
            raise InputError(
                f"a PIL image has the mode {image.mode}",
                remedy=f"Convert it to one of {', '.join(_MODES)}",
            )
        return PIL.Image.fromarray(array_at_scale(np.asarray(image), scale, self._options))
