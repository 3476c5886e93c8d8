"""The package's own convolutions against torch's, with what follows them in a frozen network.

Layers are those of a ResNet-50 up to layer3 at 160 x 160, batch 8. And how far the features of both
are from those in float64.
"""

from __future__ import annotations

import pytest
import torch
from test_engine import images, threads
from torch.nn import functional

from busaug.models.weights import find_weights, random_weights, resolve_weights
from busaug.ops.convolution import has_convolutions, pack, pointwise_op, winograd_op
from busaug.style.features import FeatureExtractor

__all__ = ["threads"]

pytestmark = pytest.mark.skipif(not has_convolutions(), reason="needs AVX2 with FMA, or AVX-512")

BATCH = 8
LAYERS = {  # rows and columns, channels before and after
    "3x3": [(40, 64, 64), (20, 128, 128), (10, 256, 256)],
    "1x1": [(40, 256, 64), (40, 64, 256), (20, 512, 128), (20, 128, 512), (10, 1024, 256)],
}
LAST = {"memory_format": torch.channels_last}


def layers(kind):
    side = int(kind[0])
    for rows, before, after in LAYERS[kind]:
        scale = (side * side * before) ** -0.5
        weight = scale * torch.randn(after, before, side, side)
        x = torch.randn(BATCH, before, rows, rows).contiguous(**LAST).requires_grad_()
        above = torch.randn(BATCH, after, rows, rows).contiguous(**LAST)
        yield x, above, weight, torch.randn(after), (pack(weight), pack(weight, transposed=True))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kind", LAYERS)
def test_convolution_and_gradient(benchmark, race, summary, kind):
    torch.manual_seed(0)
    work = list(layers(kind))
    torchs = [weight.contiguous(**LAST) for _, _, weight, _, _ in work]

    def ours():
        found = []
        for x, above, _, bias, packed in work:
            if kind == "3x3":
                y = winograd_op(x, *packed, bias, True)
            else:
                y = pointwise_op(x, *packed, bias, None, True)
            found.append(torch.autograd.grad(y, x, above)[0])
        return found

    def theirs():
        found = []
        for (x, above, _, bias, _), weight in zip(work, torchs, strict=True):
            y = functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2).relu()
            found.append(torch.autograd.grad(y, x, above)[0])
        return found

    for one, other in zip(benchmark(ours), theirs(), strict=True):
        assert (one - other).norm() < 1e-2 * other.norm()  # a ReLU may switch
    race(ours, theirs, turns=9)


def test_features_are_as_near_to_those_in_float64_as_torchs(benchmark, summary):
    file = find_weights("resnet50")
    weights = random_weights("resnet50") if file is None else resolve_weights(str(file))
    pool, kind = images(2, 160)
    packed = FeatureExtractor("resnet50", weights)
    plain = FeatureExtractor("resnet50", weights, packed=False)
    with torch.no_grad():
        ours, theirs = benchmark(lambda: packed(pool)["layer3"]), plain(pool)["layer3"]
        exact = plain.double()(pool.double())["layer3"]
    away = [float((found - exact).norm() / exact.norm()) for found in (ours, theirs)]
    benchmark.extra_info["error"], benchmark.extra_info["error_of_torch"] = away
    summary(f"  {away[0]:.1e} from features in float64, torch {away[1]:.1e} ({kind})")
    assert away[0] < 5 * away[1]
