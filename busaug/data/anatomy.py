"""Breast tissue and lesions, simulated: echogenicity in dB, drawn in millimetres.

From the surface: skin, fat with septa, glandular tissue, pectoral muscle, chest wall. A benign
lesion is a smooth ellipse, wider than tall, with a thin capsule, and attenuates less than its
surroundings (posterior enhancement). A malignant one is irregular and spiculated, taller than
wide, with an echogenic halo, and attenuates more (posterior shadow). The terms are BI-RADS'.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, gaussian_filter1d

from busaug.data.bmode import FIELD_MM

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Slice:
    """A square of tissue, FIELD_MM wide and deep, being drawn.

    The number of draws does not depend on the size in pixels, so neither does the anatomy.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.pixel_mm = FIELD_MM / size
        along = (np.arange(size) + 0.5) * self.pixel_mm
        self.depth_mm = along[:, None]
        self.lateral_mm = along[None, :] - FIELD_MM / 2

    def field(self, cells_deep: int, cells_wide: int) -> Array:
        """A smooth random field (size, size), mean 0, deviation 1, with so many cells."""
        coarse = self.rng.standard_normal((cells_deep + 3, cells_wide + 3))
        return _spline(cells_deep, self.size) @ coarse @ _spline(cells_wide, self.size).T

    def curve(self, cells: int) -> Array:
        """A smooth random curve across the slice (1, size), mean 0, deviation 1."""
        return (_spline(cells, self.size) @ self.rng.standard_normal(cells + 3))[None, :]

    def sheets(self, spacing_mm: float, waviness: float, thickness_mm: float) -> Array:
        """Strength in [0, 1] of thin sheets across the slice, wavy, broken up."""
        number = max(int(FIELD_MM / spacing_mm), 1)
        count = self.depth_mm / spacing_mm + waviness * self.field(number, 4)
        slope = np.hypot(*np.gradient(count, self.pixel_mm))
        distance_mm = np.abs(count - np.rint(count)) / (slope + 1e-3)
        broken = np.clip(0.3 + self.field(2 * number, 7), 0.0, 1.0)
        return np.asarray(np.exp(-((distance_mm / thickness_mm) ** 2)) * broken)

    def soften(self, image: Array, sigma_mm: float) -> Array:
        return np.asarray(gaussian_filter(image, sigma_mm / self.pixel_mm, mode="nearest"))


@dataclass(frozen=True, eq=False)
class Lesion:
    """A lesion's outline and what it does to the echoes."""

    mask: Mask
    """(size, size)."""
    inside_db: Array
    """Echogenicity inside, relative to the mean of the tissue that it replaces."""
    around_db: Array
    """Added to the tissue outside: capsule, halo."""
    attenuation_db_mm: float
    """Two-way, above that of the tissue; below 0 enhances."""
    edge_mm: float
    """How gradually it ends."""


def draw_anatomy(label: str, size: int, rng: np.random.Generator) -> tuple[Array, Mask]:
    """Echogenicity in dB and lesion mask, both (size, size), of ``benign`` or ``malignant``.

    Echogenicity has the attenuation of everything above in it; 0 dB is displayed white.
    """
    tissue = Slice(size, rng)
    background_db = _layers(tissue)
    lesion = {"benign": _benign, "malignant": _malignant}[label](tissue)
    share = tissue.soften(lesion.mask.astype(np.float64), lesion.edge_mm)
    inside_db = background_db[lesion.mask].mean() + lesion.inside_db
    echo_db = (1 - share) * (background_db + lesion.around_db) + share * inside_db
    path_mm = np.cumsum(lesion.mask, axis=0) * tissue.pixel_mm
    path_mm = gaussian_filter1d(path_mm, 1.0 / tissue.pixel_mm, axis=1, mode="nearest")
    path_mm *= np.clip(1 + 0.35 * tissue.curve(24), 0.2, None)
    return echo_db - lesion.attenuation_db_mm * path_mm, lesion.mask


def _layers(tissue: Slice) -> Array:
    rng = tissue.rng
    skin = rng.uniform(1.0, 2.0) + 0.1 * tissue.curve(3)
    fat = skin + rng.uniform(3.0, 9.0) + rng.uniform(0.4, 1.2) * tissue.curve(3)
    gland = fat + rng.uniform(10.0, 16.0) + rng.uniform(0.4, 1.2) * tissue.curve(3)
    muscle = gland + rng.uniform(5.0, 9.0) + rng.uniform(0.3, 0.9) * tissue.curve(2)

    skin_db = -20.0 + 3.0 * tissue.field(2, 12)
    fat_db = rng.uniform(-36, -29) + 2.5 * tissue.field(8, 6)
    fat_db += 15 * tissue.sheets(4.0, 0.8, 0.22)
    gland_db = rng.uniform(-30, -24) + 4.0 * tissue.field(12, 7) + 3.0 * tissue.field(36, 12)
    gland_db += 10 * tissue.sheets(2.0, 0.6, 0.22)
    muscle_db = rng.uniform(-40, -34) + 3.0 * tissue.field(24, 5)
    muscle_db += 17 * tissue.sheets(1.5, 0.4, 0.2)
    wall_db = rng.uniform(-48, -40) + 3.0 * tissue.field(12, 4)
    wall_db += 10 * tissue.sheets(3.0, 0.5, 0.3)

    echo_db = np.broadcast_to(skin_db, (tissue.size, tissue.size))
    for top, below in ((skin, fat_db), (fat, gland_db), (gland, muscle_db), (muscle, wall_db)):
        share = np.clip(0.5 + (tissue.depth_mm - top) / 1.2, 0.0, 1.0)
        echo_db = (1 - share) * echo_db + share * below
    for top, strength_db in ((skin, 6.0), (fat, 6.0), (gland, 12.0), (muscle, 14.0)):
        line = np.exp(-(((tissue.depth_mm - top) / 0.25) ** 2))
        echo_db = echo_db + strength_db * line * np.clip(0.5 + tissue.curve(7), 0.0, 1.0)
    shadow_db_mm = rng.uniform(0.0, 0.4) * np.clip(tissue.curve(9) - 0.5, 0.0, None)
    return np.asarray(echo_db - shadow_db_mm * tissue.depth_mm)


