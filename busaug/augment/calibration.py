"""Choosing the balance beta' of a run from its own training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from busaug import console
from busaug.augment.inputs import Loader
from busaug.augment.plan import Pair, plan_pairs
from busaug.augment.sources import Sources
from busaug.config import Config
from busaug.data.images import Extent
from busaug.distributed.communicator import Communicator, agreed
from busaug.errors import InputError
from busaug.seeding import draw, torch_draw
from busaug.style.baselines import elements_balance, layer_weights
from busaug.style.calibrate import balance, gradient_ratio
from busaug.style.features import FeatureExtractor
from busaug.style.objective import Objective
from busaug.style.targets import targets_of

SIZE_MAX = 448
"""Larger images are reduced to this for calibration: the balance grows with the positions."""


def calibrate(
    sources: Sources, config: Config, extractor: FeatureExtractor, comm: Communicator
) -> float:
    """Beta' of a square image of ``style.size``: what ``style.balance`` says.

    Calibrated, the median gradient ratio over ``style.calibration_pairs`` seeded training pairs.
    The classes share the pairs evenly and one value serves them all. A pair with an unreadable
    image is passed over; InputError where none is left. Collective: the processes share the pairs,
    each of which is measured alone, so that the value does not depend on their number.
    """
    size = config.style.size
    measured = min(size, SIZE_MAX)
    larger = balance_share(extractor, (size, size), measured)
    if config.style.balance == "elements":
        blank = torch.zeros(1, 1, measured, measured)
        return elements_balance(dict(extractor.stream(blank))[extractor.content_layer]) * larger
    with agreed(comm):
        mine = calibration_pairs(sources, config)[comm.rank :: comm.size]
        found = _ratios(mine, sources, config, extractor, measured)
    ratios = [ratio for part in comm.gather(found) for ratio in part]
    if not ratios:
        raise InputError("no training image can be read", remedy="Check the Catalog's files")
    return balance(torch.tensor(ratios)) * larger


def balance_share(extractor: FeatureExtractor, extent: Extent, size: int) -> float:
    """Balance of images of an extent over that of squares of ``size``.

    The content loss is a sum over positions, the style loss compares means over them: the balance
    grows with the positions of the content layer (docs/resolution.md has it measured).
    """
    rows, columns = extractor.grids(extent)[extractor.content_layer]
    square = extractor.grids((size, size))[extractor.content_layer]
    return rows * columns / (square[0] * square[1])


def _ratios(
    pairs: Sequence[Pair],
    sources: Sources,
    config: Config,
    extractor: FeatureExtractor,
    size: int,
) -> list[float]:
    """The gradient ratio of each pair that can be read, as of squares of ``size``."""
    ratios: list[float] = []
    style = config.style
    loader = Loader(sources, config, extractor, size=size)
    with console.progress("calibrate", len(pairs)) as advance:
        for pair in pairs:
            try:
                inputs = loader.pair(pair)
            except InputError:
                advance()
                continue
            content, references = inputs.content, inputs.references
            targets = targets_of(
                extractor, references.pixels, style.fusion, references.kept, style.kernel
            )
            features = dict(extractor.stream(content.pixels))
            generator = torch_draw(config.seed, "calibration-noise", pair.content.sha256)
            noise = torch.rand(content.pixels.shape, generator=generator).to(extractor.device)
            weights = layer_weights(features, extractor.style_layers, style.layer_weights)
            at_content = features[extractor.content_layer]
            objective = Objective(
                extractor, at_content, targets, weights, kept=content.kept, kernel=style.kernel
            )
            ratio = gradient_ratio(objective, content.laid_over(noise), content.overlays)
            ratios += (ratio / balance_share(extractor, inputs.extent, size)).tolist()
            advance()
    return ratios


def calibration_pairs(sources: Sources, config: Config) -> list[Pair]:
    """Seeded pairs, as many a class as can be had."""
    values = config.model_dump()
    values["plan"].update(contents=None, pairs=1)
    plan = plan_pairs(sources, Config.model_validate(values))
    share = max(1, config.style.calibration_pairs // len(plan.counts()))
    chosen: list[Pair] = []
    begin = 0
    for label, count in plan.counts().items():
        order = draw(config.seed, "calibration", label).permutation(count)[:share]
        chosen += [plan.pair(begin + int(i)) for i in order]
        begin += count
    return chosen
