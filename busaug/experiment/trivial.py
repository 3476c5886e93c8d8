"""TrivialAugment (Mueller and Hutter, ICCV 2021): one operation, drawn with its strength.

The wide search space without Color, which does nothing to a gray image. Strengths have 31 levels;
shifts go to 32 px of a 224 px side and in that proportion on others. What comes from outside is
black.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from busaug.data.images import FloatImage

_LEVELS = 31

Operation = Callable[[Image.Image, float], Image.Image]
"""An 8-bit image and a strength in [-1, 1] to an image of the same size."""


def trivial_augment(image: FloatImage, draws: np.random.Generator) -> FloatImage:
    """One variant of an image (H, W) in [0, 1], on 8 bits."""
    name = list(OPERATIONS)[draws.integers(len(OPERATIONS))]
    strength = draws.integers(_LEVELS) / (_LEVELS - 1) * draws.choice([-1, 1])
    levels = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    made = OPERATIONS[name](levels, float(strength))
    return np.asarray(made, np.float32) / np.float32(255)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, strength: kind(image).enhance(1 + 0.99 * strength)


def _sheared(along_x: float, along_y: float) -> Operation:
    return lambda image, strength: image.transform(
        image.size,
        Image.Transform.AFFINE,
        (1, along_x * strength, 0, along_y * strength, 1, 0),
        resample=Image.Resampling.BILINEAR,
    )


def _shifted(along_x: float, along_y: float) -> Operation:
    return lambda image, strength: image.transform(
        image.size,
        Image.Transform.AFFINE,
        (1, 0, along_x * strength * image.width, 0, 1, along_y * strength * image.height),
        resample=Image.Resampling.BILINEAR,
    )


def _rotated(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(135 * strength, resample=Image.Resampling.BILINEAR)


def _posterised(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(6 * abs(strength)))


def _solarised(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.solarize(image, round(256 * (1 - abs(strength))))


OPERATIONS: Mapping[str, Operation] = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise": lambda image, _: ImageOps.equalize(image),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterise": _posterised,
    "solarise": _solarised,
    "rotate": _rotated,
    "shear x": _sheared(0.99, 0),
    "shear y": _sheared(0, 0.99),
    "translate x": _shifted(32 / 224, 0),
    "translate y": _shifted(0, 32 / 224),
}
