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
from busaug.augment.calibration import balance_share
from busaug.augment.fallback import within_memory
from busaug.augment.gate import compare, reject_reason
from busaug.augment.inputs import CoveredError, Images, Loader, PairInputs
from busaug.augment.maps import RelevanceMaps
from busaug.augment.marks import laid_over
from busaug.augment.plan import Pair, Unit, pair_seed
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.catalog import Record
from busaug.data.images import Extent
from busaug.errors import InputError
from busaug.seeding import key_digest, torch_draw
from busaug.style.baselines import layer_weights, luma, mixed
from busaug.style.features import FeatureExtractor
from busaug.style.minimum import Minimum
from busaug.style.objective import Losses, Objective
from busaug.style.optimise import minimise
from busaug.style.pyramid import carried, level_evaluations, reduced
from busaug.style.targets import (
    Targets,
    stack_targets,
    targets_as_tensors,
    targets_from_tensors,
    targets_of,
)
from busaug.trace import span

CURVE_POINTS = 24
OUT_OF_MEMORY = "out of memory"


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
    """Share of the pixels under overlays; the figures above are of the rest."""
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
        sources: Sources,
        config: Config,
        extractor: FeatureExtractor,
        balance: float,
        maps: RelevanceMaps | None,
        kept: TensorCache | None = None,
    ) -> None:
        """``kept`` are style targets by reference set; None computes them for every pair."""
        self.sources = sources
        self.config = config
        self.extractor = extractor
        self.balance = balance
        self.maps = maps
        self.loader = Loader(sources, config, extractor)
        self._kept = kept

    def run(self, unit: Unit) -> list[Outcome]:
        """Outcomes in the order of the unit's pairs; a pair that fails is rejected alone."""
        outcomes: dict[int, Outcome] = {}
        batches: dict[Extent, list[PairInputs]] = {}
        for pair in unit.pairs:
            try:
                with span("load"):
                    inputs = self.loader.pair(pair)
                batches.setdefault(inputs.extent, []).append(inputs)
            except InputError as error:
                what = "covered" if isinstance(error, CoveredError) else "unreadable"
                reason = f"{what}: {self.sources.without_roots(error.what)}"
                outcomes[pair.index] = Outcome(pair, None, None, reason)
        for loaded in batches.values():
            made = within_memory(self._make, loaded)
            for inputs, outcome in zip(loaded, made, strict=True):
                failed = Outcome(inputs.pair, None, None, OUT_OF_MEMORY)
                outcomes[inputs.pair.index] = outcome or failed
        return [outcomes[pair.index] for pair in unit.pairs]

    def _make(self, loaded: Sequence[PairInputs]) -> list[Outcome]:
        """The outcomes of pairs of one extent, as one batch."""
        style = self.config.style
        pairs = [inputs.pair for inputs in loaded]
        evaluations = level_evaluations(style)
        coarser: tuple[Tensor, Tensor] | None = None  # start and result of the level below
        finest = self._start(pairs, self.loader.batch([each.content for each in loaded]))
        for level, count in enumerate(evaluations):
            contents = self.loader.batch([each.levels[level].content for each in loaded])
            objective = self.objective(loaded, contents, level)
            rows, columns = contents.pixels.shape[-2:]
            plain = contents.laid_over(reduced(finest, (rows, columns)))
            start = plain if coarser is None else contents.laid_over(carried(plain, *coarser))
            settings = style.model_copy(update={"iterations": count})
            with span("optimise"):
                graph = self._repeatable(objective)
                minimum = minimise(objective, start, settings, contents.overlays, graph=graph)
            coarser = (plain, minimum.images)
        if len(evaluations) > 1:
            # Falls are told from where the image began, not from what coarser levels gave.
            with torch.no_grad():
                minimum = minimum.begun_at(objective.losses(plain))
        return [self._judge(inputs, minimum, row) for row, inputs in enumerate(loaded)]

    def explain(self, record: Record) -> None:
        """Have the relevance of a content on disk; one that cannot be read is passed over."""
        if self.maps is not None and record not in self.maps:
            with contextlib.suppress(InputError):
                self.maps.weights(record, self.loader.content(record).pixels[0])

    def targets(self, references: Images) -> Targets:
        """Style targets of one reference set."""
        with span("targets"):
            style = self.config.style
            return targets_of(
                self.extractor, references.pixels, style.fusion, references.kept, style.kernel
            )

    def _targets(self, inputs: PairInputs, level: int) -> Targets:
        """The same, from disk where they are kept."""
        references = inputs.levels[level].references
        if self._kept is None:
            return self.targets(references)
        records = (record.sha256 for record in inputs.pair.references)
        key = key_digest(*references.pixels.shape[-2:], *records).hex()
        tensors = self._kept.fetch(key, lambda: targets_as_tensors(self.targets(references)))
        moved = {name: tensor.to(self.extractor.device) for name, tensor in tensors.items()}
        return targets_from_tensors(moved, self.extractor.style_layers)

    def objective(
        self, loaded: Sequence[PairInputs], contents: Images, level: int = -1
    ) -> Objective:
        """What the pairs are optimised for at a level, by default the finest.

        ``contents`` are theirs there as one batch.
        """
        style = self.config.style
        targets = stack_targets([self._targets(inputs, level) for inputs in loaded])
        features = dict(self.extractor.stream(contents.pixels))
        content = features[self.extractor.content_layer]
        relevance = None
        if self.maps is not None:
            maps = self.maps
            weights = [maps.weights(each.pair.content, each.content.pixels[0]) for each in loaded]
            relevance = _on_grid(torch.stack(weights).to(content.device), content)
        if style.content_target == "mixture":
            content = mixed(content, self._generators("mixture", [each.pair for each in loaded]))
        by_layer = layer_weights(features, self.extractor.style_layers, style.layer_weights)
        rows, columns = contents.pixels.shape[-2:]
        share = balance_share(self.extractor, (rows, columns), style.size)
        style_weights = style.gamma * self.balance * share * by_layer
        return Objective(
            self.extractor, content, targets, style_weights, relevance, contents.kept, style.kernel
        )

    def _repeatable(self, objective: Objective) -> bool:
        """Whether a step is to be a CUDA graph, which needs every evaluation to do the same."""
        # The Gaussian kernel draws other positions for every evaluation.
        alike = self.extractor.device.type == "cuda" and objective.kernel != "gaussian"
        return alike and self.config.compute.graphs

    def _start(self, pairs: Sequence[Pair], contents: Images) -> Tensor:
        style, start = self.config.style, contents.pixels
        if style.start == "noise":
            shape = start.shape[1:]
            noise = [torch.rand(shape, generator=each) for each in self._generators("noise", pairs)]
            start = contents.laid_over(torch.stack(noise).to(start.device))
        return start.expand(-1, style.channels, -1, -1)

    def _generators(self, purpose: str, pairs: Sequence[Pair]) -> list[torch.Generator]:
        """A generator of its own for each pair."""
        return [torch_draw(purpose, pair_seed(self.config.seed, pair)) for pair in pairs]

    def _judge(self, inputs: PairInputs, minimum: Minimum, row: int) -> Outcome:
        image = luma(minimum.images[row : row + 1])[0, 0].cpu().numpy()
        content = inputs.content.pixels[0, 0].cpu().numpy()
        overlays = inputs.content.overlays
        free = np.ones(image.shape, bool)
        if overlays is not None:
            free = ~overlays[0, 0].cpu().numpy()
            image = laid_over(image, content, ~free)
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
