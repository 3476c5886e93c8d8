"""The device a run computes on: what it is quick in, what it says when its memory is used up."""

from __future__ import annotations

from typing import Literal

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

    That is ``mixed`` where products of bfloat16 have instructions of their own: AMX's tiles or
    AVX-512's pairs on x86 processors, tensor cores on CUDA devices from capability 8.0 on. With
    ``style.softmax`` it does not pay: the exponential enlarges bfloat16's rounding of large
    activations, and for one image in four no step was found that lowers the loss.
    """
    if config.style.precision != "auto":
        return config
    precision = "single" if config.style.softmax else _paying(config.compute.device)
    style = config.style.model_copy(update={"precision": precision})
    return config.model_copy(update={"style": style})


def _paying(device: str) -> Literal["single", "mixed"]:
    if device == "cpu":
        has = torch.cpu.get_capabilities()
        quick = bool(has.get("amx_bf16") or has.get("avx512_bf16"))
    else:
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
    return "mixed" if quick else "single"


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
