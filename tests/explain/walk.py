"""A second derivation of relevance on ResNet-50: layer by layer, with the reference rules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.models.resnet import Bottleneck, ResNet
from busaug.reference import lrp


def warm(model: nn.Module) -> nn.Module:
    """Random BatchNorm affine values and statistics of real activations: a trained-like net."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.0, 0.2)
            module.momentum = None
    model.train()
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64, dtype=next(model.parameters()).dtype))
    return model.eval()


class Walk:
    """Relevance passed down a folded ResNet-50 layer by layer with the reference rules.

    With ``sum_rule`` off each branch of a residual sum receives all of the relevance, as tools do
    that ignore the addition.
    """

    def __init__(
        self, model: nn.Module, alpha: float, *, sum_rule: bool = True, zero_part: bool = True
    ) -> None:
        folded = fold_batchnorm(model)
        assert isinstance(folded, ResNet)
        self.model, self.alpha = folded, alpha
        self.sum_rule, self.zero_part = sum_rule, zero_part

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        m = self.model
        stem = m.relu(m.conv1(x))
        a = m.maxpool(stem)
        saved: list[tuple[Bottleneck, Tensor]] = []
        for index in range(1, 5):
            for block in m.get_submodule(f"layer{index}"):  # type: ignore[union-attr]
                assert isinstance(block, Bottleneck)
                saved.append((block, a))
                a = block(a)
        pooled = a.mean((2, 3))
        assert isinstance(m.fc, nn.Linear)
        logits = m.fc(pooled)
        seed = torch.zeros_like(logits).scatter_(
            1, targets[:, None], logits.gather(1, targets[:, None])
        )
        r = lrp.global_average_pool(a, lrp.epsilon(lrp.Linear(m.fc.weight), pooled, seed))
        for block, a in reversed(saved):
            r = self._block(block, a, r)
        r = lrp.max_pool(stem, r, 3, 2, 1)
        mean = x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        first = lrp.Linear(m.conv1.weight, 2, 3)
        return lrp.z_box(first, x, -mean / std, (1 - mean) / std, r), seed.sum(1)

    def _block(self, block: Bottleneck, a: Tensor, r: Tensor) -> Tensor:
        one = block.relu1(block.conv1(a))
        two = block.relu2(block.conv2(one))
        branch = block.conv3(two)
        shortcut = a if block.downsample is None else block.downsample(a)
        left, right = lrp.residual_sum(branch, shortcut, r) if self.sum_rule else (r, r)
        for layer, entry in ((block.conv3, two), (block.conv2, one), (block.conv1, a)):
            left = self._conv(layer, entry, left)
        if block.downsample is not None:
            projection = block.downsample[0]
            assert isinstance(projection, nn.Conv2d)
            right = self._conv(projection, a, right)
        return left + right

    def _conv(self, conv: nn.Conv2d, a: Tensor, r: Tensor) -> Tensor:
        layer = lrp.Linear(conv.weight, conv.stride[0], int(conv.padding[0]))
        return lrp.alpha_beta(layer, a, r, self.alpha, self.alpha - 1, zero_part=self.zero_part)
