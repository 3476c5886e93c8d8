"""Breast-ultrasound augmentation by neural style transfer: fast, explainable, leak-proof."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from busaug.explain.registry import register_rule
    from busaug.explain.relevance import relevance
    from busaug.ops.srad import srad
    from busaug.ops.style_loss import style_loss
    from busaug.ops.style_target import FeatureTarget, GramTarget

__version__ = "0.1.0"
__all__ = [
    "FeatureTarget",
    "GramTarget",
    "__version__",
    "register_rule",
    "relevance",
    "srad",
    "style_loss",
]

_HOMES = {
    "FeatureTarget": "busaug.ops.style_target",
    "GramTarget": "busaug.ops.style_target",
    "register_rule": "busaug.explain.registry",
    "relevance": "busaug.explain.relevance",
    "srad": "busaug.ops.srad",
    "style_loss": "busaug.ops.style_loss",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: torch is slow to import."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
