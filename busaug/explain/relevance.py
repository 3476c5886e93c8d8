"""Layer-wise relevance propagation for the package's networks.

A model is prepared once: BatchNorm folded, every convolution but the first under the alpha-beta
rule, linear layers under the epsilon rule, the first convolution under the z^B rule for inputs in
[0, 1] before ImageNet normalisation, no bias in any denominator. Relevance then sums to the logit
in every layer (docs/method.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from busaug.errors import InputError
from busaug.explain.furnish import furnish
from busaug.models.fold import fold_batchnorm
from busaug.ops import lrp_steps
from busaug.ops.lrp_layers import AlphaBetaRule

Composite = Literal["alpha2beta1", "alpha1beta0"]
COMPOSITES: Mapping[Composite, AlphaBetaRule] = {
    "alpha2beta1": AlphaBetaRule(2.0, 1.0),
    "alpha1beta0": AlphaBetaRule(1.0, 0.0),
}
_RECORDED = ("relu", "layer1", "layer2", "layer3", "layer4")


def check_composite(name: str) -> Composite:
    """``name`` as a composite; InputError for an unknown one."""
    for known in COMPOSITES:
        if name == known:
            return known
    raise InputError(f"unknown composite {name!r}", remedy=f"Use one of {', '.join(COMPOSITES)}")


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


class RelevanceModel:
    """A model folded, furnished with rules and packed, for many calls.

    Weights are kept in several forms: about four times their size on the CPU. The first call at a
    size of images packs for it. The model given stays as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        composite: Composite | AlphaBetaRule = "alpha2beta1",
        layers: Sequence[str] | None = None,
    ) -> None:
        """Prepare ``model``.

        ``composite`` names the rule of the convolutions, or is one. ``layers`` are the modules
        whose relevance is returned and recorded, in forward order; by default ResNet's stem and
        stages, as far as the model has them. Raises InputError for an unknown composite or layer,
        and for a layer type without a rule.
        """
        if not isinstance(composite, AlphaBetaRule):
            composite = COMPOSITES[check_composite(composite)]
        known = dict(model.named_modules())
        if layers is None:
            layers = [name for name in _RECORDED if name in known]
        for name in layers:
            if name not in known:
                raise InputError(
                    f"the model has no layer {name!r}", remedy="See model.named_modules()"
                )
        self.layers = tuple(layers)
        self._model = fold_batchnorm(model)
        self._first = furnish(self._model, composite, self.layers)

    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Relevance:
        """Relevance of images (B, 3, H, W), ImageNet-normalised, for classes (B,).

        ``targets`` are integers; None explains each image's highest logit. Images have the model's
        dtype, float32 or float64, and device. Raises InputError for what does not fit.
        """
        self._check_images(images)
        images = images.detach().contiguous(memory_format=torch.channels_last)
        with torch.enable_grad():
            with self._watch() as outputs:
                logits = self._model(images)
            targets = _checked_targets(targets, logits)
            explained = logits.gather(1, targets[:, None])[:, 0]
            leaf = self._first.leaf
            assert leaf is not None
            # Seed G = 1 at the logit: R = logit there, since R = a G.
            *on_layers, on_leaf = torch.autograd.grad(explained.sum(), [*outputs.values(), leaf])
        self._first.leaf = None
        products = {
            name: lrp_steps.product(out.detach(), gradient)
            for (name, out), gradient in zip(outputs.items(), on_layers, strict=True)
        }
        pixels = self._first.layer.propagate(images, leaf.detach(), on_leaf)
        exact = pixels.flatten(1).double()
        totals = {name: sums for name, (_, sums) in reversed(products.items())}
        totals["input"] = torch.stack([exact.sum(1), exact.abs().sum(1)], dim=1)
        record = Record(
            outputs=logits.detach().double(),
            logits=explained.detach().double(),
            targets=targets,
            sums={name: both[:, 0] for name, both in totals.items()},
            magnitudes={name: both[:, 1] for name, both in totals.items()},
        )
        return Relevance(pixels, {name: each for name, (each, _) in products.items()}, record)

    @contextmanager
    def _watch(self) -> Iterator[dict[str, Tensor]]:
        """The outputs of ``self.layers`` in the forward pass that is run inside."""
        outputs: dict[str, Tensor] = {}
        hooks = [
            self._model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, out, name=name: outputs.__setitem__(name, out)
            )
            for name in self.layers
        ]
        try:
            yield outputs
        finally:
            for hook in hooks:
                hook.remove()

    def _check_images(self, images: Tensor) -> None:
        weight = self._first.layer.weight
        if images.ndim != 4 or images.shape[1] != weight.shape[1] or 0 in images.shape:
            raise InputError(
                f"relevance: images have the shape {tuple(images.shape)}",
                remedy=f"Give (B, {weight.shape[1]}, H, W) with at least one image and pixel",
            )
        if (images.dtype, images.device) != (weight.dtype, weight.device):
            raise InputError(
                f"relevance: images are {images.dtype} on {images.device}, the model is "
                f"{weight.dtype} on {weight.device}",
                remedy="Bring them to one dtype and device",
            )
        if not bool(images.isfinite().all()):
            raise InputError(
                "relevance: images hold NaN or infinity", remedy="Replace them before normalising"
            )


def relevance(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    *,
    composite: Composite | AlphaBetaRule = "alpha2beta1",
) -> tuple[Tensor, Record]:
    """Relevance (B, C, H, W) of images that ``model.forward`` takes, and its record.

    Relevance of an image sums to its explained logit. For many calls on one model, and for
    relevance of inner layers, keep a ``RelevanceModel``.

    Args:
        model: A classifier of BatchNorm-foldable convolutions, ReLU, pooling, residual sums
            (``busaug.models.resnet.Add`` or +) and linear layers. It is run in eval mode and stays
            as it is.
        images: (B, 3, H, W), ImageNet-normalised, of the model's dtype and device.
        targets: (B,) integers, the classes to explain; None takes each image's highest logit.
        composite: ``alpha2beta1``, ``alpha1beta0``, or an AlphaBetaRule for the convolutions.

    Raises:
        InputError: images or targets that do not fit, NaN, an unknown composite, a layer without a
            rule.
    """
    result = RelevanceModel(model, composite=composite)(images, targets)
    return result.pixels, result.record


def _checked_targets(targets: Tensor | None, logits: Tensor) -> Tensor:
    if targets is None:
        return logits.argmax(dim=1)
    batch, classes = logits.shape
    if targets.shape != (batch,) or targets.is_floating_point() or targets.dtype == torch.bool:
        raise InputError(
            f"relevance: targets are {targets.dtype} of shape {tuple(targets.shape)}",
            remedy=f"Give {batch} integers, a class for each image",
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"relevance: targets range from {low} to {high}",
            remedy=f"The model has the classes 0 to {classes - 1}",
        )
    return targets.to(device=logits.device, dtype=torch.int64)
