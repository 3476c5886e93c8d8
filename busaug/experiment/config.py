"""What an experiment compares, on which images and how: one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from busaug.config import Section, read_yaml, validated

Protocol = Literal["honest", "paper"]
"""``honest``: groups are split, synthetic images come from the training part alone, real images are
tested. ``paper``: images are synthesised from everything and split afterwards."""
Budget = Literal["probe", "full", "full-epochs"]
"""``probe``: a linear head on frozen features. ``full``: the whole network is trained, every arm by
as many updates, each with as many real images. ``full-epochs``: the same for as many epochs of all
that an arm has, as the paper did."""

Settings = dict[str, Any]
"""Settings of ``busaug settings`` by dotted name, such as ``style.gamma: 50``."""


class InputsConfig(Section):
    """How the classifier sees every image, real or synthetic."""

    size: int = Field(96, ge=32, le=1024, description="side of the square input, pixels")
    srad_scale: int = Field(1, ge=0, le=64, description="despeckling scale, 0 for none")


class ProbeConfig(Section):
    """The linear head on frozen features."""

    strengths: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(
        (0.3, 1.0, 3.0, 10.0, 30.0),
        min_length=1,
        description="L2 penalties, of which inner validation chooses one",
    )
    ratios: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(
        (0.25, 1.0, 4.0), min_length=1, description="weight of synthetic over that of real images"
    )


class FullConfig(Section):
    """The network trained as a whole; ``train`` among the settings says how."""

    start: Literal["pretrained", "random"] = Field(
        "pretrained", description="weights before training"
    )
    ratios: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(
        (0.25, 1.0, 4.0), min_length=1, description="synthetic images in a batch, a real one"
    )


class ArmConfig(Section):
    """An arm that differs from a known one."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$", description="of its own")
    like: str = Field(description="the known arm that it starts from")
    settings: Settings = Field(default_factory=dict, description="in which it differs")
    srad_scale: int | None = Field(None, ge=0, le=64, description="in place of inputs.srad_scale")
    against: str | None = Field(None, description="an arm that tables compare it with, beside none")


class ExperimentConfig(Section):
    """Arms, folds, seeds and protocols; see ``docs/experiments.md``."""

    arms: tuple[str | ArmConfig, ...] = Field(min_length=1)
    catalog: Path | None = Field(None, description="folder of busaug prepare, or say --catalog")
    seed: int = Field(0, ge=0, description="of everything but the folds")
    images: int | None = Field(None, ge=2, description="images a class, drawn; default: all")
    blocks: int = Field(20, ge=2, le=1000, description="blocks that groups are dealt into, once")
    folds: int = Field(
        5, ge=3, le=100, description="unions of blocks; inner validation takes one more"
    )
    seeds: int = Field(5, ge=1, le=1000, description="dealings of blocks into folds")
    protocols: tuple[Protocol, ...] = Field(("honest",), min_length=1)
    budgets: tuple[Budget, ...] = Field(("probe",), min_length=1)
    pairs: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        1, description="styled images a content within its block, or all pairs of a class"
    )
    inputs: InputsConfig = InputsConfig()
    probe: ProbeConfig = ProbeConfig()
    full: FullConfig = FullConfig()
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    threads: int = Field(
        1, ge=1, le=1024, description="of each process; images depend on them in the last bits"
    )
    settings: Settings = Field(
        default_factory=dict, description="common to all arms; an arm's own come after them"
    )

    @model_validator(mode="after")
    def _enough_blocks(self) -> ExperimentConfig:
        if self.blocks < self.folds:
            raise ValueError(f"{self.blocks} blocks cannot be dealt into {self.folds} folds")
        return self


def load_experiment(file: Path) -> ExperimentConfig:
    """The experiment in a YAML file. Raises InputError for what does not fit, naming the field."""
    return validated(ExperimentConfig, read_yaml(file), file)
