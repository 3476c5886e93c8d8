"""The arms: what the training images are joined by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml

from busaug.config import Config, load_config
from busaug.device import resolve_precision
from busaug.errors import InputError
from busaug.experiment.classical import TRANSFORMS
from busaug.experiment.config import ArmConfig, ExperimentConfig, InputsConfig, Settings
from busaug.presets import PRESETS

NONE = "none"
MATCHED = "mean-std"


@dataclasses.dataclass(frozen=True)
class Style:
    """A preset, and settings beside it."""

    preset: str
    settings: Settings = dataclasses.field(default_factory=dict)


STYLES: Mapping[str, Style] = {
    "gram-vgg19": Style("gatys-vgg19"),
    "gram-resnet50": Style("gatys-resnet50"),
    "dnst": Style("dnst-resnet50"),
    "um": Style("proposed-no-xai", {"style.fusion": "UM"}),
    "mr2nst": Style("mr2nst-resnet50"),
    "proposed-no-xai": Style("proposed-no-xai"),
    "proposed-la": Style("proposed", {"relevance.mode": "LA"}),
    "proposed-lb": Style("proposed", {"relevance.mode": "LB"}),
    "proposed-ls": Style("proposed", {"relevance.mode": "LS"}),
    # The program had no gate: nearly all that it makes are near-copies, and they are its result.
    "as-released": Style(
        "as-released",
        {"gate.ssim_max": 1.0, "gate.saturated_max": 1.0, "gate.lesion_ssim_min": 0.0},
    ),
}

ARMS = (NONE, *TRANSFORMS, MATCHED, *STYLES)
"""Every arm that is known by name."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """How synthetic images are made, and how all are seen."""

    name: str
    like: str
    """The known arm it is, or started from."""
    images: str
    """The set of its images: an arm that only sees them otherwise shares those of ``like``."""
    config: Config
    """Of the style transfer; the other arms take size, seed and threads from it."""
    inputs: InputsConfig
    against: str | None = None
    """Another arm of the experiment that results compare it with, beside the baseline."""

    @property
    def synthesises(self) -> bool:
        return self.like != NONE

    @property
    def styled(self) -> bool:
        return self.like in STYLES

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the synthetic images, for hashing: equal recipes make equal images."""
        if self.styled:
            return {"style": self.config.sections(*self.config.of_images)}
        size, seed = self.config.style.size, self.config.seed
        return {"transform": self.like, "size": size, "seed": seed, "pairs": self.config.plan.pairs}


def resolve_arms(experiment: ExperimentConfig) -> list[Arm]:
    """The experiment's arms. Raises InputError for one that is unknown or named twice, or is to be
    compared with one that is not there.
    """
    arms: dict[str, Arm] = {}
    for entry in experiment.arms:
        if isinstance(entry, str):
            entry = ArmConfig(name=entry, like=entry)
        arm = _resolve(entry, experiment)
        if arm.name in arms:
            raise InputError(f"the arm {arm.name!r} is named twice", remedy="Give it another name")
        arms[arm.name] = arm
    for arm in arms.values():
        if arm.against is not None and (arm.against == arm.name or arm.against not in arms):
            raise InputError(
                f"the arm {arm.name!r} is to be compared with {arm.against!r}, which is no other"
                " arm of the experiment",
                remedy=f"Name one of {', '.join(name for name in arms if name != arm.name)}",
            )
    return list(arms.values())


def _resolve(entry: ArmConfig, experiment: ExperimentConfig) -> Arm:
    if entry.like not in ARMS:
        raise InputError(f"unknown arm {entry.like!r}", remedy=f"Use one of {', '.join(ARMS)}")
    style = STYLES.get(entry.like, Style("default"))
    # The experiment's settings are common ground, on which a preset stands as on the defaults.
    layers = (experiment.settings, flattened(PRESETS[style.preset]), style.settings, entry.settings)
    overrides = [
        f"seed={experiment.seed}",
        f"plan.pairs={experiment.pairs}",
        f"style.size={experiment.inputs.size}",
        f"compute.threads={experiment.threads}",
        f"compute.device={experiment.device}",
        *(f"{name}={yaml.safe_dump(value)}" for layer in layers for name, value in layer.items()),
    ]
    inputs = experiment.inputs
    if entry.srad_scale is not None:
        inputs = inputs.model_copy(update={"srad_scale": entry.srad_scale})
    images = entry.name if entry.settings else entry.like
    config = resolve_precision(load_config(overrides=overrides))
    return Arm(entry.name, entry.like, images, config, inputs, entry.against)


def flattened(values: Mapping[str, Any], start: str = "") -> Settings:
    """Nested sections as dotted names."""
    flat: Settings = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{start}{key}.")
        else:
            flat[f"{start}{key}"] = value
    return flat
