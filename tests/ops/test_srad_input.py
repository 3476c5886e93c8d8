"""What ``busaug.srad`` refuses: each fault is named with its value, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import busaug
from busaug import _native
from busaug.errors import InputError
from busaug.ops.srad import quiet_window, rodinia_v1, srad_op, uva


def image(**change):
    values = torch.linspace(0.1, 0.9, 64).reshape(8, 8)
    for value in change.values():
        values[3, 4] = value
    return values


IMAGES = [
    (torch.zeros(8, 8, dtype=torch.uint8), "dtype uint8"),
    (torch.zeros(8, 8, dtype=torch.float16), "dtype float16"),
    (torch.zeros(8, 8, dtype=torch.bfloat16), "dtype bfloat16"),
    (torch.zeros(8, 8, dtype=torch.complex64), "dtype complex64"),
    (np.zeros((8, 8), np.int32), "dtype int32"),
    (np.zeros((8, 8), object), "dtype object"),
    ([[0.5, 0.5], [0.5, 0.5]], "a list"),
    (torch.zeros(8, 8, device="meta"), "device meta"),
    (torch.zeros(8), r"shape \(8,\)"),
    (torch.tensor(0.5), r"shape \(\)"),
    (torch.zeros(2, 0, 8), r"shape \(2, 0, 8\)"),
    (torch.zeros(2, 8, 0), r"shape \(2, 8, 0\)"),
    (image(value=torch.nan), "range from nan"),
    (image(value=torch.inf), "to inf"),
    (image(value=-torch.inf), "from -inf"),
    (image(value=-0.5), "range from -0.5"),
    (image(value=1.5), r"to 1\.5"),
    (torch.stack([image(), image(value=torch.nan)]), "range from nan"),
]


@pytest.mark.parametrize(("images", "says"), IMAGES)
@pytest.mark.parametrize("options", [{}, {"domain": "linear"}, {"q0": 0.5}])
def test_unfit_images_are_named(images, says, options):
    with pytest.raises(InputError, match=says):
        busaug.srad(images, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"q0": (0, 0, 9, 8)}, "9x8 px does not lie in an image of 8x8"),
        ({"q0": (0, 4, 8, 5)}, "column 4, 8x5 px"),
        ({"q0": (-1, 0, 4, 4)}, "row -1"),
        ({"q0": (0, 0, 0, 4)}, "0x4 px"),
        ({"q0": (2**62, 0, 2**62, 4)}, "row 4611686018427387904"),
        ({"q0": (0, 0, 4)}, r"q0=\(0, 0, 4\)"),
        ({"q0": (0, 0, 4, 4.5)}, r"q0=\(0, 0, 4, 4.5\)"),
        ({"q0": -0.1}, "q0=-0.1"),
        ({"q0": 0}, "q0=0"),
        ({"q0": float("nan")}, "q0=nan"),
        ({"q0": float("inf")}, "q0=inf"),
        ({"q0": "roi"}, "q0='roi'"),
        ({"q0": None}, "q0=None"),
        ({"scales": 0}, "scales=0"),
        ({"scales": 65}, "scales=65"),
        ({"scales": 2.5}, r"scales=2\.5"),
        ({"iterations": 0}, "iterations=0"),
        ({"iterations": -3}, "iterations=-3"),
        ({"time_step": 0.0}, r"time_step=0\.0"),
        ({"time_step": 1.5}, r"time_step=1\.5"),
        ({"time_step": float("nan")}, "time_step=nan"),
        ({"form": 3}, "form=3"),
        ({"domain": "db"}, "domain='db'"),
        ({"decay": -1.0}, r"decay=-1\.0"),
        ({"decay": float("nan")}, "decay=nan"),
    ],
)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_unfit_options_are_named(options, says, count):
    with pytest.raises(InputError, match=says):
        busaug.srad(image().expand(count, 8, 8), **options)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="lambda_"):
        busaug.srad(image(), lambda_=0.5)


def test_the_other_entries_refuse_likewise():
    with pytest.raises(InputError, match=r"to 1\.5"):
        quiet_window(image(value=1.5).numpy())
    with pytest.raises(InputError, match="to 300"):
        rodinia_v1(image(value=300.0), iterations=2)
    with pytest.raises(InputError, match="iterations=0"):
        rodinia_v1(image(), iterations=0)
    with pytest.raises(InputError, match="from -1"):
        uva(image(value=-1.0), (0, 0, 4, 4), iterations=2, time_step=0.5)
    with pytest.raises(InputError, match="9x4 px"):
        uva(image(), (0, 0, 9, 4), iterations=2, time_step=0.5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": torch.zeros(8, 8)}, "takes images"),
        ({"images": torch.zeros(1, 0, 8)}, "takes images"),
        ({"images": torch.zeros(1, 8, 8, dtype=torch.int64)}, "float32 or float64"),
        ({"regions": torch.zeros(1, 4)}, "takes regions"),
        ({"regions": torch.zeros(2, 4, dtype=torch.int64)}, "takes regions"),
        ({"ranges": torch.zeros(1, 3)}, "takes ranges"),
        ({"ranges": torch.zeros(1, 2, dtype=torch.float64)}, "takes ranges"),
        ({"scales": 0}, "scales is 0"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_op_checks_tensors_alike_when_traced(change, says, device):
    call = {"images": torch.zeros(1, 8, 8), "regions": None, "scales": 1, "ranges": None, **change}
    images, regions, ranges = (
        None if call[name] is None else call[name].to(device)
        for name in ("images", "regions", "ranges")
    )
    with pytest.raises(RuntimeError, match=says):
        srad_op(images, regions, call["scales"], 1, 0.5, 0.3, 0.0, 1, 0, ranges)


OPTIONS = {
    "shape": (1, 8, 8),
    "scales": 1,
    "iterations": 2,
    "time_step": 0.5,
    "q0": 0.3,
    "decay": 0.1,
    "form": 1,
    "correction": 0,
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (1, 0, 8)}, "extents"),
        ({"shape": (-1, 8, 8)}, "extents"),
        ({"scales": 0}, "scales"),
        ({"iterations": 0}, "iterations"),
        ({"time_step": 2.0}, "time_step"),
        ({"time_step": float("nan")}, "time_step"),
        ({"q0": float("nan")}, "q0"),
        ({"decay": -1.0}, "decay"),
        ({"form": 3}, "form"),
        ({"correction": 2}, "correction"),
        ({"dtype": "float16"}, "float16"),
        ({"threads": 0}, "threads"),
        ({"simd": "mmx"}, "mmx"),
        ({"images": 0}, "null"),
        ({"output": 16}, "null or equal"),
    ],
)
def test_the_native_module_checks_again(change, says):
    # nothing is read from these addresses: each call is refused before
    call = {"dtype": "float32", "images": 16, "regions": 0, "ranges": 0, "output": 32}
    call |= {"threads": 1, "simd": "auto"}
    options = {name: change.get(name, value) for name, value in OPTIONS.items()}
    call = {name: change.get(name, value) for name, value in call.items()}
    with pytest.raises(ValueError, match=says):
        _native.srad_cpu(params=_native.SradParams(**options), **call)


def test_a_tensor_is_no_address():
    call = {"dtype": "float32", "regions": 0, "ranges": 0, "output": 32, "threads": 1}
    with pytest.raises(TypeError):
        _native.srad_cpu(
            params=_native.SradParams(**OPTIONS), images=torch.ones(1), simd="auto", **call
        )


@pytest.mark.parametrize(
    "region",
    [
        [0, 0, 9, 8],
        [0, -1, 4, 4],
        [0, 0, 0, 4],
        [0, 0, 2**62, 2**62],
        [2**63 - 4, 0, 8, 4],
    ],
)
def test_the_native_module_reads_no_region_outside(region):
    with pytest.raises(ValueError, match="region"):
        srad_op(torch.ones(1, 8, 8), torch.tensor([region]), 1, 2, 0.5, 0.3, 0.1, 1)
