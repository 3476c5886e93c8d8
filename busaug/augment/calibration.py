"""Choosing the balance beta' of a run from its own training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from busaug import console
from busaug.augment.inputs import Loader
from busaug.augment.plan import Pair, plan_pairs
from busaug.config import Config
from busaug.data.catalog import Catalog
from busaug.distributed.communicator import Communicator, agreed
from busaug.errors import InputError
from busaug.seeding import draw, torch_draw
from busaug.style.calibrate import balance, gradient_ratio
from busaug.style.features import FeatureExtractor
from busaug.style.objective import Objective
from busaug.style.targets import style_targets


def calibrate(
    training: Catalog, config: Config, extractor: FeatureExtractor, comm: Communicator
) -> float:
    """beta': the median gradient ratio over ``style.calibration_pairs`` seeded training pairs.

    The classes share the pairs evenly and one value serves them all. A pair with an unreadable
    image is passed over; InputError where none is left. Collective: the processes share the pairs,
    each of which is measured alone, so that the value does not depend on their number.
    """
    with agreed(comm):
        mine = calibration_pairs(training, config)[comm.rank :: comm.size]
        found = _ratios(mine, training, config, extractor)
    ratios = [ratio for part in comm.gather(found) for ratio in part]
    if not ratios:
        raise InputError("no training image can be read", remedy="Check the Catalog's files")
    return balance(torch.tensor(ratios))


def _ratios(
    pairs: Sequence[Pair], training: Catalog, config: Config, extractor: FeatureExtractor
) -> list[float]:
    """The gradient ratio of each pair that can be read."""
    ratios: list[float] = []
    loader = Loader(training, config, extractor)
    with console.progress("calibrate", len(pairs)) as advance:
        for pair in pairs:
            try:
                inputs = loader.pair(pair)
            except InputError:
                advance()
                continue
            content, references = inputs.content, inputs.references
            with torch.no_grad():
                features = extractor(content.pixels)[extractor.content_layer]
                targets = style_targets(
                    extractor(references.pixels),
                    extractor.style_layers,
                    config.style.fusion,
                    references.kept,
                )
            generator = torch_draw(config.seed, "calibration-noise", pair.content.sha256)
            noise = torch.rand(content.pixels.shape, generator=generator).to(extractor.device)
            objective = Objective(extractor, features, targets, 1.0, kept=content.kept)
            ratio = gradient_ratio(objective, content.laid_over(noise), content.overlays)
            ratios += ratio.tolist()
            advance()
    return ratios


def calibration_pairs(training: Catalog, config: Config) -> list[Pair]:
    """Seeded pairs, as many a class as can be had."""
    values = config.model_dump()
    values["plan"].update(contents=None, pairs=1)
    plan = plan_pairs(training, Config.model_validate(values))
    share = max(1, config.style.calibration_pairs // len(plan.counts()))
    chosen: list[Pair] = []
    begin = 0
    for label, count in plan.counts().items():
        order = draw(config.seed, "calibration", label).permutation(count)[:share]
        chosen += [plan.pair(begin + int(i)) for i in order]
        begin += count
    return chosen
