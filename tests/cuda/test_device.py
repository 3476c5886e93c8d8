"""On a CUDA device: what emulation cannot tell. Streams, graphs, devices, the allocator, errors.

Parity of every op with its twin stands in tests/ops.
"""

from __future__ import annotations

import pytest
import torch
from devices import needs_kernels
from ops import srad_cases
from ops.srad_cases import speckled
from tolerances import TOLERANCES

from busaug.ops import _launch
from busaug.ops._backend import has_cuda_kernels, native
from busaug.ops.srad import srad_op
from busaug.reference.srad import whole_regions

OPTIONS = {**srad_cases.OPTIONS, "iterations": 4}
# on the chip: one block, clusters, rows that are not aligned; through memory: the last two
SHAPES = [(1, 1), (3, 17), (64, 48), (128, 128), (256, 256), (255, 257), (301, 233), (500, 700)]


def srad(images, regions=None, ranges=None, **options):
    return srad_op(images, regions, *{**OPTIONS, **options}.values(), ranges)


def srad_inputs(*shape, dtype=torch.float32, device="cuda"):
    """Images, regions and ranges of a batch."""
    images = speckled(*shape, dtype=dtype)
    ranges = torch.stack([images.amin((1, 2)), images.amax((1, 2))], dim=1)
    regions = whole_regions(images).contiguous()
    return images.to(device), regions.to(device), ranges.to(device)


def gram_inputs(batch, channels, positions, dtype=torch.float32, device="cuda"):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, positions, generator=generator).relu().to(dtype)
    wide = features.float()
    return features.to(device), (wide @ wide.mT / positions + 1).to(device)


def gram_difference(features, target):
    difference, loss = torch.empty_like(target), target.new_empty(len(target))
    _launch.gram_difference_cuda(features, target, difference, loss)
    return torch.cat([difference.flatten(), loss])


TASKS = {
    "srad on the chip": (srad, lambda: srad_inputs(4, 200, 256)),
    "srad in memory": (srad, lambda: srad_inputs(1, 600, 600, dtype=torch.float64)),
    "gram, shared tiles": (gram_difference, lambda: gram_inputs(2, 64, 12544)),
    "gram, several tiles": (gram_difference, lambda: gram_inputs(2, 512, 784, torch.bfloat16)),
}


@pytest.fixture(params=TASKS)
def task(request):
    run, inputs = TASKS[request.param]
    return run, inputs()


@pytest.mark.cuda
@needs_kernels
class TestBits:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
    def test_srad_gives_those_of_the_cpu(self, shape, dtype):
        here = srad_inputs(3, *shape, dtype=dtype, device="cpu")
        there = [each.cuda() for each in here]
        for form in (1, 2):
            for chosen in ([0], [0, 1], [0, 1, 2]):
                expected = srad(*(here[i] for i in chosen), form=form)
                assert torch.equal(srad(*(there[i] for i in chosen), form=form).cpu(), expected)

    def test_an_image_depends_on_no_other(self):
        """Batches are shared among clusters of other sizes."""
        images, regions, ranges = srad_inputs(300, 64, 64)
        together = srad(images, regions, ranges)
        for some in (slice(0, 1), slice(7, 40)):
            alone = srad(images[some], regions[some], ranges[some])
            assert torch.equal(alone, together[:, some])

    def test_repeats_are_equal(self, task):
        run, inputs = task
        expected = run(*inputs)
        for _ in range(10):
            assert torch.equal(run(*inputs), expected)


