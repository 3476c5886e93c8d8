"""The balance beta' between content and style: one number, calibrated once, then frozen.

beta' = median over seeded training pairs of ||grad L_c|| / ||grad sum_l L_l||, both taken at seeded
uniform noise, because grad L_c vanishes at the content image itself. At gamma = 1 both gradients
then have the same order of magnitude (Li et al. 2017 pick such a factor by hand).
"""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.style.objective import Objective


def gradient_ratio(objective: Objective, noise: Tensor, pinned: Tensor | None = None) -> Tensor:
    """||grad L_c||_2 / ||grad sum_l L_l||_2 of each image at ``noise`` (B, 1, H, W), (B,).

    Both norms are over the pixels that may move, those not ``pinned`` (B, 1, H, W), bool.
    """
    leaf = noise.detach().requires_grad_(True)
    losses = objective.losses(leaf)
    (grad_content,) = torch.autograd.grad(losses.content.sum(), leaf, retain_graph=True)
    (grad_style,) = torch.autograd.grad(losses.style.sum(), leaf)
    gradients: list[Tensor] = [grad_content, grad_style]
    if pinned is not None:
        gradients = [gradient.masked_fill(pinned, 0.0) for gradient in gradients]
    norms: list[Tensor] = [gradient.flatten(1).square().sum(1).sqrt() for gradient in gradients]
    return norms[0] / norms[1]


def balance(ratios: Tensor) -> float:
    """The median ratio over the calibration pairs, as a float."""
    return float(ratios.double().median())
