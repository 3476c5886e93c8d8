"""The frozen configuration: one YAML file, dotted overrides, a canonical hash.

Every field has a range; an unknown or out-of-range one is an InputError naming it. The resolved
copy and its hash are kept with every output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from busaug.errors import InputError
from busaug.presets import PRESETS

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Region = tuple[int, int, int, int]
Model = TypeVar("Model", bound=BaseModel)

_LATER: dict[str, Any] = {"later": True}
"""Of settings that runs exist without."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SradConfig(Section):
    """Multi-scale speckle-reducing anisotropic diffusion (Yu & Acton 2002)."""

    scales: int = Field(8, ge=1, le=64, description="stored scales L")
    iterations: int = Field(10, ge=1, le=1000, description="iterations between scales")
    time_step: float = Field(0.5, gt=0.0, le=1.0, description="update is time_step/4 x divergence")
    q0: Literal["auto", "image"] | Region | Annotated[float, Field(gt=0.0)] = Field(
        "auto", description="speckle scale: auto, image, region row,column,height,width, or number"
    )
    decay: float = Field(1 / 6, ge=0.0, description="rate of q0 exp(-decay t) for a numeric q0")
    form: Literal[1, 2] = Field(1, description="coefficient: 1 rational, 2 exponential")
    domain: Literal["log", "linear"] = Field("log", description="what the pixels are")


class StyleConfig(Section):
    """The style-transfer loss and its optimisation (docs/optimiser.md has the evidence)."""

    size: int = Field(224, ge=32, le=4096, description="longest side of an image, pixels")
    aspect: Literal["square", "native"] = Field(
        "square", description="square: squashed; native: the content's own aspect ratio"
    )
    levels: int = Field(1, ge=1, le=6, description="of the pyramid, each half the next one's side")
    coarse: float = Field(
        0.5, gt=0.0, lt=1.0, description="share of the evaluations made at the coarser levels"
    )
    backbone: Literal["resnet50", "vgg19"] = "resnet50"
    layers: str = Field("default", description="layer set of the backbone: default, shallow, deep")
    srad_scale: int = Field(
        0,
        ge=0,
        le=64,
        description="despeckling of contents and references before the transfer, 0 for none",
        json_schema_extra=_LATER,
    )
    softmax: bool = Field(False, description="smooth activations by a softmax a layer (SWAG)")
    fusion: Literal["FM", "GM", "UM", "SR"] = Field("FM", description="multi-reference target")
    references: int = Field(4, ge=1, le=64, description="k, images in a reference set")
    kernel: Literal["polynomial", "linear", "gaussian", "batchnorm"] = Field(
        "polynomial",
        description="of the style loss; batchnorm: means and deviations",
        json_schema_extra=_LATER,
    )
    layer_weights: Literal["equal", "positions"] = Field(
        "equal", description="weights of the style layers; positions: in proportion to M"
    )
    content_target: Literal["features", "mixture"] = Field(
        "features", description="mixture: the content's features, channels mixed at random"
    )
    channels: Literal[1, 3] = Field(1, description="planes optimised; 3 end as their luma")
    iterations: int = Field(150, ge=1, le=100_000, description="loss evaluations an image")
    gamma: float = Field(100.0, gt=0.0, description="style weight over the balance")
    balance: Literal["calibrated", "elements"] = Field(
        "calibrated", description="elements: means over elements in place of sums, see method.md"
    )
    precision: Literal["auto", "single", "mixed"] = Field(
        "auto",
        description="mixed: bfloat16 convolutions after the stem; auto: on CUDA tensor cores",
    )
    optimiser: Literal["lbfgs", "adam"] = "lbfgs"
    step: float = Field(0.005, gt=0.0, le=1.0, description="Adam's first step")
    decay: float = Field(0.1, gt=0.0, le=1.0, description="Adam's last step over its first, cosine")
    history: int = Field(40, ge=1, le=100, description="L-BFGS curvature pairs an image")
    smoothing: float = Field(
        1.0, ge=0.0, le=8.0, description="binomial passes that band-limit the first step"
    )
    smoothing_left: Fraction = Field(
        0.1, description="share of passes left at the last step, by the cube of what is left to do"
    )
    plateau: int = Field(
        50, ge=0, description="an image that gained < 0.1 % in so many evaluations ends, 0 never"
    )
    start: Literal["content", "noise"] = Field("content", description="first iterate")
    mask_overlays: bool = Field(True, description="leave burnt-in marks and surround alone")
    calibration_pairs: int = Field(32, ge=1, le=1024, description="pairs that set the balance")


