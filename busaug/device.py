"""The device a run computes on: what it is quick in, what it says when its memory is used up."""

from __future__ import annotations

import torch

from busaug.config import Config
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


def resolve_precision(config: Config) -> Config:
    """The configuration with ``style.precision`` as it pays on ``compute.device``, where ``auto``.

    That is ``mixed`` on CUDA devices whose tensor cores take bfloat16 (capability 8.0 on). On a
    processor an evaluation gains less by bfloat16 than is lost to its rounding of activations: the
    same loss takes more of them (docs/precision.md). With ``style.softmax`` it pays nowhere: the
    exponential enlarges the rounding of large activations, and for one image in four no step was
    found that lowers the loss.
    """
    if config.style.precision != "auto":
        return config
    quick = _has_tensor_cores(config.compute.device) and not config.style.softmax
    style = config.style.model_copy(update={"precision": "mixed" if quick else "single"})
    return config.model_copy(update={"style": style})


def _has_tensor_cores(device: str) -> bool:
    """For bfloat16."""
    cuda = device.split(":")[0] == "cuda"
    return cuda and torch.cuda.is_bf16_supported(including_emulation=False)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory could not be had, on a device or on the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The host's allocator has no type of its own for it.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release_memory() -> None:
    """Give back what torch keeps of a device's memory for later use."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
