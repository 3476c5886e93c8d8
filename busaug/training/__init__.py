"""In one's own training loop: styled variants as a dataset, despeckling as a transform."""

from __future__ import annotations

from busaug.training.speckle import RandomSrad
from busaug.training.variants import StyledVariants

__all__ = ["RandomSrad", "StyledVariants"]