class RelevanceConfig(Section):
    """How relevance enters the content loss."""

    mode: Literal["L0", "LA", "LB", "LS"] = Field(
        "LA", description="L0 none, LA weighted, LB selected, LS shuffled control"
    )
    floor: Fraction = Field(0.1, description="LA: lambda, weight given to every position")
    quantile: Fraction = Field(0.5, description="LB: positions below this quantile are left out")
    composite: Literal["alpha2beta1", "alpha1beta0"] = "alpha2beta1"


class PlanConfig(Section):
    """Which (content, references) pairs are made."""

    contents: int | None = Field(None, ge=1, description="content images in all, stratified")
    pairs: Literal["all"] | Annotated[int, Field(ge=1)] = Field(
        1, description="reference sets a content image, or all ordered same-class pairs"
    )
    unit: int = Field(8, ge=1, le=4096, description="pairs in a work unit (one batch)")


class GateConfig(Section):
    """When an output is rejected."""

    ssim_max: Fraction = Field(0.995, description="a nearer copy of its content is rejected")
    saturated_max: Fraction = Field(0.02, description="share of pixels newly at 0 or 1")
    lesion_ssim_min: Fraction = Field(0.6, description="least SSIM to the content on its lesion")
    kept_min: Fraction = Field(0.25, description="least share of positions free of overlays")


LOOSE_MAX = 10_000
"""Images up to which a format ``auto`` means a PNG file each, beyond which shards."""


class OutputConfig(Section):
    """What ``augment`` writes."""

    format: Literal["auto", "png", "webdataset", "parquet"] = Field(
        "auto", description="png (a file an image), webdataset, parquet; auto: by the plan's size"
    )
    shard: int = Field(4096, ge=1, le=1_000_000, description="planned images a shard, not for png")
    keep_rejected: bool = Field(False, description="keep rejected images, apart from the others")


class TrainConfig(Section):
    """The ResNet-50 classifier."""

    size: int = Field(224, ge=32, le=4096)
    epochs: int = Field(20, ge=1, le=10_000)
    batch: int = Field(32, ge=2, le=65_536, description="images an update, over all processes")
    learning_rate: float = Field(1e-4, gt=0.0, description="for a batch of 32")
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none", description="how the rate follows batch/32: none, linear or sqrt"
    )
    warmup_epochs: int = Field(0, ge=0, description="epochs of a linear rise to the rate")
    momentum: float = Field(0.9, ge=0.0, lt=1.0)
    weight_decay: float = Field(1e-4, ge=0.0)
    dropout: float = Field(0.5, ge=0.0, lt=1.0)
    patience: int = Field(7, ge=1, description="epochs without a better val loss before stopping")
    plateau_patience: int = Field(3, ge=0)
    plateau_factor: float = Field(0.2, gt=0.0, lt=1.0)
    learning_rate_min: float = Field(1e-6, ge=0.0)
    srad_scale: int = Field(1, ge=0, le=64, description="despeckling scale of inputs, 0 for none")
    sensitivity_min: float = Field(
        0.0, ge=0.0, le=1.0, description="that the threshold fixed on validation images must reach"
    )
    precision: Literal["single", "mixed"] = Field(
        "single", description="mixed: bfloat16 products; quicker where the processor has them"
    )


class ComputeConfig(Section):
    """What the bytes may depend on beside the inputs."""

    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    threads: int = Field(0, ge=0, le=1024, description="0 is resolved to the cores at hand")
    graphs: bool = Field(
        False, description="on CUDA devices replay each step as a graph; not tried on one yet"
    )


