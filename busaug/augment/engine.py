"""From a work unit to its images: load, targets, objective, optimise, judge."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from busaug.augment.cache import TensorCache
from busaug.augment.gate import newly_saturated, reject_reason, ssim
from busaug.augment.maps import RelevanceMaps
from busaug.augment.plan import Pair, Unit, pair_seed
from busaug.config import Config
from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch
from busaug.errors import InputError
from busaug.seeding import key_digest, torch_draw
from busaug.style.features import FeatureExtractor
from busaug.style.objective import Losses, Objective
from busaug.style.optimise import Minimum, minimise
from busaug.style.targets import (
    Targets,
    stack_targets,
    style_targets,
    targets_as_tensors,
    targets_from_tensors,
)
from busaug.trace import span

CURVE_POINTS = 24


@dataclasses.dataclass(frozen=True)
class Figures:
    """What is measured of an image that was optimised."""

    loss_initial: float
    loss_final: float
    content_loss: float
    style_initial: float
    style_final: float
    layers_initial: dict[str, float]
    """Style loss of each layer, unweighted."""
    layers_final: dict[str, float]
    change: float
    """Mean absolute pixel change from the content image."""
    ssim: float
    saturated: float
    curve: tuple[tuple[int, float], ...]
    """(evaluation, best total loss), thinned."""

    @property
    def style_left(self) -> float:
        """Style distance at the end over that at the start, 0 best; 1 where there was none."""
        return self.style_final / self.style_initial if self.style_initial > 0 else 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """The result for one pair."""

    pair: Pair
    image: npt.NDArray[np.float32] | None
    """(H, W) in [0, 1]; None where an input could not be read."""
    figures: Figures | None
    reason: str | None
    """Why it is rejected; None where it is accepted."""

    @property
    def accepted(self) -> bool:
        return self.reason is None


class Engine:
    """Makes the images of work units. A unit's result depends on its pairs and the config alone."""

    def __init__(
        self,
        catalog: Catalog,
        config: Config,
        extractor: FeatureExtractor,
        balance: float,
        maps: RelevanceMaps | None,
        kept: TensorCache | None = None,
    ) -> None:
        """``kept`` are style targets by reference set; None computes them for every pair."""
        self.catalog = catalog
        self.config = config
        self.extractor = extractor
        self.balance = balance
        self.maps = maps
        self._kept = kept

    def run(self, unit: Unit) -> list[Outcome]:
        """Outcomes in the order of the unit's pairs; a pair with a bad file is rejected alone."""
        outcomes: dict[int, Outcome] = {}
        loaded: list[tuple[Pair, Tensor, Tensor]] = []
        for pair in unit.pairs:
            try:
                with span("load"):
                    loaded.append((pair, self._load([pair.content]), self._load(pair.references)))
            except InputError as error:
                reason = f"unreadable: {self.catalog.without_root(error.what)}"
                outcomes[pair.index] = Outcome(pair, None, None, reason)
        if loaded:
            pairs = [pair for pair, _, _ in loaded]
            contents = torch.cat([content for _, content, _ in loaded])
            objective = self._objective(pairs, contents, [refs for _, _, refs in loaded])
            with span("optimise"):
                minimum = minimise(objective, self._start(pairs, contents), self.config.style)
            for row, pair in enumerate(pairs):
                outcomes[pair.index] = self._judge(pair, contents, minimum, row)
        return [outcomes[pair.index] for pair in unit.pairs]

    def explain(self, record: Record) -> None:
        """Have the relevance of a content on disk; one that cannot be read is passed over."""
        if self.maps is not None and record not in self.maps:
            with contextlib.suppress(InputError):
                self.maps.weights(record, self._load([record])[0])

    def targets(self, references: Tensor) -> Targets:
        """Style targets of one reference set (k, 1, H, W)."""
        with span("targets"), torch.no_grad():
            features = self.extractor(references)
            return style_targets(features, self.extractor.style_layers, self.config.style.fusion)

    def _targets(self, pair: Pair, references: Tensor) -> Targets:
        """The same, from disk where they are kept."""
        if self._kept is None:
            return self.targets(references)
        key = key_digest(*(record.sha256 for record in pair.references)).hex()
        tensors = self._kept.fetch(key, lambda: targets_as_tensors(self.targets(references)))
        moved = {name: tensor.to(references.device) for name, tensor in tensors.items()}
        return targets_from_tensors(moved, self.extractor.style_layers)

    def _load(self, records: Sequence[Record]) -> Tensor:
        return load_batch(self.catalog, records, self.config.style.size).to(self.extractor.device)

    def _objective(
        self, pairs: Sequence[Pair], contents: Tensor, references: Sequence[Tensor]
    ) -> Objective:
        targets = stack_targets(
            [self._targets(p, images) for p, images in zip(pairs, references, strict=True)]
        )
        with torch.no_grad():
            features = self.extractor(contents)[self.extractor.content_layer]
        relevance = None
        if self.maps is not None:
            maps = self.maps
            weights = [maps.weights(p.content, x) for p, x in zip(pairs, contents, strict=True)]
            relevance = _on_grid(torch.stack(weights).to(features.device), features)
        weight = self.config.style.gamma * self.balance
        return Objective(self.extractor, features, targets, weight, relevance)

    def _start(self, pairs: Sequence[Pair], contents: Tensor) -> Tensor:
        if self.config.style.start == "content":
            return contents
        noise = [
            torch.rand(
                contents.shape[1:], generator=torch_draw("noise", pair_seed(self.config.seed, pair))
            )
            for pair in pairs
        ]
        return torch.stack(noise).to(contents.device)

    def _judge(self, pair: Pair, contents: Tensor, minimum: Minimum, row: int) -> Outcome:
        image = minimum.images[row, 0].cpu().numpy()
        content = contents[row, 0].cpu().numpy()
        figures = Figures(
            loss_initial=float(minimum.initial.total[row]),
            loss_final=float(minimum.final.total[row]),
            content_loss=float(minimum.final.content[row]),
            style_initial=float(minimum.initial.style[row]),
            style_final=float(minimum.final.style[row]),
            layers_initial=self._by_layer(minimum.initial, row),
            layers_final=self._by_layer(minimum.final, row),
            change=float(np.abs(image - content).mean()),
            ssim=ssim(image, content),
            saturated=newly_saturated(image, content),
            curve=_thin([float(values[row]) for values in minimum.curve]),
        )
        reason = reject_reason(
            initial=figures.loss_initial,
            final=figures.loss_final,
            similarity=figures.ssim,
            saturated=figures.saturated,
            config=self.config.gate,
        )
        return Outcome(pair, image, figures, reason)

    def _by_layer(self, losses: Losses, row: int) -> dict[str, float]:
        values = losses.layers[:, row].tolist()
        return dict(zip(self.extractor.style_layers, values, strict=True))


def _on_grid(weights: Tensor, features: Tensor) -> Tensor:
    """Weights (B, 1, h, w) on the content layer's grid, mean one again."""
    if weights.shape[-2:] == features.shape[-2:]:
        return weights
    moved = functional.interpolate(
        weights, features.shape[-2:], mode="bilinear", align_corners=False, antialias=True
    )
    return moved / moved.mean(dim=(2, 3), keepdim=True)


def _thin(curve: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """At most CURVE_POINTS of a curve, geometrically spaced, first and last kept."""
    last = len(curve) - 1
    spaced = np.geomspace(1, last + 1, CURVE_POINTS) - 1 if last else [0]
    picked = sorted({round(float(x)) for x in spaced} | {0, last})
    return tuple((i, curve[i]) for i in picked)
