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
from busaug.augment.gate import compare, reject_reason
from busaug.augment.inputs import CoveredError, Images, Loader, PairInputs
from busaug.augment.maps import RelevanceMaps
from busaug.augment.plan import Pair, Unit, pair_seed
from busaug.config import Config
from busaug.data.catalog import Catalog, Record
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
    lesion_ssim: float | None
    """SSIM on the lesion and around it; None where no lesion mask is known."""
    masked: float
    """Share of the pixels that are overlays and left alone; the figures above are of the rest."""
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
        self.loader = Loader(catalog, config, extractor)
        self._kept = kept

    def run(self, unit: Unit) -> list[Outcome]:
        """Outcomes in the order of the unit's pairs; a pair with a bad file is rejected alone."""
        outcomes: dict[int, Outcome] = {}
        loaded: list[PairInputs] = []
        for pair in unit.pairs:
            try:
                with span("load"):
                    loaded.append(self.loader.pair(pair))
            except InputError as error:
                what = "covered" if isinstance(error, CoveredError) else "unreadable"
                reason = f"{what}: {self.catalog.without_root(error.what)}"
                outcomes[pair.index] = Outcome(pair, None, None, reason)
        if loaded:
            contents = self.loader.batch([inputs.content for inputs in loaded])
            objective = self._objective(loaded, contents)
            start = self._start([inputs.pair for inputs in loaded], contents)
            with span("optimise"):
                minimum = minimise(objective, start, self.config.style, contents.overlays)
            for row, inputs in enumerate(loaded):
                outcomes[inputs.pair.index] = self._judge(inputs, minimum, row)
        return [outcomes[pair.index] for pair in unit.pairs]

    def explain(self, record: Record) -> None:
        """Have the relevance of a content on disk; one that cannot be read is passed over."""
        if self.maps is not None and record not in self.maps:
            with contextlib.suppress(InputError):
                self.maps.weights(record, self.loader.images([record]).pixels[0])

    def targets(self, references: Images) -> Targets:
        """Style targets of one reference set."""
        with span("targets"), torch.no_grad():
            features = self.extractor(references.pixels)
            layers, fusion = self.extractor.style_layers, self.config.style.fusion
            return style_targets(features, layers, fusion, references.kept)

    def _targets(self, inputs: PairInputs) -> Targets:
        """The same, from disk where they are kept."""
        if self._kept is None:
            return self.targets(inputs.references)
        key = key_digest(*(record.sha256 for record in inputs.pair.references)).hex()
        tensors = self._kept.fetch(key, lambda: targets_as_tensors(self.targets(inputs.references)))
        moved = {name: tensor.to(self.extractor.device) for name, tensor in tensors.items()}
        return targets_from_tensors(moved, self.extractor.style_layers)

    def _objective(self, loaded: Sequence[PairInputs], contents: Images) -> Objective:
        targets = stack_targets([self._targets(inputs) for inputs in loaded])
        with torch.no_grad():
            features = self.extractor(contents.pixels)[self.extractor.content_layer]
        relevance = None
        if self.maps is not None:
            maps = self.maps
            weights = [maps.weights(each.pair.content, each.content.pixels[0]) for each in loaded]
            relevance = _on_grid(torch.stack(weights).to(features.device), features)
        weight = self.config.style.gamma * self.balance
        return Objective(self.extractor, features, targets, weight, relevance, contents.kept)

    def _start(self, pairs: Sequence[Pair], contents: Images) -> Tensor:
        if self.config.style.start == "content":
            return contents.pixels
        shape = contents.pixels.shape[1:]
        noise = [
            torch.rand(shape, generator=torch_draw("noise", pair_seed(self.config.seed, pair)))
            for pair in pairs
        ]
        return contents.laid_over(torch.stack(noise).to(contents.pixels.device))

    def _judge(self, inputs: PairInputs, minimum: Minimum, row: int) -> Outcome:
        image = minimum.images[row, 0].cpu().numpy()
        content = inputs.content.pixels[0, 0].cpu().numpy()
        overlays = inputs.content.overlays
        free = np.ones(image.shape, bool) if overlays is None else ~overlays[0, 0].cpu().numpy()
        difference = compare(image, content, free, inputs.lesion)
        figures = Figures(
            loss_initial=float(minimum.initial.total[row]),
            loss_final=float(minimum.final.total[row]),
            content_loss=float(minimum.final.content[row]),
            style_initial=float(minimum.initial.style[row]),
            style_final=float(minimum.final.style[row]),
            layers_initial=self._by_layer(minimum.initial, row),
            layers_final=self._by_layer(minimum.final, row),
            change=difference.change,
            ssim=difference.ssim,
            saturated=difference.saturated,
            lesion_ssim=difference.lesion_ssim,
            masked=float((~free).mean()),
            curve=_thin([float(values[row]) for values in minimum.curve]),
        )
        reason = reject_reason(
            initial=figures.loss_initial,
            final=figures.loss_final,
            difference=difference,
            config=self.config.gate,
        )
        return Outcome(inputs.pair, image, figures, reason)

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
