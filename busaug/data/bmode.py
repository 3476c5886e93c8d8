"""B-mode imaging, simulated: scatterers, point-spread function, envelope, log compression.

The convolution model of ultrasound speckle (Bamber & Dickinson, Phys. Med. Biol. 25:463, 1980):
random scatterers weighted by the tissue's echogenicity, convolved with an axially modulated
Gaussian pulse and a lateral Gaussian beam. Where many scatterers share a resolution cell, the
envelope is Rayleigh distributed and its mean is 1.91 standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d
from scipy.signal import hilbert

FIELD_MM = 40.0
"""Width and depth that an image shows."""

_AXIAL_SAMPLES = 4
"""Radio-frequency samples a pixel row."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scanner:
    """What differs between scanners, presets and operators: the style of an image."""

    axial_mm: float
    """Full width at half maximum of the pulse."""
    lateral_mm: float
    """Full width at half maximum of the beam at its focus."""
    focus_mm: float
    """Depth of the focus; the beam doubles its width one field depth away."""
    looks: int
    """Views compounded; more are smoother."""
    noise_db: float
    """Electronic noise at the deepest row, an echogenicity; 20 dB less at the top."""
    gain_db: float
    tgc_db: float
    """Gain left over (or missing) at the deepest row after time-gain compensation."""
    dynamic_range_db: float
    """What black to white spans."""
    gamma: float
    """Exponent of the gray map."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scanner:
        """A scanner among those in use: broadband linear probes of about 7 to 14 MHz."""
        return cls(
            axial_mm=rng.uniform(0.35, 0.65),
            lateral_mm=rng.uniform(0.5, 1.0),
            focus_mm=rng.uniform(10.0, 22.0),
            looks=int(rng.integers(2, 6)),
            noise_db=rng.uniform(-52.0, -44.0),
            gain_db=rng.uniform(-3.0, 7.0),
            tgc_db=rng.uniform(-12.0, 2.0),
            dynamic_range_db=rng.uniform(52.0, 68.0),
            gamma=rng.uniform(0.9, 1.4),
        )


def envelope(amplitude: Array, scanner: Scanner, rng: np.random.Generator) -> Array:
    """Echo envelope (H, W) of tissue with the given scattering amplitude (H, W), one look.

    Scatterers are Gaussian and dense; the expected square is ``amplitude**2`` where that is even.
    """
    height, width = amplitude.shape
    sample_mm, column_mm = FIELD_MM / height / _AXIAL_SAMPLES, FIELD_MM / width
    scatterers = np.repeat(amplitude, _AXIAL_SAMPLES, axis=0)
    scatterers = scatterers * rng.standard_normal(scatterers.shape)
    echo = convolve1d(scatterers, _pulse(scanner.axial_mm / sample_mm), axis=0, mode="wrap")

    depth_mm = (np.arange(len(echo)) + 0.5) * sample_mm
    blur = np.clip(np.abs(depth_mm - scanner.focus_mm) / FIELD_MM, 0.0, 1.0)[:, None]
    narrow = _beam(scanner.lateral_mm / column_mm)
    wide = _beam(2 * scanner.lateral_mm / column_mm)
    margin = (len(wide) - len(narrow)) // 2
    overlap = float(narrow @ wide[margin : margin + len(narrow)])
    # both beams have unit energy; so has their mixture after this
    energy = (1 - blur) ** 2 + blur**2 + 2 * blur * (1 - blur) * overlap
    focused, broad = (convolve1d(echo, beam, axis=1, mode="wrap") for beam in (narrow, wide))
    echo = ((1 - blur) * focused + blur * broad) / np.sqrt(energy)
    return np.asarray(np.abs(hilbert(echo, axis=0))[::_AXIAL_SAMPLES] / np.sqrt(2))


def b_mode(echogenicity_db: Array, scanner: Scanner, rng: np.random.Generator) -> Array:
    """The picture (H, W) in [0, 1] of tissue with the given echogenicity (H, W) in dB.

    0 dB is white at no gain. Looks are compounded by their mean square.
    """
    height = len(echogenicity_db)
    depth = ((np.arange(height) + 0.5) / height)[:, None]
    noise = 10 ** (scanner.noise_db / 20 + depth - 1)
    amplitude = np.hypot(10 ** (echogenicity_db / 20), noise)
    power = np.zeros_like(amplitude)
    for _ in range(scanner.looks):
        power += envelope(amplitude, scanner, rng) ** 2
    level_db = 10 * np.log10(power / scanner.looks + 1e-12)
    level_db += scanner.gain_db + scanner.tgc_db * depth
    gray = np.clip(1.0 + level_db / scanner.dynamic_range_db, 0.0, 1.0)
    return np.asarray(gray**scanner.gamma)


def _pulse(fwhm: float) -> Array:
    """A Gaussian pulse of unit energy, in samples, with its carrier at a quarter of their rate.

    The envelope does not depend on the carrier's frequency. A pulse is at least a pixel row long.
    """
    envelope_ = _gaussian(max(fwhm, _AXIAL_SAMPLES))
    offset = np.arange(len(envelope_)) - len(envelope_) // 2
    pulse = envelope_ * np.cos(np.pi / 2 * offset)
    return np.asarray(pulse / np.linalg.norm(pulse))


def _beam(fwhm: float) -> Array:
    """A lateral Gaussian of unit energy, in columns."""
    profile = _gaussian(fwhm)
    return np.asarray(profile / np.linalg.norm(profile))


def _gaussian(fwhm: float) -> Array:
    sigma = fwhm / np.sqrt(8 * np.log(2))
    reach = int(np.ceil(4 * sigma))
    return np.asarray(np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)))
