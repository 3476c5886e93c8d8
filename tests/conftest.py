"""Fixtures shared by all tests: the real images and weights (absent: a visible skip), seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# An example is right or wrong however long it takes: a busy machine fails no test.
settings.register_profile(
    "untimed",
    settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")

_SHARED = Path(os.environ.get("BUSAUG_SHARED", Path(__file__).parents[2] / "shared"))


def _shared(name: str) -> Path:
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"real data absent: {name} not found (set BUSAUG_SHARED to its folder)")
    return path


@pytest.fixture(scope="session")
def busi_256() -> Path:
    """BUSI at 256x256, class folders."""
    return _shared("data/busi_256")


@pytest.fixture(scope="session")
def busi_native() -> Path:
    """BUSI at native resolution, original naming, with masks."""
    return _shared("data/busi_native")


@pytest.fixture(scope="session")
def resnet50_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet ResNet-50 (product-quantised, 72.2 % top-1) as a safetensors state dict."""
    return _unpack("resnet50_imagenet", tmp_path_factory)


@pytest.fixture(scope="session")
def vgg19_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet VGG-19 features as a safetensors state dict."""
    return _unpack("vgg19_features_imagenet", tmp_path_factory)


def _unpack(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = _shared("weights/unpack.py")
    out = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
    subprocess.run([sys.executable, str(script), name, str(out)], check=True, capture_output=True)
    return out


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Tests may draw from torch's global generator; the package may not."""
    torch.manual_seed(0)
