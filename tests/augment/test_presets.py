"""Every preset: its losses on a pair against the method, composed in float64 from its definition.

The compositions know nothing of the engine: an unfolded network on three normalised channels, Gram
matrices by ``@``, weights as published. They share its random draws and its relevance weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tolerances import TOLERANCES
from torch import Tensor, nn
from torch.nn import functional

from busaug.augment.calibration import calibrate
from busaug.augment.engine import Engine, Outcome
from busaug.augment.job import Job
from busaug.augment.plan import Pair, Unit, pair_seed
from busaug.config import Config, load_config
from busaug.data.catalog import Catalog
from busaug.data.images import load_batch
from busaug.distributed.communicator import Single
from busaug.models.resnet import resnet50
from busaug.models.vgg import vgg19_features, vgg19_layer
from busaug.models.weights import Weights, load_state, random_weights
from busaug.presets import PRESETS
from busaug.reference.mmd import histogram_specification, style_loss_kernel
from busaug.seeding import torch_draw
from busaug.style.features import FeatureExtractor

SIZE = 32
BALANCE = 3.0
SMALL = (
    f"style.size={SIZE}",
    "compute.threads=1",
    "gate.ssim_max=1",  # a few evaluations on tiny pictures are no images to judge
    "gate.saturated_max=1",
)

METHODS = [name for name in PRESETS if name not in ("default", "paper")]


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone as the engine cuts it, and whole in float64."""

    weights: Weights
    extractor: FeatureExtractor
    plain: nn.Module


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    resnet, vgg = random_weights("resnet50"), random_weights("vgg19")
    whole, layers = resnet50(), vgg19_features(pooling="average")
    load_state(whole, resnet)
    load_state(layers, vgg, prefix="features.")
    return {
        "resnet50": Network(resnet, FeatureExtractor("resnet50", resnet), whole.double().eval()),
        "vgg19": Network(vgg, FeatureExtractor("vgg19", vgg), layers.double().eval()),
    }


@dataclasses.dataclass(frozen=True)
class Work:
    """A preset's engine and one pair."""

    config: Config
    network: Network
    engine: Engine
    pair: Pair

    def run(self) -> Outcome:
        return self.engine.run(Unit(0, (self.pair,)))[0]


@pytest.fixture
def work(tiny: Catalog, networks: dict[str, Network], tmp_path: Path) -> Callable[..., Work]:
    def make(preset: str, *overrides: str, balance: float | None = BALANCE) -> Work:
        config = load_config(preset=preset, overrides=[*SMALL, *overrides])
        network = networks[config.style.backbone]
        job = Job(tiny, config, network.weights, None)
        if balance is None:
            balance = calibrate(job.sources, config, network.extractor, Single())
        engine = job.engine(network.extractor, balance, tmp_path, keep_targets=False)
        return Work(config, network, engine, job.plan().work_unit(0).pairs[0])

    return make


# --- the methods, for features of the image, the content and the references -----------------------


@dataclasses.dataclass(frozen=True)
class Features:
    """Sample matrices (N, M) by layer, float64."""

    style: list[Tensor]
    content: Tensor


def features(network: Network, images: Tensor) -> list[Features]:
    """Of gray images (B, 1, H, W), the layers that the papers name."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()
    x = (images.double().expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    net = network.plain
    if isinstance(net, nn.Sequential):
        at, done = {}, 0
        for name in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"):
            end = vgg19_layer(name) + 1
            x, done = net[done:end](x), end
            at[name] = x.flatten(2)
        content = at.pop("relu4_2")
        style = list(at.values())
    else:
        x = net.relu(net.bn1(net.conv1(x)))
        style = [x.flatten(2)]
        x = net.maxpool(x)
        for name in ("layer1", "layer2", "layer3"):
            x = net.get_submodule(name)(x)
            style.append(x.flatten(2))
        content = style[-1]
    return [Features([layer[i] for layer in style], content[i]) for i in range(len(images))]


def half_squares(f: Tensor, c: Tensor) -> Tensor:
    return 0.5 * (f - c).square().sum()


def gatys_layers(image: Features, references: list[Features]) -> list[Tensor]:
    """E_l = 1 / (4 N^2 M^2) sum_ij (G_ij - A_ij)^2, Gatys et al. 2016, Eq. 4."""
    (reference,) = references
    return [
        (f @ f.T - s @ s.T).square().sum() / (4 * f.shape[0] ** 2 * f.shape[1] ** 2)
        for f, s in zip(image.style, reference.style, strict=True)
    ]


def mr2nst_layers(image: Features, references: list[Features]) -> list[Tensor]:
    """The largest Gram entries over the references, given the references' mean quantiles."""
    losses = []
    for layer, f in enumerate(image.style):
        n, m = f.shape
        grams = torch.stack([r.style[layer] @ r.style[layer].T / m for r in references])
        target = torch.zeros(n, n, dtype=torch.float64)
        for mask in (torch.eye(n, dtype=torch.bool), torch.ones(n, n).triu(1).bool()):
            entries = grams[:, mask]
            quantiles = entries.sort(dim=1).values.mean(dim=0)
            target[mask] = histogram_specification(entries.amax(dim=0), quantiles)
        target = target + target.triu(1).T
        losses.append((f @ f.T / m - target).square().sum() / (4 * n**2))
    return losses


