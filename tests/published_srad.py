"""SRAD as its public programs write it, pixel by pixel: the truth of reference and kernels.

Transcribed from the published equations (Yu & Acton 2002) in the order and with the divisions of
Rodinia's srad_v1 and srad_v2 and of the University of Virginia's program.
"""

from __future__ import annotations

import numpy as np


def published_iteration(j, q0_squared, time_step, form=1):
    """One SRAD iteration as Rodinia's srad writes it, with its divisions by the pixel."""
    rows, columns = j.shape
    one = j.dtype.type
    north, south, west, east, c = (np.empty_like(j) for _ in range(5))
    for y in range(rows):
        for x in range(columns):
            here = j[y, x]
            north[y, x] = j[max(y - 1, 0), x] - here
            south[y, x] = j[min(y + 1, rows - 1), x] - here
            west[y, x] = j[y, max(x - 1, 0)] - here
            east[y, x] = j[y, min(x + 1, columns - 1)] - here
            squares = (
                north[y, x] ** 2 + south[y, x] ** 2 + west[y, x] ** 2 + east[y, x] ** 2
            ) / here**2
            relative = (north[y, x] + south[y, x] + west[y, x] + east[y, x]) / here
            variation = (one(0.5) * squares - relative**2 / one(16)) / (
                one(1) + one(0.25) * relative
            ) ** 2
            ratio = (variation - q0_squared) / (q0_squared * (one(1) + q0_squared))
            value = one(1) / (one(1) + ratio) if form == 1 else np.exp(-ratio)
            c[y, x] = min(max(value, one(0)), one(1))
    result = np.empty_like(j)
    for y in range(rows):
        for x in range(columns):
            divergence = (
                c[y, x] * north[y, x]
                + c[min(y + 1, rows - 1), x] * south[y, x]
                + c[y, x] * west[y, x]
                + c[y, min(x + 1, columns - 1)] * east[y, x]
            )
            result[y, x] = j[y, x] + one(time_step) / one(4) * divergence
    return result


def region_q0_squared(j, region, correction=0):
    row, column, height, width = region
    values = j[row : row + height, column : column + width]
    return j.dtype.type(values.var(ddof=correction) / values.mean() ** 2)


def published(j, iterations, time_step, *, region, form=1, correction=0):
    for _ in range(iterations):
        j = published_iteration(j, region_q0_squared(j, region, correction), time_step, form)
    return j


def rodinia_v1(pixels, iterations, time_step=0.5):
    """Gray levels 0-255 as exp(I/255), q0 of the whole image, back by 255 log."""
    scale = pixels.dtype.type(255)
    j = published(np.exp(pixels / scale), iterations, time_step, region=(0, 0, *pixels.shape))
    return scale * np.log(j)


def uva(pixels, region, iterations, time_step):
    """The image's range scaled to [0, 1], q0 from a region's sample variance, log on [0, 1]."""
    low, high = pixels.min(), pixels.max()
    j = np.exp((pixels - low) / (high - low))
    return np.log(published(j, iterations, time_step, region=region, correction=1))
