"""Choosing the balance beta' of a run from its own training images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from busaug import console
from busaug.augment.plan import Pair, plan_pairs
from busaug.config import Config
from busaug.data.catalog import Catalog, Record
from busaug.data.images import load_batch
from busaug.errors import InputError
from busaug.seeding import draw, torch_draw
from busaug.style.baselines import elements_balance, layer_weights
from busaug.style.calibrate import balance, gradient_ratio
from busaug.style.features import FeatureExtractor
from busaug.style.targets import style_targets


def calibrate(training: Catalog, config: Config, extractor: FeatureExtractor) -> float:
    """beta': what ``style.balance`` says.

    Calibrated, the median gradient ratio over ``style.calibration_pairs`` seeded training pairs.
    The classes share the pairs evenly and one value serves them all. A pair with an unreadable
    image is passed over; InputError where none is left.
    """
    style = config.style
    if style.balance == "elements":
        with torch.no_grad():
            blank = torch.zeros(1, 1, style.size, style.size, device=extractor.device)
            return elements_balance(extractor(blank)[extractor.content_layer])
    ratios = []
    pairs = calibration_pairs(training, config)
    with console.progress("calibrate", len(pairs)) as advance:
        for pair in pairs:
            try:
                content = _load(training, [pair.content], config, extractor)
                references = _load(training, pair.references, config, extractor)
            except InputError:
                advance()
                continue
            with torch.no_grad():
                features = extractor(content)
                targets = style_targets(extractor(references), extractor.style_layers, style.fusion)
            generator = torch_draw(config.seed, "calibration-noise", pair.content.sha256)
            noise = torch.rand(content.shape, generator=generator).to(extractor.device)
            weights = layer_weights(features, extractor.style_layers, style.layer_weights)
            at_content = features[extractor.content_layer]
            ratios.append(gradient_ratio(extractor, at_content, targets, weights, noise))
            advance()
    if not ratios:
        raise InputError("no training image can be read", remedy="Check the Catalog's files")
    return balance(torch.cat(ratios))


def _load(
    training: Catalog, records: Sequence[Record], config: Config, extractor: FeatureExtractor
) -> Tensor:
    return load_batch(training, records, config.style.size).to(extractor.device)


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