def proposed_layers(image: Features, references: list[Features]) -> list[Tensor]:
    """The MMD of the polynomial kernel to the fused map, by the kernel's double sums."""
    losses = []
    for layer, f in enumerate(image.style):
        maps = torch.stack([r.style[layer] for r in references])
        quantiles = maps.sort(dim=2).values.mean(dim=0)
        losses.append(style_loss_kernel(f, histogram_specification(maps.amax(dim=0), quantiles)))
    return losses


def released_total(f: Features, c: Features, references: list[Features], seed: int) -> Tensor:
    """1e4 times the mean squared content difference and 1e-2 times the mean over layers of the
    mean squared Gram difference; the content's features go through a new 1x1 convolution."""
    (reference,) = references
    n = c.content.shape[0]
    limit = math.sqrt(6 / (n + n))
    draws = torch.rand(n, n, generator=torch_draw("mixture", seed), dtype=torch.float64)
    kernel = ((2 * draws - 1) * limit)[:, :, None]
    target = functional.conv1d(c.content[None], kernel)[0]
    style = [
        functional.mse_loss(a @ a.T / a.shape[1], b @ b.T / b.shape[1])
        for a, b in zip(f.style, reference.style, strict=True)
    ]
    return 1e4 * functional.mse_loss(f.content, target) + 1e-2 / len(style) * sum(style)


# --- the tests ------------------------------------------------------------------------------------


def composed(made: Work, image: Tensor) -> tuple[Features, Features, list[Features]]:
    """Features of the image (1, H, W), the content and the references."""
    records = [made.pair.content, *made.pair.references]
    shown = load_batch(made.engine.sources.contents, records, SIZE)
    with torch.no_grad():
        f, c, *references = features(made.network, torch.cat([image[None], shown]))
    return f, c, references


@pytest.mark.parametrize("name", [name for name in METHODS if name != "as-released"])
def test_losses_are_the_methods(work: Callable[..., Work], name: str) -> None:
    """At noise, where no part vanishes: one evaluation leaves the image as it was drawn."""
    made = work(name, "style.start=noise", "style.iterations=1")
    outcome = made.run()
    assert outcome.figures is not None
    assert outcome.image is not None
    f, c, references = composed(made, torch.from_numpy(outcome.image)[None])
    method = name.split("-")[0]
    layers = {
        "gatys": gatys_layers,
        "dnst": gatys_layers,
        "mr2nst": mr2nst_layers,
        "proposed": proposed_layers,
    }[method](f, references)
    style = torch.stack(layers).sum()
    if method == "dnst":  # the published program's step, 0.1 M_l grad E_l
        positions = torch.tensor([x.shape[1] for x in f.style]).double()
        steps = torch.stack([0.1 * m * e for m, e in zip(positions, layers, strict=True)])
        style = steps.sum() / (0.1 * positions.mean())  # a factor that the balance takes up
    content = half_squares(f.content, c.content)
    if name == "proposed":
        assert made.engine.maps is not None
        shown = load_batch(made.engine.sources.contents, [made.pair.content], SIZE)[0]
        r = made.engine.maps.weights(made.pair.content, shown).double().flatten()
        content = 0.5 * (r * (f.content - c.content).square()).sum()
    else:
        assert made.engine.maps is None
    figures, close = outcome.figures, {"rel": TOLERANCES["preset losses, float32"]}
    assert list(figures.layers_initial.values()) == pytest.approx(
        [float(x) for x in layers], **close
    )
    assert figures.content_loss == pytest.approx(float(content), **close)
    gamma = made.config.style.gamma
    assert figures.loss_initial == pytest.approx(float(content + gamma * BALANCE * style), **close)


@pytest.mark.parametrize("start", ["content", "noise"])
def test_the_released_loss_up_to_its_scale(work: Callable[..., Work], start: str) -> None:
    made = work("as-released", f"style.start={start}", "style.iterations=1", balance=None)
    outcome = made.run()
    assert outcome.figures is not None
    assert outcome.image is not None
    f, c, references = composed(made, torch.from_numpy(outcome.image)[None])
    total = released_total(f, c, references, pair_seed(made.config.seed, made.pair))
    scale = 2e4 / c.content.numel()
    assert scale * outcome.figures.loss_initial == pytest.approx(
        float(total), rel=TOLERANCES["preset losses, float32"]
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_few_evaluations_lower_the_loss(work: Callable[..., Work], name: str) -> None:
    balance = None if name == "as-released" else BALANCE
    outcome = work(name, "style.iterations=5", balance=balance).run()
    assert outcome.accepted, outcome.reason
    assert outcome.figures is not None
    values = [value for _, value in outcome.figures.curve]
    assert len(values) == 5
    assert values[-1] < values[0]


def test_presets_differ_in_what_the_method_is() -> None:
    """The twins on the two networks differ in the network and the gamma that belongs to it."""
    for method in ("gatys", "dnst", "mr2nst"):
        one, other = (load_config(preset=f"{method}-{net}") for net in ("vgg19", "resnet50"))
        style = other.style.model_copy(update={"backbone": "vgg19", "gamma": one.style.gamma})
        assert one == other.model_copy(update={"style": style})
    gammas = {
        load_config(preset=f"{name}-vgg19").style.gamma for name in ("gatys", "dnst", "mr2nst")
    }
    assert len(gammas) == 1
    assert load_config(preset="proposed") == load_config()


def test_every_preset_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/baselines.md").read_text()
    assert [name for name in METHODS if f"| `{name}` |" not in text] == []
