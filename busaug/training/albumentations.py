"""Despeckling of a random strength as an albumentations transform.

Imported by name alone: ``from busaug.training.albumentations import RandomSrad``.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from busaug.errors import InputError
from busaug.ops.srad import srad_options
from busaug.seeding import draw
from busaug.training.scales import array_at_scale, require_probability

try:
    from albumentations.core.transforms_interface import ImageOnlyTransform
except ImportError as error:
    raise InputError(
        f"busaug.training.albumentations needs albumentations, which cannot be imported ({error})",
        remedy="pip install 'albumentations>=2.0,<3'",
    ) from error


class RandomSrad(ImageOnlyTransform):
    """With probability p replace the images of a call by one of their SRAD scales.

    All images of a call get the same scale, each of 1 to ``scales`` as likely; masks, boxes and
    labels stay. ``Compose(seed=...)`` sets the draws. In the workers of a torch DataLoader they
    depend on the worker's seed as well, which is another in each worker and epoch:
    albumentations' own generators are copied into all workers alike.

    Images are (H, W) or (H, W, C), uint8, uint16, or float32 and float64 in [0, 1]; the dtype
    stays. Raises InputError as ``busaug.srad`` does.

    Args:
        p: Probability that the images are changed, in [0, 1].
        scales: Number of strengths.
        iterations: Iterations between two scales.
        options: Further options of ``busaug.srad``.
    """

    def __init__(
        self, p: float = 0.5, scales: int = 4, iterations: int = 5, **options: object
    ) -> None:
        require_probability("p", p)
        super().__init__(p)
        self._options = srad_options(scales=scales, iterations=iterations, **options)

    def should_apply(self, force_apply: bool = False) -> bool:
        return force_apply or self._uniform() < self.p

    def get_params(self) -> dict[str, Any]:
        return {"scale": 1 + int(self._uniform() * self._options.scales)}

    def apply(self, img: NDArray[Any], scale: int, **params: Any) -> NDArray[Any]:
        return array_at_scale(img, scale, self._options)

    def get_transform_init_args(self) -> dict[str, Any]:
        return self._options.model_dump()

    def _uniform(self) -> float:
        worker = get_worker_info()
        own = int(self.random_generator.integers(2**63))
        return draw("despeckling", own, worker.seed if worker else -1).random()
