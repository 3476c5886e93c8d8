"""Multi-scale speckle-reducing anisotropic diffusion (Yu & Acton 2002)."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from busaug.config import Region, SradConfig
from busaug.errors import InputError
from busaug.ops import _launch
from busaug.ops._backend import has_cuda_kernels
from busaug.reference import srad as reference
from busaug.reference.srad import LogCompression, quiet_regions, whole_regions

Images = TypeVar("Images", Tensor, NDArray[Any])

_library = torch.library.Library("busaug", "FRAGMENT")
_library.define(
    "srad(Tensor images, Tensor? regions, int scales, int iterations, float time_step, float q0, "
    "float decay, int form) -> Tensor"
)
srad_op = torch.ops.busaug.srad.default
"""The diffusion alone, as a torch op: see ``busaug.reference.srad.diffuse``."""


def srad(
    images: Images,
    *,
    scales: int = 8,
    iterations: int = 10,
    time_step: float = 0.5,
    q0: Literal["auto", "image"] | Region | float = "auto",
    form: Literal[1, 2] = 1,
    domain: Literal["log", "linear"] = "log",
    decay: float = 1 / 6,
) -> Images:
    """Despeckle images at several scales.

    The result does not depend on the number of threads. It is not differentiable;
    ``busaug.reference.srad`` is.

    Args:
        images: (..., H, W), float32 or float64, in [0, 1]; NumPy or torch, CPU or CUDA.
        scales: Number of images kept, L.
        iterations: Iterations between two scales.
        time_step: An iteration adds time_step/4 times the divergence; in (0, 1].
        q0: The speckle scale. ``"auto"`` measures it at every iteration in the quietest window of
            the first image (``quiet_regions``), ``"image"`` in the whole image, (row, column,
            height, width) in that region; a positive number decays as q0 exp(-decay t).
        form: Diffusion coefficient: 1 rational, 2 exponential.
        domain: ``"log"`` for log-compressed pixels, as B-mode images have: their range is scaled to
            [0, 1] and diffused as exp(I). ``"linear"`` for intensities.
        decay: Rate of a numeric q0, per unit of time (time_step an iteration).

    Returns:
        (L, ..., H, W), same kind, dtype and device: entry l is the image after (l + 1) x iterations
        iterations. A constant image stays as it is.

    Raises:
        InputError: dtype, rank, range, NaN, a region outside the image, an option out of range.
    """
    options = srad_options(
        scales=scales,
        iterations=iterations,
        time_step=time_step,
        q0=q0,
        form=form,
        domain=domain,
        decay=decay,
    )
    if isinstance(images, np.ndarray):
        return _diffuse(_checked(_tensor(images)), options).numpy()
    return _diffuse(_checked(images), options)


def srad_options(**values: Any) -> SradConfig:
    """The options of ``srad`` with their ranges checked; InputError names one that is out."""
    try:
        return SradConfig.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = problem["loc"][0]
        raise InputError(
            f"srad: {name}={values[str(name)]!r}: {problem['msg']}",
            remedy=f"{name} is: {SradConfig.model_fields[str(name)].description}",
        ) from error


def quiet_window(image: NDArray[Any], *, domain: Literal["log", "linear"] = "log") -> Region:
    """Row, column, height, width of the window that ``q0="auto"`` takes in one image (H, W).

    Raises InputError as ``srad`` does.
    """
    batch = _checked(_tensor(image))[None]
    intensities = batch if domain == "linear" else LogCompression.of(batch).intensities(batch)
    row, column, height, width = quiet_regions(intensities)[0].tolist()
    return row, column, height, width


def _tensor(images: NDArray[Any]) -> Tensor:
    if images.dtype.name not in ("float32", "float64"):
        raise _unfit_dtype(images.dtype)
    # a copy: torch takes no foreign byte order, negative stride or read-only memory
    return torch.from_numpy(np.array(images, dtype=images.dtype.name, order="C"))


def _unfit_dtype(dtype: object) -> InputError:
    return InputError(
        f"srad: images have the dtype {str(dtype).removeprefix('torch.')}",
        remedy="Convert them to float32 in [0, 1] (8-bit pixels: divide by 255)",
    )


def _checked(images: Tensor) -> Tensor:
    """As (..., H, W) that the diffusion can work on, or InputError."""
    if images.dtype not in (torch.float32, torch.float64):
        raise _unfit_dtype(images.dtype)
    if images.ndim < 2 or 0 in images.shape[-2:]:
        raise InputError(
            f"srad: images have the shape {tuple(images.shape)}",
            remedy="Give (..., H, W) with at least one pixel",
        )
    if images.numel():
        low, high = (float(bound) for bound in torch.aminmax(images.detach()))
        if not (low >= 0.0 and high <= 1.0):  # NaN fails both
            raise InputError(
                f"srad: images range from {low:g} to {high:g}",
                remedy="Scale pixels to [0, 1] and replace NaN",
            )
    return images


def _diffuse(images: Tensor, options: SradConfig) -> Tensor:
    batch = images.reshape(-1, *images.shape[-2:])
    compression = LogCompression.of(batch) if options.domain == "log" else None
    intensities = batch if compression is None else compression.intensities(batch)
    result: Tensor = srad_op(
        intensities,
        _regions(intensities, options.q0),
        options.scales,
        options.iterations,
        options.time_step,
        options.q0 if isinstance(options.q0, float) else 0.0,
        options.decay,
        options.form,
    )
    if compression is not None:
        result = compression.pixels(result)
    return result.reshape(options.scales, *images.shape)


def _regions(intensities: Tensor, q0: str | Region | float) -> Tensor | None:
    if isinstance(q0, float):
        return None
    if q0 == "auto":
        return quiet_regions(intensities)
    if q0 == "image":
        return whole_regions(intensities)
    assert isinstance(q0, tuple)
    row, column, height, width = q0
    rows, columns = intensities.shape[-2:]
    inside = 0 <= row <= rows - height and 0 <= column <= columns - width
    if not (inside and height > 0 and width > 0):
        raise InputError(
            f"srad: region row {row}, column {column}, {height}x{width} px does not lie in an "
            f"image of {rows}x{columns} px",
            remedy="Give row, column, height, width of a region inside every image",
        )
    return torch.tensor(q0, device=intensities.device).expand(len(intensities), 4)


def _check_op(images: Tensor, regions: Tensor | None, scales: int) -> None:
    torch._check(images.ndim == 3, lambda: f"busaug::srad takes (N, H, W), not {images.shape}")
    torch._check(
        images.dtype in (torch.float32, torch.float64),
        lambda: f"busaug::srad takes float32 or float64, not {images.dtype}",
    )
    torch._check(scales > 0, lambda: f"busaug::srad: scales is {scales}")
    if regions is not None:
        torch._check(
            regions.dtype == torch.int64 and regions.shape == (images.shape[0], 4),
            lambda: f"busaug::srad takes int64 regions (N, 4), not {regions.shape}",
        )
        torch._check(
            regions.device == images.device,
            lambda: f"busaug::srad: regions on {regions.device}, images on {images.device}",
        )


def _allocate(images: Tensor, scales: int) -> Tensor:
    return torch.empty((scales, *images.shape), dtype=images.dtype, device=images.device)


def _native(
    images: Tensor,
    regions: Tensor | None,
    scales: int,
    iterations: int,
    time_step: float,
    q0: float,
    decay: float,
    form: int,
) -> Tensor:
    _check_op(images, regions, scales)
    output = _allocate(images, scales)
    launch = _launch.srad_cuda if images.is_cuda else _launch.srad_cpu
    launch(
        images.contiguous(),
        None if regions is None else regions.contiguous(),
        output,
        {
            "scales": scales,
            "iterations": iterations,
            "time_step": time_step,
            "q0": q0,
            "decay": decay,
            "form": form,
        },
    )
    return output


def _reference(
    images: Tensor,
    regions: Tensor | None,
    scales: int,
    iterations: int,
    time_step: float,
    q0: float,
    decay: float,
    form: int,
) -> Tensor:
    _check_op(images, regions, scales)
    return reference.diffuse(
        images,
        regions,
        scales=scales,
        iterations=iterations,
        time_step=time_step,
        q0=q0,
        decay=decay,
        form=form,
    )


def _fake(images: Tensor, regions: Tensor | None, scales: int, *options: Any) -> Tensor:
    _check_op(images, regions, scales)
    return _allocate(images, scales)


def _no_gradient(context: Any, grad: Tensor) -> None:
    raise NotImplementedError(
        "busaug::srad has no gradient: use busaug.reference.srad.diffuse, or detach its input"
    )


_library.impl("srad", _native, "CPU")
_library.impl("srad", _native if has_cuda_kernels() else _reference, "CUDA")
torch.library.register_fake("busaug::srad", _fake, lib=_library)
torch.library.register_autograd("busaug::srad", _no_gradient, lib=_library)
