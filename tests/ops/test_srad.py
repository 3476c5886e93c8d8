"""The native diffusion against its reference, known figures, other threads and SIMD levels."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tolerances import TOLERANCES

import busaug
from busaug.errors import BusaugError, InputError
from busaug.ops import _launch
from busaug.ops._backend import build_info, has_cuda_kernels
from busaug.ops.srad import srad_op
from busaug.reference import srad as reference

DTYPES = [torch.float32, torch.float64]
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 17), (16, 16), (31, 33), (64, 48)]
OPTIONS = {"scales": 3, "iterations": 2, "time_step": 0.5, "q0": 0.4, "decay": 0.1, "form": 1}


def speckled(*shape, dtype=torch.float64, seed=0):
    """Nine-look gamma speckle in [0, 1]."""
    values = np.random.default_rng(seed).gamma(9, 1 / 9, shape)
    return torch.from_numpy(values / values.max()).to(dtype)


def native(images, regions=None, **options):
    values = {**OPTIONS, **options}
    return srad_op(images, regions, *values.values())


def twin(images, regions=None, **options):
    return reference.diffuse(images, regions, **{**OPTIONS, **options})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", [1, 2])
def test_native_equals_reference(dtype, shape, form):
    tolerance = TOLERANCES[f"srad twin, {str(dtype)[6:]} absolute"]
    images = speckled(3, *shape, dtype=dtype).to()
    regions = reference.quiet_regions(images)
    exact = images.double()
    for where in (None, regions):
        expected = twin(exact, where, form=form)
        found = native(images, where, form=form)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_every_scale_is_the_image_after_so_many_iterations(iterations):
    images = speckled(2, 12, 15)
    found = native(images, scales=4, iterations=iterations)
    one_by_one = native(images, scales=4 * iterations, iterations=1)
    assert torch.equal(found, one_by_one[iterations - 1 :: iterations])


def test_strides_make_no_difference():
    images = speckled(2, 40, 30, dtype=torch.float32).to()
    regions = reference.quiet_regions(images)
    expected = native(images, regions)
    strided = torch.empty(2, 80, 60)[:, ::2, ::2].copy_(images)
    assert torch.equal(native(strided, regions), expected)
    assert torch.equal(native(images.mT.contiguous().mT, regions), expected)
    expanded = images[:1].expand(3, 40, 30)
    assert torch.equal(native(expanded, regions[:1].expand(3, 4))[:, 2], expected[:, 0])


def test_batch_dimensions_and_numpy():
    images = speckled(2, 3, 20, 24, dtype=torch.float32)
    found = busaug.srad(images, scales=2, iterations=3)
    assert found.shape == (2, 2, 3, 20, 24)
    alone = busaug.srad(images[1, 2].numpy(), scales=2, iterations=3)
    assert isinstance(alone, np.ndarray)
    np.testing.assert_array_equal(alone, found[:, 1, 2])
    backwards = images.numpy()[:, ::-1][:, ::-1].astype(">f4")
    np.testing.assert_array_equal(busaug.srad(backwards, scales=2, iterations=3), found)
    assert busaug.srad(images[:0], scales=2, iterations=3).shape == (2, 0, 3, 20, 24)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("form", [1, 2])
def test_threads_and_instruction_sets_give_the_same_bits(dtype, count, form):
    images = speckled(count, 67, 53, dtype=dtype)
    regions = reference.whole_regions(images).contiguous()
    options = {**OPTIONS, "form": form}
    outputs = []
    for threads, simd in itertools.product([1, 2, 5], supported_simd()):
        output = torch.full((3, *images.shape), torch.nan, dtype=dtype)
        _launch.srad_cpu(images, regions, output, options, threads=threads, simd=simd)
        outputs.append(output)
    for output in outputs[1:]:
        assert torch.equal(output, outputs[0])


def test_public_function_gives_the_same_bits_with_any_number_of_threads():
    image = speckled(301, 233, dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(busaug.srad(image, scales=2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_callers_do_not_disturb_each_other():
    images = [speckled(1, 60, 40 + index, seed=index) for index in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(native, images))
    assert all(
        torch.equal(found, native(image)) for found, image in zip(together, images, strict=True)
    )


def supported_simd():
    levels = build_info()["simd"]
    return levels[: levels.index(build_info()["simd_in_use"]) + 1]


def test_repeats_are_equal():
    images = speckled(2, 70, 50, dtype=torch.float32).to()
    regions = reference.quiet_regions(images)
    assert torch.equal(native(images, regions), native(images, regions))


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_diffusion_keeps_the_mean(dtype):
    images = speckled(2, 64, 64, dtype=dtype).to()
    result = busaug.srad(images, domain="linear")
    drift = result.double().mean((-2, -1)) - images.double().mean((-2, -1))
    assert drift.abs().max() < TOLERANCES["srad mean drift, absolute"]


@pytest.mark.parametrize("domain", ["log", "linear"])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("q0", ["auto", "image", (0, 0, 4, 4), 0.5])
def test_a_constant_image_stays(domain, value, q0):
    images = torch.full((1, 40, 40), value)
    result = busaug.srad(images, scales=2, iterations=5, domain=domain, q0=q0)
    assert torch.equal(result, images.expand(2, 1, 40, 40))


@pytest.mark.parametrize("form", [1, 2])
def test_black_pixels_are_harmless(form):
    images = speckled(1, 40, 40, dtype=torch.float32)
    images[:, 10:30, 5:20] = 0.0
    images[:, 3, 3] = 0.0
    for q0 in ("auto", "image", (10, 5, 8, 8), 1e-12, 2.0):
        result = busaug.srad(images, q0=q0, domain="linear", form=form)
        assert result.isfinite().all()
        assert result.min() >= 0
        assert result.max() <= 1


def test_published_noise_figures():
    """Fall of the coefficient of variation of nine-look speckle, linear, q0 from the region."""
    published = np.array([0.124, 0.085, 0.067, 0.058, 0.051, 0.046, 0.042, 0.038]) / 0.343
    ratios = []
    for seed in range(4):
        image = speckled(256, 256, seed=seed)
        scales = busaug.srad(image, q0=(0, 0, 128, 128), domain="linear")
        ratios.append([float(variation(scale) / variation(image)) for scale in scales])
    np.testing.assert_allclose(
        np.mean(ratios, axis=0), published, rtol=TOLERANCES["srad noise figures"]
    )


def variation(image):
    region = image[:128, :128]
    return region.std() / region.mean()


def test_edges_outlive_speckle():
    """The point of SRAD: a step of four speckle deviations keeps its height, speckle does not."""
    step = torch.where(torch.arange(96) < 48, 0.25, 0.75)
    image = speckled(96, 96, seed=3) * step / 0.75
    image = image / image.max()
    before = image[:, 52:].mean() - image[:, :44].mean()
    after = busaug.srad(image, q0=(0, 56, 40, 40), domain="linear", scales=4)[-1]
    assert after[:, 52:].mean() - after[:, :44].mean() > 0.9 * before
    assert after[:, 52:].std() < 0.4 * image[:, 52:].std()


def test_op_contract():
    images = speckled(2, 20, 24, dtype=torch.float32)
    regions = torch.tensor([[0, 0, 8, 8], [4, 4, 10, 10]])
    for where in (None, regions):
        torch.library.opcheck(srad_op, (images, where, 2, 3, 0.5, 0.3, 0.1, 1))


def test_a_gradient_is_refused_rather_than_missing():
    images = speckled(1, 20, 24).requires_grad_()
    with pytest.raises(NotImplementedError, match=r"busaug\.reference\.srad"):
        native(images).sum().backward()


def with_value(value):
    image = speckled(8, 8)
    image[3, 4] = value
    return image


@pytest.mark.parametrize(
    ("images", "options", "says"),
    [
        (torch.zeros(8, 8, dtype=torch.uint8), {}, "dtype uint8"),
        (torch.zeros(8, 8, dtype=torch.float16), {}, "dtype float16"),
        (np.zeros((8, 8), np.int32), {}, "dtype int32"),
        (torch.zeros(8), {}, r"shape \(8,\)"),
        (torch.zeros(2, 0, 8), {}, r"shape \(2, 0, 8\)"),
        (with_value(torch.nan), {}, "range from nan"),
        (with_value(torch.inf), {}, "to inf"),
        (with_value(-0.5), {}, "range from -0.5"),
        (with_value(1.5), {}, r"to 1\.5"),
        (speckled(8, 8), {"q0": (0, 0, 9, 8)}, "9x8 px does not lie in an image of 8x8"),
        (speckled(8, 8), {"q0": (-1, 0, 4, 4)}, "row -1"),
        (speckled(8, 8), {"q0": (0, 0, 0, 4)}, "0x4 px"),
        (speckled(8, 8), {"q0": -0.1}, "q0=-0.1"),
        (speckled(8, 8), {"q0": "roi"}, "q0='roi'"),
        (speckled(8, 8), {"scales": 0}, "scales=0"),
        (speckled(8, 8), {"iterations": 0}, "iterations=0"),
        (speckled(8, 8), {"time_step": 1.5}, "time_step=1.5"),
        (speckled(8, 8), {"form": 3}, "form=3"),
        (speckled(8, 8), {"domain": "db"}, "domain='db'"),
        (speckled(8, 8), {"decay": -1.0}, "decay=-1.0"),
    ],
)
def test_bad_input_is_named(images, options, says):
    with pytest.raises(InputError, match=says):
        busaug.srad(images, **options)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (1, 0, 8)}, "extents"),
        ({"scales": 0}, "scales"),
        ({"time_step": 2.0}, "time_step"),
        ({"form": 3}, "form"),
        ({"dtype": "float16"}, "float16"),
        ({"threads": 0}, "threads"),
        ({"simd": "mmx"}, "mmx"),
        ({"images": 0}, "null"),
        ({"output": 16}, "null or equal"),
    ],
)
def test_the_native_module_checks_again(change, says):
    from busaug import _native

    # nothing is read from these addresses: each call is refused before
    call = {"images": 16, "regions": 0, "output": 32, "dtype": "float32", "shape": (1, 8, 8)}
    with pytest.raises(ValueError, match=says):
        _native.srad_cpu(**{**call, **OPTIONS, "threads": 1, "simd": "auto", **change})


def test_a_tensor_is_no_address():
    from busaug import _native

    call = {"regions": 0, "output": 32, "dtype": "float32", "shape": (1, 1, 1)}
    with pytest.raises(TypeError):
        _native.srad_cpu(images=torch.ones(1), **call, **OPTIONS, threads=1, simd="auto")


@pytest.mark.parametrize(
    "regions",
    [
        torch.tensor([[0, 0, 9, 8]]),
        torch.tensor([[0, -1, 4, 4]]),
        torch.tensor([[0, 0, 2**62, 2**62]]),
    ],
)
def test_the_native_module_reads_no_region_outside(regions):
    with pytest.raises(ValueError, match="region"):
        native(speckled(1, 8, 8), regions)


def test_a_missing_native_module_is_explained(monkeypatch):
    import sys

    from busaug.ops import _backend

    monkeypatch.setitem(sys.modules, "busaug._native", None)
    monkeypatch.delattr(busaug, "_native", raising=False)
    with pytest.raises(BusaugError, match="pip install"):
        _backend.native.__wrapped__()


@pytest.mark.cuda
@pytest.mark.skipif(
    not (torch.cuda.is_available() and has_cuda_kernels()), reason="no CUDA device or kernels"
)
class TestCuda:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("form", [1, 2])
    def test_equals_reference(self, dtype, form):
        tolerance = TOLERANCES[f"srad twin, {str(dtype)[6:]} absolute"]
        for shape in SHAPES:
            images = speckled(3, *shape, dtype=dtype)
            for regions in (None, reference.quiet_regions(images)):
                expected = twin(images.double(), regions, form=form)
                there = None if regions is None else regions.cuda()
                found = native(images.cuda(), there, form=form).cpu()
                torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)

    def test_public_function_equals_the_cpu(self):
        images = speckled(3, 65, 131, dtype=torch.float32)
        found = busaug.srad(images.cuda()).cpu()
        tolerance = TOLERANCES["srad cuda, float32 absolute"]
        torch.testing.assert_close(found, busaug.srad(images), rtol=0, atol=tolerance)

    def test_repeats_are_equal_and_strides_make_no_difference(self):
        images = speckled(2, 70, 50, dtype=torch.float32).cuda()
        regions = reference.quiet_regions(images)
        expected = native(images, regions)
        assert torch.equal(native(images, regions), expected)
        assert torch.equal(native(images.mT.contiguous().mT, regions), expected)

    def test_linear_diffusion_keeps_the_mean(self):
        images = speckled(2, 64, 64, dtype=torch.float32).cuda()
        result = busaug.srad(images, domain="linear")
        drift = result.double().mean((-2, -1)) - images.double().mean((-2, -1))
        assert drift.abs().max() < TOLERANCES["srad mean drift, absolute"]

    def test_runs_on_the_current_stream(self):
        images = speckled(2, 256, 256, dtype=torch.float32).cuda()
        regions = reference.quiet_regions(images)
        expected = native(images, regions)
        late = torch.zeros_like(images)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)
            late.copy_(images)
            found = native(late, regions)
        stream.synchronize()
        assert torch.equal(found, expected)

    @pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
    def test_runs_on_the_tensors_device(self):
        images = speckled(1, 32, 32, dtype=torch.float32)
        found = busaug.srad(images.to("cuda:1"))
        assert found.device.index == 1
        assert torch.cuda.current_device() == 0
