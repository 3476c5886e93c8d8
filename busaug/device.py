"""The device a run computes on."""

from __future__ import annotations

import torch

from busaug.errors import InputError


def open_device(name: str) -> torch.device:
    """The device of that name; InputError where torch has none such here."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}", remedy="Use cpu") from error
    return device
