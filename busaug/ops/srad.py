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
from busaug.ops._check import check
from busaug.reference import srad as reference
from busaug.reference.srad import pixel_ranges, whole_regions

Images = TypeVar("Images", Tensor, NDArray[Any])

_library = torch.library.Library("busaug", "FRAGMENT")
_library.define(
    "srad(Tensor images, Tensor? regions, int scales, int iterations, float time_step, float q0, "
    "float decay, int form, int correction=0, Tensor? ranges=None) -> Tensor"
)
_library.define("quiet_regions(Tensor images, Tensor? ranges=None) -> Tensor")
srad_op = torch.ops.busaug.srad.default
"""The diffusion alone, as a torch op: see ``busaug.reference.srad.diffuse``."""
quiet_regions_op = torch.ops.busaug.quiet_regions.default
"""Where ``q0="auto"`` measures: see ``busaug.reference.srad.quiet_regions``."""


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
    """Despeckle images at several scales (Yu & Acton 2002, IEEE TIP 11(11):1260).

    The result does not depend on the number of threads. It is not differentiable;
    ``busaug.reference.srad`` is. On the CPU it takes the memory of one image for each thread beside
    input and output; images that are not contiguous (or read-only or of foreign byte order in
    NumPy) are copied first.

    Args:
        images: (..., H, W), float32 or float64, in [0, 1]; NumPy or torch, CPU or CUDA. Zeros are
            allowed: a pixel whose four neighbours are all zero has the coefficient 0 (or 1 where it
            is zero itself), and a region of zeros has no speckle.
        scales: Number of images kept, L.
        iterations: Iterations between two scales.
        time_step: An iteration adds time_step/4 times the divergence; in (0, 1].
        q0: The speckle scale. ``"auto"`` measures it at every iteration in the quietest window of
            each image as it was given (``quiet_window``), ``"image"`` in the whole image, (row,
            column, height, width) in that region; a positive number decays as q0 exp(-decay t).
        form: Diffusion coefficient: 1 rational, 2 exponential.
        domain: ``"log"`` for log-compressed pixels, as B-mode images have: their range is scaled to
            [0, 1] and diffused as exp(I). ``"linear"`` for intensities.
        decay: Rate of a numeric q0, per unit of time (time_step an iteration).

    Returns:
        (L, ..., H, W), same kind, dtype and device: entry l is the image after (l + 1) x iterations
        iterations. A constant image stays as it is.

    Raises:
        InputError: type, dtype, device, rank, range, NaN, a region outside the image, an option out
            of range.
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
        return _diffuse(_tensor(images), options).numpy()
    return _diffuse(images, options)


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
    batch, ranges = _measured(_tensor(image), highest=1)
    row, column, height, width = quiet_regions_op(batch, ranges if domain == "log" else None)[0]
    return int(row), int(column), int(height), int(width)


def rodinia_v1(images: Tensor, *, iterations: int, time_step: float = 0.5) -> Tensor:
    """Diffuse as the Rodinia benchmark srad_v1 does: gray levels as exp(I/255), whole-image q0.

    (..., H, W) in [0, 255] to the same, float32 or float64. Raises InputError as ``srad`` does.
    """
    options = srad_options(scales=1, iterations=iterations, time_step=time_step, q0="image")
    batch, _ = _measured(images, highest=255)
    ranges = batch.new_tensor([0, 255]).expand(len(batch), 2)
    return _call(batch, ranges, options).view(images.shape)


def uva(images: Tensor, region: Region, *, iterations: int, time_step: float) -> Tensor:
    """Diffuse as the University of Virginia's program does: q0 from a region's sample variance.

    (..., H, W) in [0, 255] to [0, 1], the image's own range scaled; float32 or float64. Raises
    InputError as ``srad`` does.
    """
    options = srad_options(scales=1, iterations=iterations, time_step=time_step, q0=region)
    batch, ranges = _measured(images, highest=255)
    low, high = ranges[:, 0, None, None], ranges[:, 1, None, None]
    span = torch.where(high > low, high - low, torch.ones_like(low))
    unit = batch.new_tensor([0, 1]).expand(len(batch), 2)
    return _call((batch - low) / span, unit, options, correction=1).view(images.shape)


def _tensor(images: NDArray[Any]) -> Tensor:
    if images.dtype.name not in ("float32", "float64"):
        raise _unfit_dtype(images.dtype)
    # torch takes no foreign byte order, negative stride or read-only memory: such are copied
    plain = images.dtype.isnative and images.flags.c_contiguous and images.flags.writeable
    return torch.from_numpy(
        images if plain else np.array(images, dtype=images.dtype.name, order="C")
    )


def _unfit_dtype(dtype: object) -> InputError:
    return InputError(
        f"srad: images have the dtype {str(dtype).removeprefix('torch.')}",
        remedy="Convert them to float32 in [0, 1] (8-bit pixels: divide by 255)",
    )


def _measured(images: Tensor, *, highest: float) -> tuple[Tensor, Tensor]:
    """As a dense batch (N, H, W) with the range of each image (N, 2), or InputError."""
    if not isinstance(images, Tensor):
        raise InputError(
            f"srad: images are a {type(images).__name__}", remedy="Give a NumPy array or a tensor"
        )
    if images.device.type not in ("cpu", "cuda"):
        raise InputError(
            f"srad: images lie on the device {images.device}", remedy="Move them to cpu or cuda"
        )
    if images.dtype not in (torch.float32, torch.float64):
        raise _unfit_dtype(images.dtype)
    if images.ndim < 2 or 0 in images.shape[-2:]:
        raise InputError(
            f"srad: images have the shape {tuple(images.shape)}",
            remedy="Give (..., H, W) with at least one pixel",
        )
    batch = images.reshape(-1, *images.shape[-2:]).contiguous()
    ranges = pixel_ranges(batch.detach())
    if len(batch):
        low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
        if not (low >= 0.0 and high <= highest):  # NaN fails both
            raise InputError(
                f"srad: images range from {low:g} to {high:g}",
                remedy=f"Scale pixels to [0, {highest:g}] and replace NaN",
            )
    return batch, ranges


def _diffuse(images: Tensor, options: SradConfig) -> Tensor:
    batch, ranges = _measured(images, highest=1)
    result = _call(batch, ranges if options.domain == "log" else None, options)
    return result.view(options.scales, *images.shape)


def _call(
    batch: Tensor, ranges: Tensor | None, options: SradConfig, *, correction: int = 0
) -> Tensor:
    result: Tensor = srad_op(
        batch,
        _regions(batch, ranges, options.q0),
        options.scales,
        options.iterations,
        options.time_step,
        options.q0 if isinstance(options.q0, float) else 0.0,
        options.decay,
        options.form,
        correction,
        ranges,
    )
    return result


def _regions(batch: Tensor, ranges: Tensor | None, q0: str | Region | float) -> Tensor | None:
    if isinstance(q0, float):
        return None
    if q0 == "auto":
        regions: Tensor = quiet_regions_op(batch, ranges)
        return regions
    if q0 == "image":
        return whole_regions(batch)
    assert isinstance(q0, tuple)
    row, column, height, width = q0
    rows, columns = batch.shape[-2:]
    inside = 0 <= row <= rows - height and 0 <= column <= columns - width
    if not (inside and height > 0 and width > 0):
        raise InputError(
            f"srad: region row {row}, column {column}, {height}x{width} px does not lie in an "
            f"image of {rows}x{columns} px",
            remedy="Give row, column, height, width of a region inside every image",
        )
    return torch.tensor(q0, device=batch.device).expand(len(batch), 4)


def _check_images(name: str, images: Tensor, ranges: Tensor | None) -> None:
    check(
        images.ndim == 3 and images.shape[1] > 0 and images.shape[2] > 0,
        lambda: f"busaug::{name} takes images (N, H, W), not {tuple(images.shape)}",
    )
    check(
        images.dtype in (torch.float32, torch.float64),
        lambda: f"busaug::{name} takes float32 or float64, not {images.dtype}",
    )
    if ranges is not None:
        _check_companion(name, "ranges", ranges, images, (images.shape[0], 2), images.dtype)


def _check_companion(
    name: str,
    argument: str,
    found: Tensor,
    images: Tensor,
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> None:
    check(
        found.shape == shape and found.dtype == dtype and found.device == images.device,
        lambda: (
            f"busaug::{name} takes {argument} {shape} of {dtype} on {images.device}, not "
            f"{tuple(found.shape)} of {found.dtype} on {found.device}"
        ),
    )


def _check_srad(images: Tensor, regions: Tensor | None, scales: int, ranges: Tensor | None) -> None:
    _check_images("srad", images, ranges)
    check(scales > 0, lambda: f"busaug::srad: scales is {scales}")
    if regions is not None:
        _check_companion("srad", "regions", regions, images, (images.shape[0], 4), torch.int64)


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


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
    correction: int = 0,
    ranges: Tensor | None = None,
) -> Tensor:
    _check_srad(images, regions, scales, ranges)
    output = _allocate(images, scales)
    launch = _launch.srad_cuda if images.is_cuda else _launch.srad_cpu
    launch(
        _launch.SradArrays(images.contiguous(), _dense(regions), _dense(ranges), output),
        {
            "scales": scales,
            "iterations": iterations,
            "time_step": time_step,
            "q0": q0,
            "decay": decay,
            "form": form,
            "correction": correction,
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
    correction: int = 0,
    ranges: Tensor | None = None,
) -> Tensor:
    _check_srad(images, regions, scales, ranges)
    return reference.diffuse(
        images,
        regions,
        scales=scales,
        iterations=iterations,
        time_step=time_step,
        q0=q0,
        decay=decay,
        form=form,
        correction=correction,
        ranges=ranges,
    )


def _fake(
    images: Tensor,
    regions: Tensor | None,
    scales: int,
    iterations: int,
    time_step: float,
    q0: float,
    decay: float,
    form: int,
    correction: int = 0,
    ranges: Tensor | None = None,
) -> Tensor:
    _check_srad(images, regions, scales, ranges)
    return _allocate(images, scales)


def _no_gradient(context: Any, grad: Tensor) -> None:
    raise NotImplementedError(
        "busaug::srad has no gradient: use busaug.reference.srad.diffuse, or detach its input"
    )


def _quiet_native(images: Tensor, ranges: Tensor | None = None) -> Tensor:
    regions = _quiet_fake(images, ranges)
    _launch.quiet_regions_cpu(images.contiguous(), _dense(ranges), regions)
    return regions


def _quiet_reference(images: Tensor, ranges: Tensor | None = None) -> Tensor:
    _check_images("quiet_regions", images, ranges)
    return reference.quiet_regions(images, ranges)


def _quiet_fake(images: Tensor, ranges: Tensor | None = None) -> Tensor:
    _check_images("quiet_regions", images, ranges)
    return torch.empty((images.shape[0], 4), dtype=torch.int64, device=images.device)


_library.impl("srad", _native, "CPU")
_library.impl("srad", _native if has_cuda_kernels() else _reference, "CUDA")
torch.library.register_fake("busaug::srad", _fake, lib=_library)
torch.library.register_autograd("busaug::srad", _no_gradient, lib=_library)
_library.impl("quiet_regions", _quiet_native, "CPU")
_library.impl("quiet_regions", _quiet_reference, "CUDA")
torch.library.register_fake("busaug::quiet_regions", _quiet_fake, lib=_library)