class Config(Section):
    seed: int = Field(0, ge=0)
    style: StyleConfig = StyleConfig()
    relevance: RelevanceConfig = RelevanceConfig()
    plan: PlanConfig = PlanConfig()
    gate: GateConfig = GateConfig()
    output: OutputConfig = OutputConfig()
    srad: SradConfig = SradConfig()
    train: TrainConfig = TrainConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _single_reference(self) -> Config:
        if self.style.fusion == "SR" and self.style.references != 1:
            raise ValueError("style.fusion SR takes exactly one reference: set style.references=1")
        return self

    @model_validator(mode="after")
    def _other_kernels(self) -> Config:
        style = self.style
        if style.kernel == "polynomial":
            return self
        if style.fusion == "GM":
            raise ValueError(f"style.kernel={style.kernel} needs features, and fusion GM has none")
        if style.mask_overlays:
            raise ValueError(
                f"style.kernel={style.kernel} knows no overlays: set style.mask_overlays=false"
            )
        if style.kernel == "gaussian" and style.optimiser != "adam":
            raise ValueError(
                "style.kernel=gaussian is estimated anew at every evaluation, which no line search"
                " can use: set style.optimiser=adam"
            )
        return self

    @model_validator(mode="after")
    def _coarsest_level(self) -> Config:
        side = self.style.size // 2 ** (self.style.levels - 1)
        if side < 32:
            raise ValueError(
                f"style.levels={self.style.levels} of style.size={self.style.size} begin at"
                f" {side} px, and 32 is the least"
            )
        return self

    @property
    def of_images(self) -> tuple[str, ...]:
        """The sections that decide the bytes of styled images."""
        sections = ("style", "relevance", "plan", "gate", "output", "compute")
        return (*sections, "srad") if self.style.srad_scale else sections

    def sections(self, *names: str) -> dict[str, Any]:
        """The named sections (and the seed) as plain values, for hashing and printing.

        A setting that came after the first runs is told only where it is not at its default, so
        that those can be continued and made again.
        """
        values = self.model_dump(mode="json")
        for field, value in self.style:
            known = StyleConfig.model_fields[field]
            if known.json_schema_extra == _LATER and value == known.default:
                del values["style"][field]
        return {name: values[name] for name in ("seed", *names)}


def load_config(
    file: Path | None = None, *, preset: str = "default", overrides: Sequence[str] = ()
) -> Config:
    """Preset, then file, then ``a.b=c`` overrides (values read as YAML).

    Raises InputError for an unreadable file, an unknown preset or field, or a value out of range.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}", remedy=f"Use one of {', '.join(PRESETS)}")
    values: dict[str, Any] = {}
    _merge(values, PRESETS[preset])
    if file is not None:
        _merge(values, read_yaml(file))
    for text in overrides:
        _merge(values, _parse_override(text))
    return validated(Config, values, file)


def validated(model: type[Model], values: Mapping[str, Any], file: Path | None = None) -> Model:
    """The values as a frozen ``model``; InputError naming the first field that does not fit."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _first_problem(error, model, file) from error


def to_yaml(config: Config) -> str:
    """The configuration as YAML that ``load_config`` reads, each field's meaning beside it."""
    lines = []
    for name, value in config.model_dump(mode="json").items():
        if not isinstance(value, dict):
            lines.append(f"{name}: {_scalar(value)}")
            continue
        section = getattr(config, name)
        lines += ["", f"# {section.__doc__.splitlines()[0]}", f"{name}:"]
        for key, inner in value.items():
            entry = f"  {key}: {_scalar(inner)}"
            meaning = type(section).model_fields[key].description
            lines.append(f"{entry:<31} # {meaning}" if meaning else entry)
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def canonical_hash(value: Any) -> str:
    """SHA-256 of the value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_yaml(file: Path) -> Mapping[str, Any]:
    """The sections of a YAML file; InputError where it cannot be read or holds none."""
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"config {file} cannot be read: {reason}", remedy="Name a readable YAML file"
        ) from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(
            f"config {file} holds a {type(value).__name__}, not sections",
            remedy="Write sections such as 'style:' with fields below them",
        )
    return value


def _parse_override(text: str) -> Mapping[str, Any]:
    path, equals, raw = text.partition("=")
    if not equals or not path.strip():
        raise InputError(f"--set {text!r} is not of the form a.b=c", remedy="Say style.gamma=50")
    try:
        value: Any = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise InputError(
            f"--set {text!r} has a value that is not YAML", remedy="Quote the value"
        ) from error
    for key in reversed(path.strip().split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _first_problem(error: ValidationError, model: type[BaseModel], file: Path | None) -> InputError:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path) or "config"
    where = f" in {file}" if file is not None else ""
    if problem["type"] == "extra_forbidden":
        section: Any = model
        for part in path[:-1]:
            fields = getattr(section, "model_fields", {})
            section = fields[part].annotation if part in fields else None
        known = ", ".join(getattr(section, "model_fields", {}))
        remedy = f"Known here: {known}" if known else "Leave it out"
        return InputError(f"unknown config field {name}{where}", remedy=remedy)
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return InputError(f"config{where}: {reason}", remedy="Change one of the two")
    return InputError(
        f"config field {name}={problem['input']!r}{where}: {reason}", remedy="Give a valid value"
    )
