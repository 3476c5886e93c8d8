"""A second derivation of relevance on ResNets and VGG: layer by layer, with reference rules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.models.resnet import BasicBlock, Bottleneck, ResNet
from busaug.models.vgg import VGG
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
    """Relevance passed down a folded ResNet layer by layer with the reference rules.

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
        saved: list[tuple[BasicBlock | Bottleneck, Tensor]] = []
        for index in range(1, 5):
            for block in m.get_submodule(f"layer{index}"):  # type: ignore[union-attr]
                assert isinstance(block, (BasicBlock, Bottleneck))
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
        return _onto_pixels(lrp.Linear(m.conv1.weight, 2, 3), x, r), seed.sum(1)

    def _block(self, block: BasicBlock | Bottleneck, a: Tensor, r: Tensor) -> Tensor:
        one = block.relu1(block.conv1(a))
        chain = [(block.conv1, a), (block.conv2, one)]
        if isinstance(block, Bottleneck):
            chain.append((block.conv3, block.relu2(block.conv2(one))))
        last, entry = chain[-1]
        branch = last(entry)
        shortcut = a if block.downsample is None else block.downsample(a)
        left, right = lrp.residual_sum(branch, shortcut, r) if self.sum_rule else (r, r)
        for layer, entry in reversed(chain):
            left = self._conv(layer, entry, left)
        if block.downsample is not None:
            projection = block.downsample[0]
            assert isinstance(projection, nn.Conv2d)
            right = self._conv(projection, a, right)
        return left + right

    def _conv(self, conv: nn.Conv2d, a: Tensor, r: Tensor) -> Tensor:
        return _alpha_beta(conv, a, r, self.alpha, zero_part=self.zero_part)


def walk_vgg(
    model: VGG, alpha: float, x: Tensor, targets: Tensor, *, zero_part: bool = True
) -> tuple[Tensor, Tensor]:
    """Relevance passed down a VGG, whose layers follow one another."""
    folded = fold_batchnorm(model)
    assert isinstance(folded, VGG)
    layers = [*folded.features, folded.avgpool, nn.Flatten(), *folded.classifier]
    layers = [m for m in layers if not isinstance(m, (nn.Identity, nn.Dropout))]
    inputs = [x]
    for layer in layers:
        inputs.append(layer(inputs[-1]))
    logits = inputs.pop()
    r = torch.zeros_like(logits).scatter_(1, targets[:, None], logits.gather(1, targets[:, None]))
    explained = r.sum(1)
    for layer, a in reversed(list(zip(layers, inputs, strict=True))):
        if layer is layers[0]:
            r = _onto_pixels(lrp.Linear(layer.weight, 1, 1), a, r)
        elif isinstance(layer, nn.Conv2d):
            r = _alpha_beta(layer, a, r, alpha, zero_part=zero_part)
        elif isinstance(layer, nn.Linear):
            r = lrp.epsilon(lrp.Linear(layer.weight), a, r)
        elif isinstance(layer, nn.MaxPool2d):
            r = lrp.max_pool(a, r, 2, 2, 0)
        elif isinstance(layer, nn.AdaptiveAvgPool2d):
            r = _adaptive_average(a, r)
        else:
            r = r.view_as(a)
    return r, explained


def _adaptive_average(a: Tensor, r: Tensor) -> Tensor:
    """Each cell's relevance onto the rows and columns floor(i n / k) to ceil((i + 1) n / k)."""
    out = torch.zeros_like(a)
    (rows, columns), (k, m) = a.shape[2:], r.shape[2:]
    for i in range(k):
        for j in range(m):
            high = slice(i * rows // k, -(-(i + 1) * rows // k))
            wide = slice(j * columns // m, -(-(j + 1) * columns // m))
            cell = a[:, :, high, wide]
            out[:, :, high, wide] += lrp.global_average_pool(cell, r[:, :, i, j])
    return out


def _alpha_beta(conv: nn.Conv2d, a: Tensor, r: Tensor, alpha: float, *, zero_part: bool) -> Tensor:
    layer = lrp.Linear(conv.weight, conv.stride[0], int(conv.padding[0]))
    return lrp.alpha_beta(layer, a, r, alpha, alpha - 1, zero_part=zero_part)


def _onto_pixels(first: lrp.Linear, x: Tensor, r: Tensor) -> Tensor:
    mean = x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return lrp.z_box(first, x, -mean / std, (1 - mean) / std, r)
