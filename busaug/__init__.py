"""Breast-ultrasound augmentation by neural style transfer: fast, explainable, leak-proof."""

from __future__ import annotations

__version__ = "0.1.0"
