"""The native diffusion against its reference, known figures, other threads and SIMD levels."""

from __future__ import annotations

import itertools

import numpy as np
import published_srad as published
import pytest
import torch
from devices import needs_kernels
from ops.srad_cases import OPTIONS, speckled
from tolerances import TOLERANCES

import busaug
from busaug.errors import BusaugError
from busaug.ops.srad import quiet_regions_op, rodinia_v1, srad_op, uva
from busaug.reference import srad as reference

DTYPES = [torch.float32, torch.float64]
# single rows and columns, odd, prime; the columns between the two at the border fill 8 or 16 lanes
# all but one, exactly, and all and one; so do the rows a team of two threads
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (13, 101), (64, 48)]
SHAPES += [(5, lanes + 2 + off) for lanes in (8, 16) for off in (-1, 0, 1)]
SHAPES += [(31, 7), (32, 7), (33, 7)]


def native(images, regions=None, ranges=None, **options):
    values = {**OPTIONS, **options}
    return srad_op(images, regions, *values.values(), ranges)


def twin(images, regions=None, ranges=None, **options):
    return reference.diffuse(images, regions, **{**OPTIONS, **options}, ranges=ranges)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", [1, 2])
def test_native_equals_reference(dtype, shape, form):
    tolerance = TOLERANCES[f"srad twin, {str(dtype)[6:]} absolute"]
    images = speckled(3, *shape, dtype=dtype)
    regions = reference.quiet_regions(images)
    ranges = reference.pixel_ranges(images)
    for where, limits, correction in itertools.product((None, regions), (None, ranges), (0, 1)):
        options = {"form": form, "correction": correction}
        expected = twin(
            images.double(), where, None if limits is None else limits.double(), **options
        )
        found = native(images, where, limits, **options)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_every_scale_is_the_image_after_so_many_iterations(iterations):
    images = speckled(2, 12, 15, dtype=torch.float64)
    for ranges in (None, reference.pixel_ranges(images)):
        found = native(images, None, ranges, scales=4, iterations=iterations)
        one_by_one = native(images, None, ranges, scales=4 * iterations, iterations=1)
        assert torch.equal(found, one_by_one[iterations - 1 :: iterations])


def test_strides_make_no_difference():
    images = speckled(2, 40, 30)
    regions = reference.quiet_regions(images)
    ranges = reference.pixel_ranges(images)
    expected = native(images, regions, ranges)
    strided = torch.empty(2, 80, 60)[:, ::2, ::2].copy_(images)
    assert torch.equal(native(strided, regions, ranges), expected)
    assert torch.equal(
        native(images.mT.contiguous().mT, regions, ranges.mT.contiguous().mT), expected
    )
    same = (images[:1].expand(3, 40, 30), regions[:1].expand(3, 4), ranges[:1].expand(3, 2))
    assert torch.equal(native(*same)[:, 2], expected[:, 0])
    assert torch.equal(busaug.srad(strided, scales=2), busaug.srad(images, scales=2))
    assert torch.equal(busaug.srad(same[0], scales=2)[:, 1], busaug.srad(images[0], scales=2))


def test_batch_dimensions_and_numpy():
    images = speckled(2, 3, 20, 24)
    found = busaug.srad(images, scales=2, iterations=3)
    assert found.shape == (2, 2, 3, 20, 24)
    alone = busaug.srad(images[1, 2].numpy(), scales=2, iterations=3)
    assert isinstance(alone, np.ndarray)
    np.testing.assert_array_equal(alone, found[:, 1, 2])
    as_found = images.numpy()
    backwards = np.ascontiguousarray(as_found[:, ::-1])[:, ::-1]
    read_only = as_found.copy()
    read_only.setflags(write=False)
    for array in (as_found, backwards, read_only, as_found.astype(">f4"), as_found.astype("<f4")):
        before = array.copy()
        np.testing.assert_array_equal(busaug.srad(array, scales=2, iterations=3), found)
        np.testing.assert_array_equal(array, before)
    assert busaug.srad(images[:0], scales=2, iterations=3).shape == (2, 0, 3, 20, 24)


def test_repeats_are_equal():
    images = speckled(2, 70, 50)
    assert torch.equal(busaug.srad(images), busaug.srad(images))


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_diffusion_keeps_the_mean(dtype):
    images = speckled(2, 64, 64, dtype=dtype)
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", [1, 2])
def test_a_lone_pixel_among_zeros_has_no_coefficient(dtype, form):
    """The four-neighbour mean there is 0, q infinite; the flux is that of its two neighbours."""
    images = torch.zeros(1, 7, 9, dtype=dtype)
    images[0, 3, 4] = value = 0.8
    q0, step = 0.3, 0.5 / 4
    # at a neighbour one difference is `value`: q^2 = (1/2 - 1/16) value^2 / (value / 4)^2 = 7
    ratio = (7 - q0**2) / (q0**2 * (1 + q0**2))
    flux = step * value * (1 / (1 + ratio) if form == 1 else np.exp(-ratio))
    expected = images.double().clone()
    expected[0, 3, 4] -= 2 * flux
    expected[0, 4, 4] = expected[0, 3, 5] = flux
    found = native(images, q0=q0, form=form, scales=1, iterations=1)[0]
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol=TOLERANCES[f"srad twin, {str(dtype)[6:]} absolute"]
    )
    assert torch.equal(found == 0, expected == 0)


