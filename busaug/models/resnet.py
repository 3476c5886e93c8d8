"""ResNets v1.5 with torchvision's key names (He et al. 2016; stride in the 3x3 convolution).

Every ReLU and every residual addition is a module of its own, so that relevance rules and hooks
find each by name.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Width and stride of each."""


class Add(nn.Module):
    """The residual sum of two branches."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (the first strided) beside an identity or projected shortcut."""

    EXPANSION = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels_in, width, stride)
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu2(self.add(y, shortcut))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided), 1x1 convolutions beside an identity or projected shortcut."""

    EXPANSION = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * self.EXPANSION
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample = _shortcut(channels_in, channels_out, stride)
        self.add = Add()
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu3(self.add(y, shortcut))
        return out


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    """The projection of a block whose input and output differ in shape."""
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
        nn.BatchNorm2d(channels_out),
    )


class ResNet(nn.Module):
    """Images (B, 3, H, W), ImageNet-normalised, to logits (B, num_classes)."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        block: type[BasicBlock | Bottleneck] = Bottleneck,
        depths: Sequence[int] = (3, 4, 6, 3),
    ) -> None:
        """ResNet-50, or blocks of another kind, so many in each of the four stages."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        stages = zip(STAGES, depths, strict=True)
        for index, ((width, stride), depth) in enumerate(stages, start=1):
            blocks = []
            for position in range(depth):
                blocks.append(block(channels, width, stride if position == 0 else 1))
                channels = width * block.EXPANSION
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(1, len(STAGES) + 1):
            x = self.get_submodule(f"layer{index}")(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def resnet50(num_classes: int = 1000) -> ResNet:
    """A ResNet-50 with torch's default initialisation; load weights by torchvision's names."""
    return ResNet(num_classes)
