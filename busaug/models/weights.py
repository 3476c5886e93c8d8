"""Finding backbone weights: a path, torchvision's published file, or seeded random values.

Only tensors are ever read: safetensors, or ``.pth`` with ``weights_only``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from busaug import console
from busaug.errors import InputError
from busaug.files import atomic_file
from busaug.seeding import key_seed

Backbone = Literal["resnet50", "vgg19"]
ENVIRONMENT = "BUSAUG_WEIGHTS"


@dataclasses.dataclass(frozen=True)
class Published:
    """A file that torchvision publishes; ``sha256`` is its digest or the start of it."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[1]


PUBLISHED: Mapping[Backbone, Published] = {
    "resnet50": Published(
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    "vgg19": Published("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"),
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """A state dict in torchvision's names and where it came from."""

    state: Mapping[str, Tensor]
    name: str
    """For reports: file name, ``imagenet`` or ``random``."""
    sha256: str
    """Of the file, or of the word and seed for random values."""
    pretrained: bool


def _files_of(folder: Path, backbone: Backbone) -> list[Path]:
    """What the weights of a backbone are called in a folder."""
    return [folder / f"{backbone}{suffix}" for suffix in (".safetensors", ".pth")]


def cache_folder() -> Path:
    """Where downloads are kept: ``$XDG_CACHE_HOME/busaug`` or ``~/.cache/busaug``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "busaug"


def find_weights(backbone: Backbone) -> Path | None:
    """A file for ``backbone`` at hand without a download.

    ``$BUSAUG_WEIGHTS`` names it, or a folder that holds ``<backbone>.safetensors`` or ``.pth``;
    then the download cache is looked into.
    """
    named = os.environ.get(ENVIRONMENT)
    candidates: list[Path] = []
    if named:
        place = Path(named)
        if place.is_dir():
            candidates += _files_of(place, backbone)
        elif backbone in place.name:
            candidates.append(place)
    candidates.append(cache_folder() / PUBLISHED[backbone].file_name)
    return next((path for path in candidates if path.is_file()), None)


def resolve_weights(spec: str | None, backbone: Backbone = "resnet50", *, seed: int = 0) -> Weights:
    """Weights for ``spec``: a path, ``imagenet`` (cached download), ``random``, or None.

    A path is a file, or a folder that holds ``<backbone>.safetensors`` or ``.pth``.

    None takes what ``find_weights`` finds, else random values. Raises InputError for a missing or
    unreadable file, a wrong hash, or a download that fails.
    """
    if spec is None:
        found = find_weights(backbone)
        return _read(found) if found is not None else random_weights(backbone, seed)
    if spec == "random":
        return random_weights(backbone, seed)
    if spec == "imagenet":
        return dataclasses.replace(_read(_download(backbone)), name=f"{backbone} imagenet")
    path = Path(spec)
    if path.is_dir():
        path = next((file for file in _files_of(path, backbone) if file.is_file()), path)
    return _read(path)


def random_weights(backbone: Backbone, seed: int = 0) -> Weights:
    """He-normal convolutions drawn from the seed; BatchNorm as the identity.

    Style transfer works with random features, worse than with trained ones; callers say so.
    """
    from busaug.models.resnet import resnet50
    from busaug.models.vgg import vgg19_features

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_seed("random-weights", backbone, seed))
        model: nn.Module = resnet50() if backbone == "resnet50" else vgg19_features()
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    prefix = "" if backbone == "resnet50" else "features."
    state = {prefix + key: value for key, value in model.state_dict().items()}
    digest = hashlib.sha256(f"random:{backbone}:{seed}".encode()).hexdigest()
    return Weights(state, f"random (seed {seed})", digest, pretrained=False)


def load_state(model: nn.Module, weights: Weights, *, prefix: str = "", head: str = "fc.") -> None:
    """Load the keys under ``prefix`` into ``model``; keys under ``head`` are optional.

    Raises InputError naming the first missing, foreign or misshapen key.
    """
    wanted = model.state_dict()
    given = {
        key.removeprefix(prefix): value
        for key, value in weights.state.items()
        if key.startswith(prefix)
    }
    remedy = "Give a state dict with torchvision's key names for this network"
    problem: str | None = None
    for key, value in wanted.items():
        if key not in given:
            if not key.startswith(head) and not key.endswith("num_batches_tracked"):
                problem = problem or f"has no key {prefix}{key}"
        elif given[key].shape != value.shape and not key.startswith(head):
            shapes = f"{tuple(given[key].shape)}, not {tuple(value.shape)}"
            problem = problem or f"has {prefix}{key} of shape {shapes}"
        elif not bool(torch.isfinite(given[key]).all()):
            problem = problem or f"has a value in {prefix}{key} that is not finite"
    if problem:
        raise InputError(f"weights {weights.name}: the file {problem}", remedy=remedy)
    fitting = {
        key: value
        for key, value in given.items()
        if key in wanted and value.shape == wanted[key].shape
    }
    model.load_state_dict(fitting, strict=False)


def _read(path: Path) -> Weights:
    if not path.is_file():
        raise InputError(
            f"weights {path} do not exist",
            remedy="Give a .pth or .safetensors file, 'imagenet' or 'random'",
        )
    state: Any
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise InputError(
            f"weights {path} cannot be read: {_line(error)}", remedy="Check or fetch the file again"
        ) from error
    except Exception as error:  # torch's refusal of pickled code has no public type
        raise InputError(
            f"weights {path} hold more than tensors: {_line(error)}",
            remedy="Save a plain state dict, best as safetensors",
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            f"weights {path} are not a state dict", remedy="Save model.state_dict(), not the model"
        )
    return Weights(state, path.name, file_sha256(path), pretrained=True)


def file_sha256(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _download(backbone: Backbone) -> Path:
    published = PUBLISHED[backbone]
    path = cache_folder() / published.file_name
    if path.is_file():
        _check_hash(path, published)
        return path
    console.say(f"downloading {published.url}")
    try:
        with atomic_file(path) as temporary:
            request = urllib.request.urlopen(published.url, timeout=60)
            with request as response, temporary.open("wb") as file:
                while block := response.read(1 << 20):
                    file.write(block)
            _check_hash(temporary, published)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise InputError(
            f"{published.url} cannot be fetched: {_line(error)}",
            remedy=f"Fetch it elsewhere and say --weights PATH, or put it at {path}",
        ) from error
    return path


def _check_hash(path: Path, published: Published) -> None:
    digest = file_sha256(path)
    if not digest.startswith(published.sha256):
        raise InputError(
            f"{path.name} has sha256 {digest[:16]}..., not {published.sha256[:16]}...",
            remedy=f"Delete {path} and fetch it again",
        )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
