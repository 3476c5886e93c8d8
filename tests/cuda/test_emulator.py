"""What the emulation is worth: it must see every barrier that is missing, and every step outside.

Without that a kernel's right result in emulation would prove nothing.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from emulator.device import Crashed, Device, Setting

from busaug.reference.srad import whole_regions

SRAD = {
    "scales": 2,
    "iterations": 2,
    "time_step": 0.5,
    "q0": 0.0,
    "decay": 0.0,
    "form": 1,
    "correction": 0,
}
ORDERS = [("forward", 0), ("reverse", 0), *(("shuffled", seed) for seed in range(20))]


def srad(device: Device, setting: Setting) -> tuple[torch.Tensor, ...]:
    images = torch.rand(2, 37, 24, generator=torch.Generator().manual_seed(0))
    regions = whole_regions(images).contiguous()
    return (device.srad(images, regions, **SRAD, setting=setting),)


def gram_difference(device: Device, channels: int, positions: int, setting: Setting):
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, channels, positions, generator=generator)
    return device.gram_difference(features, features @ features.mT, setting=setting)


CASES = {
    "srad in memory": (srad, Setting(shared_bytes=200)),
    "srad in a cluster": (srad, Setting(multiprocessors=64)),
    "srad in one block": (srad, Setting(architecture=80)),
    "tiles of one block": (lambda *to: gram_difference(to[0], 130, 9, to[1]), Setting()),
    "blocks that share a tile": (lambda *to: gram_difference(to[0], 40, 1100, to[1]), Setting()),
}


def test_every_barrier_is_needed_and_its_absence_seen(emulated):
    """Each is left out in turn; some order of threads must then go wrong in some case."""

    def goes_wrong(run, setting, expected):
        for order, seed in ORDERS:
            try:
                found = run(emulated, replace(setting, order=order, seed=seed))
            except Crashed:
                return True
            if not all(map(torch.equal, found, expected)):
                return True
        return False

    barriers, needed = set(), set()
    for run, setting in CASES.values():
        expected = run(emulated, setting)
        here = set(emulated.log.barriers)
        barriers |= here
        needed |= {
            barrier
            for barrier in here - needed
            if goes_wrong(run, replace(setting, skipped=barrier), expected)
        }
    assert len(barriers) >= 10
    assert needed == barriers


@pytest.mark.parametrize("name", ["srad in memory", "srad in a cluster"])
def test_a_step_outside_an_array_is_seen(emulated, name):
    images, setting = torch.rand(2, 9, 8), CASES[name][1]
    with pytest.raises(Crashed, match="heap-buffer-overflow"):
        emulated.srad(images, **SRAD, setting=setting, missing=4)
    assert emulated.srad(images, **SRAD, setting=setting).isfinite().all()  # in a new process
