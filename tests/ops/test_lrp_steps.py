"""The kernels of the alpha-beta rule, step by step against their reference."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from devices import needs_kernels
from ops.lrp_cases import DTYPES, FORMATS, MAPS, draw, options, unit_maps
from simd import supported_simd
from tolerances import TOLERANCES

from busaug.ops import _launch, lrp_steps
from busaug.ops.lrp_steps import FACTORS
from busaug.reference import lrp as reference


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", MAPS)
class TestSteps:
    @pytest.mark.parametrize("kind", FACTORS)
    @pytest.mark.parametrize("zero_part", [True, False])
    @pytest.mark.parametrize("absorb_bias", [True, False])
    def test_quotients(self, shape, dtype, memory_format, kind, zero_part, absorb_bias):
        positive, linear, factor = unit_maps(shape, dtype, memory_format)
        bias = draw(shape[1], dtype=dtype, seed=5)
        for alpha in (2.0, 1.0):
            chosen = options(
                kind, alpha=alpha, beta=alpha - 1, zero_part=zero_part, absorb_bias=absorb_bias
            )
            expected = reference.quotients(
                positive, linear, bias, factor, **{k: v for k, v in chosen.items() if k != "parts"}
            )
            found, omitted = lrp_steps.quotients(positive, linear, bias, factor, chosen)
            assert torch.equal(found, expected)
            assert omitted == 0
            alone, omitted = lrp_steps.quotients(
                positive, linear, bias, factor, {**chosen, "parts": 1}
            )
            assert torch.equal(alone, expected[:, : shape[1]])
            assert omitted == int(expected[:, shape[1] :].count_nonzero())

    def test_rectified_sum(self, shape, dtype, memory_format):
        left, right, _ = unit_maps(shape, dtype, memory_format)
        bias = draw(shape[1], dtype=dtype)
        for other in (None, right):
            expected = reference.rectified_sum(left, other, bias)
            assert torch.equal(lrp_steps.rectified_sum(left, other, bias), expected)

    def test_split_and_merge(self, shape, dtype, memory_format):
        _, inputs, _ = unit_maps(shape, dtype, memory_format)
        split = lrp_steps.split(inputs)
        assert torch.equal(split, reference.split(inputs))
        positive, negative = split.chunk(2, dim=1)
        assert torch.equal(positive - negative, inputs)
        back = draw(*split.shape, dtype=dtype)
        merged = lrp_steps.merge(inputs, back)
        assert torch.equal(merged, reference.merge(inputs, back))
        both = (split * back).unflatten(1, (2, shape[1])).sum(1)
        assert torch.equal(inputs * merged, both)

    def test_product(self, shape, dtype, memory_format):
        left, right, _ = unit_maps(shape, dtype, memory_format)
        found, sums = lrp_steps.product(left, right)
        assert torch.equal(found, left * right)
        exact = found.double().flatten(1)
        expected = torch.stack([exact.sum(1), exact.abs().sum(1)], dim=1)
        torch.testing.assert_close(sums, expected, rtol=1e-13, atol=1e-13)


def test_product_sums_images_larger_than_a_block():
    left, right = draw(2, 3, 97, 101, dtype=torch.float32), draw(2, 3, 97, 101, seed=1).float()
    _, sums = lrp_steps.product(left, right)
    exact = (left * right).double().flatten(1)
    torch.testing.assert_close(sums[:, 0], exact.sum(1), rtol=0, atol=1e-10)
    torch.testing.assert_close(sums[:, 1], exact.abs().sum(1), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_threads_and_instruction_sets_give_the_same_bits(dtype, memory_format):
    shape = (3, 67, 23, 31)  # more than a thread's least share of elements
    positive, linear, factor = unit_maps(shape, dtype, memory_format)
    bias, back = draw(67, dtype=dtype), draw(3, 134, 23, 31, dtype=dtype)
    back = back.contiguous(memory_format=memory_format)
    results = []
    for threads, simd in itertools.product([1, 2, 4], supported_simd()):
        place = {"threads": threads, "simd": simd}
        quotients, merged = torch.empty_like(back), torch.empty_like(linear)
        split, rectified = torch.empty_like(back), torch.empty_like(linear)
        alone, product = torch.empty_like(linear), torch.empty_like(linear)
        sums = torch.empty(3, 7, 2, dtype=torch.float64)
        layer = (positive, linear, bias, factor)
        _launch.lrp_quotients(*layer, quotients, options("gradient"), **place)
        omitted = _launch.lrp_quotients(*layer, alone, options(parts=1), **place)
        _launch.lrp_rectified_sum(linear, factor, bias, rectified, **place)
        _launch.lrp_split(linear, split, **place)
        _launch.lrp_merge(linear, back, merged, **place)
        _launch.lrp_product(linear, factor, product, sums, **place)
        tensors = (quotients, alone, rectified, split, merged, product, sums)
        results.append((*tensors, torch.tensor(omitted)))
    for result in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(result, results[0], strict=True))


def test_callers_do_not_disturb_each_other():
    layers = [unit_maps((2, 16, 30, 20 + index), torch.float32) for index in range(8)]

    def quotients(maps):
        return lrp_steps.quotients(maps[0], maps[1], torch.zeros(16), maps[2], options())[0]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(quotients, layers))
    assert all(torch.equal(*pair) for pair in zip(together, map(quotients, layers), strict=True))


FORKED = """
import os, signal, torch
from busaug.ops import lrp_steps
torch.set_num_threads(2)
inputs = torch.ones(64, 4096)
before = lrp_steps.split(inputs)
child = os.fork()
if child == 0:
    signal.alarm(20)  # torch's own loops may wait for ever here: NumPy compares
    same = (lrp_steps.split(inputs).numpy() == before.numpy()).all()
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_does_not_wait_for_threads_it_lost():
    away = Path(__file__).anchor  # from the source tree, which holds no native module
    subprocess.run([sys.executable, "-c", FORKED], cwd=away, check=True, timeout=60)


