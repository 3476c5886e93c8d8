"""Whether synthetic images repeat a training image of another case than their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, eq=False)
class Nearest:
    """The real images nearest to each synthetic one, (n,) each."""

    own: npt.NDArray[np.float64]
    """Cosine similarity to the nearest image of its own case; NaN where there is none."""
    other: npt.NDArray[np.float64]
    """To the nearest of another case; NaN likewise."""
    other_index: npt.NDArray[np.intp]
    """Which real image that is."""

    @property
    def nearer_to_another(self) -> float | None:
        """Share of the images that are nearer to another case than to their own."""
        known = np.isfinite(self.own) & np.isfinite(self.other)
        return float((self.other > self.own)[known].mean()) if known.any() else None


def nearest(
    synthetic: npt.NDArray[np.floating],
    groups: Sequence[str],
    real: npt.NDArray[np.floating],
    real_groups: Sequence[str],
) -> Nearest:
    """By features (n, D) and (m, D); a case is a group, of a synthetic image its content's."""
    similarity = _unit(synthetic) @ _unit(real).T
    same = np.array(groups)[:, None] == np.array(real_groups)[None, :]
    own = np.where(same, similarity, -np.inf).max(axis=1)
    others = np.where(same, -np.inf, similarity)
    index = others.argmax(axis=1)
    other = others[np.arange(len(others)), index]
    return Nearest(
        np.where(np.isfinite(own), own, np.nan), np.where(np.isfinite(other), other, np.nan), index
    )


def _unit(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    wide = features.astype(np.float64)
    size = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.maximum(size, np.finfo(np.float64).tiny))
