"""The CUDA kernels of the alpha-beta rule, emulated: the bits of the CPU, sums apart."""

from __future__ import annotations

import pytest
import torch
from emulator.device import ORDERS, Setting
from tolerances import TOLERANCES

from busaug.ops import lrp_steps

SHAPES = [(1, 1), (2, 3), (1, 5, 7), (2, 3, 4, 5), (3, 16, 5, 7)]
FORMATS = [torch.contiguous_format, torch.channels_last]
RULE = {"alpha": 2.0, "beta": 1.0, "rounding": 1e-3, "zero_part": True, "absorb_bias": False}


def maps(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def as_it_lies(tensor):
    return tensor.flatten() if tensor.is_contiguous() else tensor.movedim(1, -1).flatten()


def cases(dtype):
    for shape in SHAPES:
        for memory_format in FORMATS if len(shape) == 4 else FORMATS[:1]:
            yield [
                maps(*shape, dtype=dtype, seed=seed).contiguous(memory_format=memory_format)
                for seed in range(3)
            ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
class TestSteps:
    def test_split_and_merge(self, emulated, dtype):
        for inputs, *_ in cases(dtype):
            split = lrp_steps.split(inputs)
            assert torch.equal(emulated.lrp("split", inputs)[0], as_it_lies(split))
            merged, _ = emulated.lrp("merge", inputs, split)
            assert torch.equal(merged, as_it_lies(lrp_steps.merge(inputs, split)))

    def test_rectified_sum(self, emulated, dtype):
        for left, right, _ in cases(dtype):
            bias = maps(left.shape[1], dtype=dtype, seed=9)
            both, _ = emulated.lrp("rectified_sum", left, right, bias, alone=0)
            assert torch.equal(both, as_it_lies(lrp_steps.rectified_sum(left, right, bias)))
            alone, _ = emulated.lrp("rectified_sum", left, bias, alone=1)
            assert torch.equal(alone, as_it_lies(lrp_steps.rectified_sum(left, None, bias)))

    @pytest.mark.parametrize("kind", [0, 1, 2])
    def test_quotients(self, emulated, dtype, kind):
        for positive, linear, factor in cases(dtype):
            given = (positive.clamp_min(0), torch.minimum(linear, positive.clamp_min(0)))
            bias = maps(positive.shape[1], dtype=dtype, seed=9)
            expected, _ = lrp_steps.quotients(
                *given, bias, factor, {**RULE, "factor_kind": kind, "parts": 2}
            )
            found, _ = emulated.lrp("quotients", *given, bias, factor, **RULE, factor_kind=kind)
            assert torch.equal(found, as_it_lies(expected))

    @pytest.mark.parametrize("setting", ORDERS, ids=lambda setting: setting.order)
    def test_product(self, emulated, dtype, setting):
        for left, right, _ in cases(dtype):
            expected, totals = lrp_steps.product(left, right)
            found, sums = emulated.lrp("product", left, right, blocks=3, setting=setting)
            assert torch.equal(found, as_it_lies(expected))
            found_totals = torch.frombuffer(bytearray(sums), dtype=torch.float64)
            torch.testing.assert_close(
                found_totals.view(len(left), 3, 2).sum(1),
                totals.view(len(left), -1, 2).sum(1),
                rtol=TOLERANCES["lrp emulated sums"],
                atol=TOLERANCES["lrp emulated sums"],
            )


def test_a_grid_of_another_size_gives_the_same(emulated):
    inputs = maps(5, 7, 11, 13)
    found, _ = emulated.lrp("split", inputs, setting=Setting(multiprocessors=1))
    assert torch.equal(found, as_it_lies(lrp_steps.split(inputs)))
