"""Threads, SIMD levels, concurrent callers and forked workers change no bit of the diffusion."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from ops.srad_cases import OPTIONS, speckled
from simd import supported_simd

import busaug
from busaug.ops import _launch
from busaug.ops.srad import srad_op
from busaug.reference import srad as reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("compressed", [True, False])
def test_threads_and_instruction_sets_give_the_same_bits(dtype, count, form, compressed):
    images = speckled(count, 67, 53, dtype=dtype)
    regions = reference.whole_regions(images).contiguous()
    ranges = reference.pixel_ranges(images) if compressed else None
    options = {**OPTIONS, "form": form}
    outputs = []
    for threads, simd in itertools.product([1, 2, 4, 5], supported_simd()):
        output = torch.full((3, *images.shape), torch.nan, dtype=dtype)
        arrays = _launch.SradArrays(images, regions, ranges, output)
        _launch.srad_cpu(arrays, options, threads=threads, simd=simd)
        outputs.append(output)
    for output in outputs[1:]:
        assert torch.equal(output, outputs[0])


@pytest.mark.parametrize("count", [1, 5])
def test_public_function_gives_the_same_bits_with_any_number_of_threads(count):
    images = speckled(count, 151, 133)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            results.append(busaug.srad(images, scales=2))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert torch.equal(result, results[0])


def test_callers_do_not_disturb_each_other():
    images = [speckled(60, 40 + index, seed=index) for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(busaug.srad, images))
    for found, image in zip(together, images, strict=True):
        assert torch.equal(found, busaug.srad(image))


class Despeckled(torch.utils.data.Dataset):
    """What a training set does in its workers."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        output = torch.empty(3, *image.shape)
        arrays = _launch.SradArrays(image[None], None, None, output[:, None])
        _launch.srad_cpu(arrays, OPTIONS, threads=2)
        return output, busaug.srad(image, scales=3)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_forked_workers_neither_hang_nor_err():
    images = speckled(4, 96, 64)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # the parent has threads of its own before it forks
        expected = srad_op(images, None, *OPTIONS.values()), busaug.srad(images, scales=3)
        workers = torch.utils.data.DataLoader(
            Despeckled(images),
            batch_size=2,
            num_workers=2,
            multiprocessing_context="fork",
            timeout=30,
        )
        found = [torch.cat(part).transpose(0, 1) for part in zip(*workers, strict=True)]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