def _benign(tissue: Slice) -> Lesion:
    rng = tissue.rng
    half_wide, ratio = rng.uniform(3.5, 8.5), rng.uniform(0.5, 0.8)
    deep, aside = _polar(tissue, half_wide * ratio, tilt=rng.uniform(-0.25, 0.25))
    radius = np.hypot(deep / (half_wide * ratio), aside / half_wide)
    lobes = rng.uniform(0.0, 0.06) * np.cos(3 * np.arctan2(deep, aside) + rng.uniform(0, 6.28))
    mask = radius < 1 + lobes
    is_cyst = rng.random() < 0.3
    level_db = -45.0 if is_cyst else rng.uniform(-20.0, -12.0)
    inside_db = level_db + 1.5 * tissue.field(10, 8)
    outside_mm = _distance(~mask, tissue)
    # a capsule echoes where it faces the beam
    facing = np.abs(deep) / (np.hypot(deep, aside) + 1e-6)
    capsule_db = rng.uniform(3.0, 9.0) * np.exp(-((outside_mm / 0.5) ** 2)) * facing
    return Lesion(mask, inside_db, capsule_db, rng.uniform(-1.1, -0.5), edge_mm=0.2)


def _malignant(tissue: Slice) -> Lesion:
    rng = tissue.rng
    half_tall, ratio = rng.uniform(4.0, 7.5), rng.uniform(0.65, 1.0)
    deep, aside = _polar(tissue, half_tall, tilt=rng.uniform(-0.4, 0.4))
    turn = np.linspace(-np.pi, np.pi, 721)
    outline = np.ones_like(turn)
    for order in range(2, 13):
        height = rng.normal(0, 0.16) / order**0.6
        outline += height * np.cos(order * turn + rng.uniform(0, 2 * np.pi))
    spicules = np.zeros_like(turn)
    for _ in range(18):
        off = (turn - rng.uniform(-np.pi, np.pi) + np.pi) % (2 * np.pi) - np.pi
        spicule = rng.uniform(0.05, 0.6) * np.exp(-((off / rng.uniform(0.04, 0.12)) ** 2))
        spicules = np.maximum(spicules, spicule)
    reach = np.interp(np.arctan2(deep, aside), turn, np.maximum(outline, 0.4) + spicules)
    radius = np.hypot(deep / half_tall, aside / (half_tall * ratio))
    mask = radius < reach
    inside_db = rng.uniform(-19.0, -10.0) + 3.0 * tissue.field(14, 14)
    outside_mm = _distance(~mask, tissue)
    halo_db = rng.uniform(4.0, 10.0) * np.exp(-outside_mm / rng.uniform(1.0, 3.0))
    return Lesion(mask, inside_db, halo_db, rng.uniform(0.8, 2.2), edge_mm=0.45)


@functools.cache
def _spline(cells: int, size: int) -> Array:
    """Cubic B-spline weights (size, cells + 3) that turn white noise into a smooth curve.

    The mean of the summed squared weights is 151/315; it is divided out.
    """
    position = 1 + (np.arange(size) + 0.5) / size * cells
    away = np.abs(position[:, None] - np.arange(cells + 3))
    near = (4 - 6 * away**2 + 3 * away**3) / 6
    far = np.clip(2 - away, 0, None) ** 3 / 6
    return np.asarray(np.where(away < 1, near, far) / np.sqrt(151 / 315))


def _polar(tissue: Slice, half_tall_mm: float, tilt: float) -> tuple[Array, Array]:
    """Depth and lateral position in mm from a lesion's centre, in its own turned axes."""
    depth = tissue.rng.uniform(max(9.5, half_tall_mm + 4.0), 16.0)
    deep = tissue.depth_mm - depth
    aside = tissue.lateral_mm - tissue.rng.uniform(-9.0, 9.0)
    return (
        np.asarray(np.cos(tilt) * deep - np.sin(tilt) * aside),
        np.asarray(np.sin(tilt) * deep + np.cos(tilt) * aside),
    )


def _distance(outside: Mask, tissue: Slice) -> Array:
    return np.asarray(distance_transform_edt(outside) * tissue.pixel_mm)
