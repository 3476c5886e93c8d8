"""Layer-wise relevance propagation for the package's networks.

A model is prepared once: BatchNorm folded, every convolution but the first under the alpha-beta
rule, linear layers under the epsilon rule, the first convolution under the z^B rule for inputs in
[0, 1] before ImageNet normalisation, no bias in any denominator. Relevance then sums to the logit
in every layer (docs/method.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.models.fold import fold_batchnorm
from busaug.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from busaug.models.resnet import Add
from busaug.ops.lrp import ConvShape, alpha_beta_conv, epsilon_linear, z_box_conv

Composite = Literal["alpha2beta1", "alpha1beta0"]
ALPHAS: Mapping[Composite, float] = {"alpha2beta1": 2.0, "alpha1beta0": 1.0}
# Layers whose ordinary backward pass already is their rule in the form R = a G (busaug.ops.lrp).
PASSIVE = (Add, nn.ReLU, nn.Identity, nn.Dropout, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def check_composite(name: str) -> Composite:
    """``name`` as a composite; InputError for an unknown one."""
    for known in ALPHAS:
        if name == known:
            return known
    raise InputError(f"unknown composite {name!r}", remedy=f"Use one of {', '.join(ALPHAS)}")


@dataclasses.dataclass(frozen=True)
class Record:
    """How the relevance of a batch came about."""

    outputs: Tensor
    """Every logit, (B, classes)."""
    logits: Tensor
    """Explained logit of each image, (B,)."""
    targets: Tensor
    """Explained class of each image, (B,) int64."""
    sums: Mapping[str, Tensor]
    """Sum of relevance a layer, (B,); ``input`` last."""
    magnitudes: Mapping[str, Tensor]
    """Sum of absolute relevance a layer, (B,): a health figure, it grows with cancellation."""

    @property
    def conservation_error(self) -> Tensor:
        """|sum of input relevance - logit| / |logit|, (B,)."""
        return ((self.sums["input"] - self.logits) / self.logits).abs()


@dataclasses.dataclass(frozen=True)
class Relevance:
    """Relevance of a batch at the input and at the layers asked for."""

    pixels: Tensor
    """(B, C, H, W), the shape of the images."""
    layers: Mapping[str, Tensor]
    """Layer name to (B, N, h, w)."""
    record: Record


class _RuleConv(nn.Module):
    def __init__(self, conv: nn.Conv2d, alpha: float) -> None:
        super().__init__()
        self.conv, self.alpha = conv, alpha

    def forward(self, a: Tensor) -> Tensor:
        return alpha_beta_conv(a, self.conv.weight, _bias(self.conv), _shape(self.conv), self.alpha)


class _RuleLinear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, a: Tensor) -> Tensor:
        return epsilon_linear(a, self.linear.weight, self.linear.bias)


class _FirstConv(nn.Module):
    """The first convolution; its output is the leaf that relevance is propagated to."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.leaf: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            out: Tensor = self.conv(x)
        self.leaf = out.requires_grad_(True)
        return self.leaf

    def relevance(self, x: Tensor, relevance: Tensor) -> Tensor:
        mean = torch.tensor(IMAGENET_MEAN).to(x).view(1, -1, 1, 1)
        std = torch.tensor(IMAGENET_STD).to(x).view(1, -1, 1, 1)
        low, high = (0 - mean) / std, (1 - mean) / std
        return z_box_conv(x, self.conv.weight, low, high, relevance, _shape(self.conv))


class RelevanceModel:
    """A model folded and furnished with rules, for many calls.

    Raises InputError for a composite or a layer type without a rule, naming it.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        composite: Composite = "alpha2beta1",
        layers: Sequence[str] = ("relu", "layer1", "layer2", "layer3", "layer4"),
    ) -> None:
        check_composite(composite)
        self.layers = tuple(layers)
        self._model = fold_batchnorm(model)
        self._first = _furnish(self._model, ALPHAS[composite])

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Relevance:
        """Relevance of images (B, 3, H, W), ImageNet-normalised, for classes (B,).

        ``targets`` None explains each image's highest logit.
        """
        outputs: dict[str, Tensor] = {}
        hooks = [
            self._model.get_submodule(name).register_forward_hook(
                lambda _m, _i, out, name=name: outputs.__setitem__(name, out)
            )
            for name in self.layers
        ]
        try:
            logits = self._model(images)
        finally:
            for hook in hooks:
                hook.remove()
        if targets is None:
            targets = logits.argmax(dim=1)
        explained = logits.gather(1, targets[:, None])[:, 0]
        leaf = self._first.leaf
        assert leaf is not None
        wanted = [*outputs.values(), leaf]
        # Seed G = 1 at the logit: R = logit there, since R = a G.
        gradients = torch.autograd.grad(explained.sum(), wanted)
        layers = {
            name: out.detach() * grad
            for (name, out), grad in zip(outputs.items(), gradients, strict=False)
        }
        pixels = self._first.relevance(images, leaf.detach() * gradients[-1])
        self._first.leaf = None
        return Relevance(pixels, layers, _record(logits, targets, layers, pixels))


def relevance(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    *,
    composite: Composite = "alpha2beta1",
) -> tuple[Tensor, Record]:
    """Relevance (B, C, H, W) of images that ``model.forward`` takes, and its record.

    For many calls on one model, keep a ``RelevanceModel``.
    """
    result = RelevanceModel(model, composite=composite)(images, targets)
    return result.pixels, result.record


def _record(
    outputs: Tensor, targets: Tensor, layers: Mapping[str, Tensor], pixels: Tensor
) -> Record:
    every = {**dict(reversed(list(layers.items()))), "input": pixels}
    sums = {name: value.flatten(1).double().sum(1) for name, value in every.items()}
    sizes = {name: value.flatten(1).double().abs().sum(1) for name, value in every.items()}
    outputs = outputs.detach().double()
    return Record(outputs, outputs.gather(1, targets[:, None])[:, 0], targets, sums, sizes)


def _furnish(model: nn.Module, alpha: float) -> _FirstConv:
    """Replace layers that have weights by their rules; the first convolution is returned."""
    first: _FirstConv | None = None
    for parent_name, parent in list(model.named_modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, nn.Conv2d):
                rule: nn.Module
                if first is None:
                    rule = first = _FirstConv(module)
                else:
                    rule = _RuleConv(module, alpha)
                setattr(parent, name, rule)
            elif isinstance(module, nn.Linear):
                setattr(parent, name, _RuleLinear(module))
            elif not list(module.children()) and not isinstance(module, PASSIVE):
                path = f"{parent_name}.{name}".lstrip(".")
                raise InputError(
                    f"layer {path} of type {type(module).__name__} has no relevance rule",
                    remedy="Add its type to PASSIVE in busaug.explain.relevance if R = a G holds",
                )
    if first is None:
        raise InputError("the model has no convolution", remedy="Give a convolutional classifier")
    return first


def _shape(conv: nn.Conv2d) -> ConvShape:
    (top, left), padding = conv.stride, conv.padding
    assert not isinstance(padding, str)
    above, beside = padding
    return ConvShape((top, left), (above, beside))


def _bias(conv: nn.Conv2d) -> Tensor:
    return conv.bias if conv.bias is not None else conv.weight.new_zeros(conv.out_channels)