@pytest.mark.cuda
@needs_kernels
@pytest.mark.parametrize("layout", ["positions", "channels"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gram_difference_equals_products_in_float64(dtype, layout):
    for shape in [(1, 1, 1), (2, 17, 31), (2, 63, 33), (2, 65, 49), (1, 130, 2050), (2, 256, 196)]:
        features, target = gram_inputs(*shape, dtype)
        exact = features.double()
        if dtype == torch.float32:  # of their roundings to TF32
            bits = (features.view(torch.int32) + 0x1000) & ~0x1FFF
            exact = bits.view(torch.float32).double()
        gram = exact @ exact.mT / shape[2]
        given = features.mT.contiguous().mT if layout == "channels" else features
        found = gram_difference(given, target)
        difference = found[: -shape[0]].view(target.shape)
        error = (difference - (gram - target.double())).abs().max()
        assert error <= TOLERANCES["gram difference of max|G|, device"] * gram.max()
        assert torch.equal(difference, difference.mT)
        loss = difference.double().square().sum((1, 2)) / (4 * shape[1] ** 2)
        torch.testing.assert_close(found[-shape[0] :].double(), loss, rtol=1e-6, atol=0)


@pytest.mark.cuda
@needs_kernels
class TestQueue:
    def test_runs_on_the_current_stream(self, task):
        """Its input is written late on a side stream: another stream would read zeros."""
        run, (first, *others) = task
        expected = run(first, *others)
        late = torch.zeros_like(first)
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            late.copy_(first)
            found = run(late, *others)
        stream.synchronize()
        assert torch.equal(found, expected)

    def test_can_be_captured_in_a_graph(self, task):
        """Which forbids allocations of its own, waiting, and other streams."""
        run, (first, *others) = task
        expected = run(first, *others)
        given = torch.zeros_like(first)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = run(given, *others)
        given.copy_(first)
        for _ in range(2):
            found.zero_()
            graph.replay()
            torch.cuda.synchronize()
            assert torch.equal(found, expected)

    def test_memory_is_not_used_again_too_early(self, task):
        """Temporaries die while kernels still run; the allocator hands their memory out again."""
        run, inputs = task
        expected = run(*inputs)
        for _ in range(30):
            found = run(*inputs)
            rubbish = [torch.full_like(expected, torch.nan) for _ in range(3)]
            again = run(*inputs)
            del rubbish
            assert torch.equal(found, expected)
            assert torch.equal(again, expected)

    @pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
    def test_runs_on_the_tensors_device(self, task):
        run, inputs = task
        expected = run(*inputs)
        found = run(*(each.to("cuda:1") for each in inputs))
        assert found.device.index == 1
        assert torch.cuda.current_device() == 0
        assert torch.equal(found.cpu(), expected.cpu())


@pytest.mark.cuda
@needs_kernels
class TestErrors:
    def test_a_refused_call_is_an_error_and_the_process_lives(self, task):
        run, inputs = task
        expected = run(*inputs)
        params = native().SradParams(shape=(1, 8, 8), **OPTIONS)
        with pytest.raises(RuntimeError, match="cudaSetDevice"):
            native().srad_cuda_workspace(params=params, dtype="float32", device=99)
        torch.cuda.synchronize()  # no error is left for torch to find
        assert torch.cuda.current_device() == 0
        assert torch.equal(run(*inputs), expected)

    def test_a_region_outside_is_not_read(self):
        """busaug.ops refuses it; the kernels stay inside all the same."""
        regions = torch.tensor([[0, 0, 2**40, 2**40], [-5, 90, 2**62, 2**62]], device="cuda")
        for side in (64, 600):
            found = srad(speckled(2, side, side).cuda(), regions)
            assert found.isfinite().all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.skipif(not has_cuda_kernels(), reason="no CUDA kernels in this build")
def test_without_a_device_a_native_call_is_an_error_and_the_process_lives():
    params = native().SradParams(shape=(1, 8, 8), **OPTIONS)
    with pytest.raises(RuntimeError, match="cudaGetDevice"):
        native().srad_cuda_workspace(params=params, dtype="float32", device=0)
    task = native().GramTask(shape=(1, 8, 8), dtype="float32", channels_innermost=False)
    addresses = dict.fromkeys(("features", "difference", "loss", "workspace"), 16)
    with pytest.raises(RuntimeError, match="cudaGetDevice"):
        native().gram_difference_cuda(task=task, **addresses, target=32, device=0, stream=0)


@pytest.mark.skipif(not has_cuda_kernels(), reason="no CUDA kernels in this build")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (1, 0, 8)}, "extents"),
        ({"shape": (1, 2**17, 8)}, "channels"),
        ({"shape": (2**31, 65, 8)}, "blocks"),
        ({"dtype": "float64"}, "float64"),
    ],
)
def test_the_native_module_checks_the_gram_task(change, says):
    given = {"shape": (1, 8, 8), "dtype": "float32", "channels_innermost": False, **change}
    with pytest.raises(ValueError, match=says):
        native().gram_difference_cuda_workspace(task=native().GramTask(**given))


@pytest.mark.skipif(not has_cuda_kernels(), reason="no CUDA kernels in this build")
def test_the_native_module_checks_pointers():
    task = native().GramTask(shape=(1, 8, 8), dtype="float32", channels_innermost=False)
    call = dict.fromkeys(("features", "target", "loss", "workspace"), 16)
    with pytest.raises(ValueError, match="null or equal"):
        native().gram_difference_cuda(task=task, **call, difference=16, device=0, stream=0)
    with pytest.raises(TypeError):
        native().gram_difference_cuda(
            task=task, **call, difference=torch.ones(1), device=0, stream=0
        )
