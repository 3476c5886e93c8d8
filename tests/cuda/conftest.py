"""The emulated device, and the options that all SRAD tests here start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulator.device import Device, Unavailable, build


@pytest.fixture(scope="session")
def emulated(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Runs csrc/cuda on the processor. Built once for the sources as they are."""
    try:
        program = build(request.config.cache.mkdir("emulator"))
    except Unavailable as reason:
        pytest.skip(f"CUDA emulation: {reason}")
    device = Device(program)
    yield device
    device.stop()
