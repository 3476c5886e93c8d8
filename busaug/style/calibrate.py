"""The balance beta' between content and style: one number, calibrated once, then frozen.

beta' = median over seeded training pairs of ||grad L_c|| / ||grad sum_l w_l L_l||, both taken at
seeded uniform noise, because grad L_c vanishes at the content image itself. At gamma = 1 both
gradients then have the same order of magnitude (Li et al. 2017 pick such a factor by hand).
"""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.style.features import FeatureExtractor
from busaug.style.objective import content_loss, style_losses
from busaug.style.targets import Targets


def gradient_ratio(
    extractor: FeatureExtractor,
    content: Tensor,
    targets: Targets,
    weights: Tensor,
    noise: Tensor,
) -> Tensor:
    """||grad L_c||_2 / ||grad sum_l w_l L_l||_2 of each image at ``noise`` (B, 1, H, W), (B,).

    ``weights`` are w (L, 1).
    """
    leaf = noise.detach().requires_grad_(True)
    features = extractor(leaf)
    style = (weights * style_losses(features, targets)).sum()
    on_content = content_loss(features[extractor.content_layer], content).sum()
    (grad_content,) = torch.autograd.grad(on_content, leaf, retain_graph=True)
    (grad_style,) = torch.autograd.grad(style, leaf)
    norms: list[Tensor] = [g.flatten(1).square().sum(1).sqrt() for g in (grad_content, grad_style)]
    return norms[0] / norms[1]


def balance(ratios: Tensor) -> float:
    """The median ratio over the calibration pairs, as a float."""
    return float(ratios.double().median())
