"""The libraries that the adapters are for: none is a dependency, an absent one a visible skip."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch


def _import(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of their dependencies
        return pytest.importorskip(name)


@pytest.fixture(scope="session")
def monai():
    return _import("monai")


@pytest.fixture(scope="session")
def albumentations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer one
        return _import("albumentations")


@pytest.fixture(scope="session")
def torchvision():
    """The real torchvision. Its transforms are Python and call none of its compiled operators.
    Where those do not fit the installed torch (wheels made for CUDA beside a torch without), the
    import fails, because it looks their names up; these are declared then.
    """
    spec = find_spec("torchvision")
    if spec is None:
        pytest.skip("could not import 'torchvision'")
    try:
        yield importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    source = Path(spec.origin).with_name("_meta_registrations.py").read_text(encoding="utf-8")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in re.findall(r'register_fake\("torchvision::(\w+)"\)', source):
        library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    yield importlib.import_module("torchvision")


@pytest.fixture(scope="session")
def kornia():
    return _import("kornia")
