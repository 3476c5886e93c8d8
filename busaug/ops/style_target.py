"""What the style of an image is compared with: a Gram matrix, or features that have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from busaug.errors import InputError
from busaug.ops.mmd import BLOCK, gram, gram_energy

_SYMMETRY = 1e-3  # of the largest entry: half precision's rounding, far below any mistake


@dataclasses.dataclass(frozen=True, eq=False)
class GramTarget:
    """The Gram matrices T = S S^T / M_s of target features, or any symmetric matrices.

    Making one looks at every entry, and waits for a device that holds them: make it once.

    Raises:
        InputError: a shape that does not fit, a matrix that is not symmetric or not finite.
    """

    matrix: Tensor
    """(B, N, N), float32 or float64, symmetric."""
    mean: Tensor | None = None
    """Mean of the target features over positions, (B, N), for offsets and the linear kernel."""
    energy: Tensor = dataclasses.field(init=False, repr=False)
    """||T||_F^2, (B,) float64."""

    def __post_init__(self) -> None:
        matrix, mean = self.matrix, self.mean
        check_map("the target's matrix", matrix)
        if matrix.shape[1] != matrix.shape[2]:
            raise InputError(
                f"style_loss: the target's matrix has the shape {tuple(matrix.shape)}",
                remedy="Give (B, N, N); features go into a FeatureTarget",
            )
        if matrix.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"style_loss: the target's matrix has the dtype {str(matrix.dtype)[6:]}",
                remedy="Convert it to float32",
            )
        if mean is not None and mean.shape != matrix.shape[:2]:
            raise InputError(
                f"style_loss: the target's mean has the shape {tuple(mean.shape)}, its matrix "
                f"{tuple(matrix.shape)}",
                remedy="Give the mean over positions, (B, N)",
            )
        # In a traced function there is no value to look at yet.
        if not torch.compiler.is_compiling() and not _symmetric(matrix):
            raise InputError(
                "style_loss: the target's matrix is not symmetric or not finite",
                remedy="Give a Gram matrix S S^T / M_s; features go into a FeatureTarget",
            )
        energy = torch.linalg.vector_norm(matrix, dim=(1, 2), dtype=torch.float64).square()
        object.__setattr__(self, "energy", energy)


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureTarget:
    """Target features, whose number of positions may differ from the image's.

    Raises:
        InputError: a shape that does not fit.
    """

    features: Tensor
    """(B, N, M_s), of the dtype of the image's features."""
    energy: Tensor | None = dataclasses.field(default=None, repr=False)
    """||S S^T / M_s||_F^2, (B,) float64; None: computed at every evaluation that needs it."""

    def __post_init__(self) -> None:
        check_map("the target", self.features)

    @property
    def mean(self) -> Tensor:
        return self.features.mean(dim=2)


StyleTarget = GramTarget | FeatureTarget


def lighter_target(features: Tensor, positions: int) -> StyleTarget:
    """Target features (B, N, M_s) as whatever images of ``positions`` positions need less work for.

    Worth while where a target serves many evaluations: what depends on it alone is done here.
    """
    channels, count = features.shape[1:]
    by_matrix = min(
        gram_operations(channels, positions), kernel_operations(channels, positions, None)
    )
    if kernel_operations(channels, positions, count) < by_matrix:
        return FeatureTarget(features, gram_energy(features))
    return GramTarget(gram(features), features.mean(dim=2))


def concatenate_targets(targets: Sequence[StyleTarget]) -> StyleTarget:
    """Targets of one kind and size as one batch, in their order."""
    maps = [target for target in targets if isinstance(target, FeatureTarget)]
    grams = [target for target in targets if isinstance(target, GramTarget)]
    if maps and grams:
        raise ValueError("matrices and features cannot be one batch of targets")
    if maps:
        return FeatureTarget(torch.cat([t.features for t in maps]), _all([t.energy for t in maps]))
    return GramTarget(torch.cat([t.matrix for t in grams]), _all([t.mean for t in grams]))


def _all(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Joined along the batch where every one is there."""
    known = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(known) if len(known) == len(tensors) else None


def check_map(name: str, features: Tensor) -> None:
    """InputError unless these are feature maps (B, N, M); an empty batch is one."""
    if not isinstance(features, Tensor):
        raise InputError(
            f"style_loss: {name} is of the type {type(features).__name__}",
            remedy="Give a torch tensor",
        )
    if features.ndim != 3 or 0 in features.shape[1:]:
        raise InputError(
            f"style_loss: {name} has the shape {tuple(features.shape)}",
            remedy="Give (B, N, M): batch, channels, positions, of the last two at least one",
        )


def _symmetric(matrix: Tensor) -> bool:
    """Of every matrix (B, N, N); not where an entry is NaN or infinite."""
    skew = (matrix - matrix.mT).abs().amax(dim=(1, 2))
    return bool((skew <= _SYMMETRY * matrix.abs().amax(dim=(1, 2))).all())


def gram_operations(channels: int, positions: int) -> int:
    """Multiply-adds of value and gradient of an image in Gram form, the target's matrix given.

    F F^T in blocks of rows up to the diagonal, and D F.
    """
    ends = [min(begin + BLOCK, channels) for begin in range(0, channels, BLOCK)]
    lower = sum((end - begin) * end for begin, end in zip([0, *ends], ends, strict=False))
    return (lower + channels**2) * positions


def kernel_operations(channels: int, positions: int, target_positions: int | None) -> int:
    """Likewise in kernel form, against a matrix (None) or features of so many positions.

    F^T F and F (F^T F); T F, or S^T F and S (S^T F).
    """
    cross = channels if target_positions is None else 2 * target_positions
    return (2 * positions + cross) * positions * channels