@pytest.mark.parametrize("form", [1, 2])
def test_black_pixels_are_harmless(form):
    images = speckled(1, 40, 40)
    images[:, 10:30, 5:20] = 0.0
    images[:, 3, 3] = 0.0
    for q0 in ("auto", "image", (10, 5, 8, 8), 1e-12, 2.0):
        result = busaug.srad(images, q0=q0, domain="linear", form=form)
        assert result.isfinite().all()
        assert result.min() >= 0
        assert result.max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rodinia_v1_is_reproduced(dtype):
    levels = np.random.default_rng(1).integers(0, 256, (2, 19, 23)).astype(dtype)
    found = rodinia_v1(torch.from_numpy(levels), iterations=12)
    expected = np.stack([published.rodinia_v1(image, 12) for image in levels])
    np.testing.assert_allclose(found, expected, rtol=TOLERANCES["srad parity, float32"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rodinia_v2_is_reproduced(dtype):
    # random exp(U[0, 1]) with the region of its command line, intensities in and out
    values = np.exp(np.random.default_rng(2).random((32, 16))).astype(dtype)
    expected = published.published(values, 10, 0.5, region=(0, 0, 16, 16))
    region = torch.tensor([[0, 0, 16, 16]])
    (found,) = native(torch.from_numpy(values)[None], region, scales=1, iterations=10)[0]
    np.testing.assert_allclose(found, expected, rtol=TOLERANCES["srad parity, float32"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uva_is_reproduced(dtype):
    levels = np.random.default_rng(3).uniform(20, 200, (2, 17, 13)).astype(dtype)
    region = (2, 3, 8, 6)
    found = uva(torch.from_numpy(levels), region, iterations=6, time_step=0.2)
    expected = np.stack([published.uva(image, region, 6, 0.2) for image in levels.astype(float)])
    tolerance = TOLERANCES[f"srad twin, {dtype.__name__} absolute"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_published_noise_figures():
    """Fall of the coefficient of variation of nine-look speckle, linear, q0 from the region."""
    published = np.array([0.124, 0.085, 0.067, 0.058, 0.051, 0.046, 0.042, 0.038]) / 0.343
    ratios = []
    for seed in range(4):
        image = speckled(256, 256, dtype=torch.float64, seed=seed)
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
    image = speckled(96, 96, dtype=torch.float64, seed=3) * step / 0.75
    image = image / image.max()
    before = image[:, 52:].mean() - image[:, :44].mean()
    after = busaug.srad(image, q0=(0, 56, 40, 40), domain="linear", scales=4)[-1]
    assert after[:, 52:].mean() - after[:, :44].mean() > 0.9 * before
    assert after[:, 52:].std() < 0.4 * image[:, 52:].std()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 2])
def test_op_contract(dtype, count):
    images = speckled(2, 20, 24, dtype=dtype)
    regions = torch.tensor([[0, 0, 8, 8], [4, 4, 10, 10]])
    ranges = reference.pixel_ranges(images)
    options = (2, 3, 0.5, 0.3, 0.1, 1)
    for where, limits in itertools.product((None, regions[:count]), (None, ranges[:count])):
        torch.library.opcheck(srad_op, (images[:count], where, *options, 1, limits))
    torch.library.opcheck(srad_op, (images[:count].mT, None, *options))


def test_traced_as_a_whole():
    def despeckled_logarithm(images):
        ranges = reference.pixel_ranges(images)
        regions = quiet_regions_op(images, ranges)
        return srad_op(images, regions, 2, 3, 0.5, 0.0, 0.0, 1, 0, ranges).log1p()

    images = speckled(2, 40, 48)
    traced = torch.compile(despeckled_logarithm, fullgraph=True, backend="aot_eager")
    assert torch.equal(traced(images), despeckled_logarithm(images))


def test_a_gradient_is_refused_rather_than_missing():
    images = speckled(1, 20, 24, dtype=torch.float64).requires_grad_()
    with pytest.raises(NotImplementedError, match=r"busaug\.reference\.srad"):
        native(images).sum().backward()


def test_a_missing_native_module_is_explained(monkeypatch):
    import sys

    from busaug.ops import _backend

    monkeypatch.setitem(sys.modules, "busaug._native", None)
    monkeypatch.delattr(busaug, "_native", raising=False)
    with pytest.raises(BusaugError, match="pip install"):
        _backend.native.__wrapped__()


@pytest.mark.cuda
@needs_kernels
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
        images = speckled(3, 65, 131)
        found = busaug.srad(images.cuda()).cpu()
        tolerance = TOLERANCES["srad cuda, float32 absolute"]
        torch.testing.assert_close(found, busaug.srad(images), rtol=0, atol=tolerance)

    def test_repeats_are_equal_and_strides_make_no_difference(self):
        images = speckled(2, 70, 50).cuda()
        regions = reference.quiet_regions(images)
        expected = native(images, regions)
        assert torch.equal(native(images, regions), expected)
        assert torch.equal(native(images.mT.contiguous().mT, regions), expected)

    def test_linear_diffusion_keeps_the_mean(self):
        images = speckled(2, 64, 64).cuda()
        result = busaug.srad(images, domain="linear")
        drift = result.double().mean((-2, -1)) - images.double().mean((-2, -1))
        assert drift.abs().max() < TOLERANCES["srad mean drift, absolute"]

    def test_runs_on_the_current_stream(self):
        images = speckled(2, 256, 256).cuda()
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
        images = speckled(1, 32, 32)
        found = busaug.srad(images.to("cuda:1"))
        assert found.device.index == 1
        assert torch.cuda.current_device() == 0
