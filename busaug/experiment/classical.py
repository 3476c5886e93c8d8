"""The usual augmentations of a gray image: what style transfer has to be better than.

Each takes an image (H, W) in [0, 1] and a generator of the image's own, and returns ``COPIES``
variants. Interpolation is bilinear; what comes from outside repeats the border.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform

from busaug.data.images import FloatImage
from busaug.experiment.trivial import trivial_augment

Transform = Callable[[FloatImage, np.random.Generator], list[FloatImage]]

COPIES = 4
"""Variants an image: five times the images, the original included."""


def flips(image: FloatImage, _: np.random.Generator) -> list[FloatImage]:
    """Left-right, top-bottom, both, and about the diagonal."""
    return [image[:, ::-1], image[::-1], image[::-1, ::-1], image.T]


def rotations(image: FloatImage, _: np.random.Generator) -> list[FloatImage]:
    """By -20, -10, 10 and 20 degrees about the centre, clockwise."""
    return [_about_centre(image, _rotation(angle)) for angle in (-20.0, -10.0, 10.0, 20.0)]


def scalings(image: FloatImage, _: np.random.Generator) -> list[FloatImage]:
    """To 80, 90, 110 and 120 % about the centre."""
    return [_about_centre(image, np.eye(2) / factor) for factor in (0.8, 0.9, 1.1, 1.2)]


def generator(image: FloatImage, draws: np.random.Generator) -> list[FloatImage]:
    """What the paper's authors published: Keras' generator with their settings.

    Rotation to +-20 degrees, shifts to +-20 %, a shear to +-0.2 degrees (their 0.2 is one of
    degrees there), zooms of the sides by 0.8 to 1.2 apart, a left-right flip of every other image,
    brightness by 0.8 to 1.2.
    """
    return [_keras(image, draws) for _ in range(COPIES)]


def trivial(image: FloatImage, draws: np.random.Generator) -> list[FloatImage]:
    """TrivialAugment, see ``trivial_augment``."""
    return [trivial_augment(image, draws) for _ in range(COPIES)]


TRANSFORMS: Mapping[str, Transform] = {
    "flips": flips,
    "rotations": rotations,
    "scalings": scalings,
    "generator": generator,
    "trivialaugment": trivial,
}


def match_mean_std(image: FloatImage, reference: FloatImage) -> FloatImage:
    """The image with the reference's mean and standard deviation, clipped to [0, 1].

    Of one gray channel: the statistics that Reinhard et al. 2001 match in colour. An image of one
    value becomes the reference's mean.
    """
    own, other = image.astype(np.float64), reference.astype(np.float64)
    factor = other.std() / own.std() if np.ptp(own) > 0 else 0.0
    matched = (own - own.mean()) * factor + other.mean()
    return np.asarray(np.clip(matched, 0.0, 1.0), np.float32)


def _keras(image: FloatImage, draws: np.random.Generator) -> FloatImage:
    angle = draws.uniform(-20.0, 20.0)
    shift = draws.uniform(-0.2, 0.2, size=2) * image.shape
    shear = np.deg2rad(draws.uniform(-0.2, 0.2))
    zoom = draws.uniform(0.8, 1.2, size=2)
    matrix = _rotation(angle) @ np.array([[np.cos(shear), 0.0], [-np.sin(shear), 1.0]])
    moved = _about_centre(image, matrix @ np.diag(zoom), shift)
    if draws.random() < 0.5:
        moved = moved[:, ::-1]
    return np.asarray(np.clip(moved * draws.uniform(0.8, 1.2), 0.0, 1.0), np.float32)


def _rotation(degrees: float) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _about_centre(
    image: FloatImage, matrix: npt.NDArray[np.float64], shift: npt.ArrayLike = (0.0, 0.0)
) -> FloatImage:
    """The image read at matrix (p - c) + shift + c for every pixel p, c being its centre."""
    centre = (np.array(image.shape) - 1) / 2
    offset = centre + np.asarray(shift) - matrix @ centre
    moved = affine_transform(image, matrix, offset, order=1, mode="nearest")
    return np.asarray(np.clip(moved, 0.0, 1.0), np.float32)
