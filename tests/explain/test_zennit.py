"""Agreement with zennit (Anders et al. 2021), a peer, in float64 on ResNets and VGG.

zennit imports torchvision, of which nothing is used here: an empty stand-in serves. It has no rule
for units without one part, so ours is off for the comparison. Install it with
``pip install --no-deps zennit==0.5.1``; it is no dependency.
"""

import sys
import types
from collections.abc import Callable, Iterator

import pytest
import torch
from explain.walk import Walk, walk_vgg, warm
from tolerances import TOLERANCES
from torch import Tensor, nn

from busaug.explain.relevance import relevance
from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, imagenet_normalise
from busaug.models.resnet import BasicBlock, Bottleneck, ResNet, resnet50
from busaug.models.vgg import VGG
from busaug.ops.lrp_layers import AlphaBetaRule


@pytest.fixture
def zennit() -> Iterator[types.ModuleType]:
    names = ("torchvision", "torchvision.models", "torchvision.models.resnet")
    stand_ins = {name: types.ModuleType(name) for name in names}
    stand_ins[names[-1]].Bottleneck = stand_ins[names[-1]].BasicBlock = type("None_", (), {})  # type: ignore[attr-defined]
    hidden = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(stand_ins)
    try:
        package = pytest.importorskip("zennit", reason="zennit is not installed")

        yield package
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": lambda: resnet50(num_classes=5),
    "resnet18": lambda: ResNet(5, block=BasicBlock, depths=(2, 2, 2, 2)),
    "vgg_bn": lambda: VGG([[8, 12], [16]], 5, batchnorm=True),
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("alpha", [2.0, 1.0])
def test_agrees_with_zennit(zennit: types.ModuleType, alpha: float, network: str) -> None:
    rules, layer = zennit.rules, zennit.layer

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sum = layer.Sum()

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.sum(torch.stack([left, right], dim=-1))

    torch.manual_seed(3)
    model = warm(NETWORKS[network]().double())
    folded = fold_batchnorm(model)
    for module in folded.modules():
        if isinstance(module, (BasicBlock, Bottleneck)):
            module.add = Sum()  # type: ignore[assignment]

    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).view(1, 3, 1, 1)
    zero = {"stabilizer": 1e-9, "zero_params": "bias"}

    def rule(_context: dict, name: str, module: nn.Module) -> object:  # type: ignore[type-arg]
        if name in ("conv1", "features.0"):
            return rules.ZBox(-mean / std, (1 - mean) / std, **zero)
        if isinstance(module, nn.Conv2d):
            return rules.AlphaBeta(alpha, alpha - 1, **zero)
        if isinstance(module, nn.Linear):
            return rules.Epsilon(1e-6, zero_params="bias")
        if isinstance(module, (layer.Sum, nn.AdaptiveAvgPool2d)):
            return rules.Norm(stabilizer=1e-9)
        return rules.Pass() if isinstance(module, nn.ReLU) else None

    x = imagenet_normalise(torch.rand(1, 1, 48, 48, dtype=torch.float64)).requires_grad_(True)
    with zennit.core.Composite(module_map=rule).context(folded) as hooked:
        out = hooked(x)
        seed = torch.zeros_like(out)
        seed[0, 2] = out[0, 2].detach()
        (theirs,) = torch.autograd.grad(out, x, seed)

    target = torch.tensor([2])
    if isinstance(model, VGG):
        twin, _ = walk_vgg(model, alpha, x.detach(), target, zero_part=False)
    else:
        twin, _ = Walk(model, alpha, zero_part=False)(x.detach(), target)
    rule = AlphaBetaRule(alpha, alpha - 1, zero_part=False)
    ours, _ = relevance(model, x.detach(), target, composite=rule)
    for found in (twin, ours):
        error = float((found - theirs).abs().max() / theirs.abs().max())
        assert error <= TOLERANCES["zennit, float64 of max|R|"]