@pytest.mark.cuda
@needs_kernels
class TestCuda:
    @pytest.mark.parametrize("memory_format", FORMATS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_steps_equal_the_cpu(self, dtype, memory_format):
        tolerance = TOLERANCES[f"lrp cuda step, {str(dtype)[6:]}"]
        for shape in MAPS:
            maps = unit_maps(shape, dtype, memory_format)
            positive, linear, factor = maps
            there = [each.cuda() for each in maps]
            bias, back = draw(shape[1], dtype=dtype), lrp_steps.split(linear)
            pairs = [
                (lrp_steps.split(linear), lrp_steps.split(there[1])),
                (lrp_steps.merge(linear, back), lrp_steps.merge(there[1], back.cuda())),
                *zip(
                    lrp_steps.product(linear, factor),
                    lrp_steps.product(there[1], there[2]),
                    strict=True,
                ),
            ]
            for other, other_there in ((None, None), (linear, there[1])):
                pairs.append(
                    (
                        lrp_steps.rectified_sum(positive, other, bias),
                        lrp_steps.rectified_sum(there[0], other_there, bias.cuda()),
                    )
                )
            for kind in FACTORS:
                here, _ = lrp_steps.quotients(positive, linear, bias, factor, options(kind))
                cuda, _ = lrp_steps.quotients(*there[:2], bias.cuda(), there[2], options(kind))
                pairs.append((here, cuda))
            for here, cuda in pairs:
                torch.testing.assert_close(cuda.cpu(), here, rtol=tolerance, atol=tolerance)

    def test_runs_on_the_current_stream(self):
        maps = [each.cuda() for each in unit_maps((8, 64, 64, 64), torch.float32)]
        bias = torch.zeros(64, device="cuda")
        expected, _ = lrp_steps.quotients(*maps[:2], bias, maps[2], options())
        late = torch.zeros_like(maps[2])
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            late.copy_(maps[2])
            found, _ = lrp_steps.quotients(*maps[:2], bias, late, options())
        stream.synchronize()
        assert torch.equal(found, expected)

    @pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
    def test_runs_on_the_tensors_device(self):
        inputs = draw(1, 3, 8, 8).float()
        found = lrp_steps.split(inputs.to("cuda:1"))
        assert found.device.index == 1
        assert torch.equal(found.cpu(), lrp_steps.split(inputs))
        assert torch.cuda.current_device() == 0
