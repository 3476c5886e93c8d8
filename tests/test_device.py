"""What ``auto`` becomes on the device of a run."""

import pytest
import torch

from busaug.config import load_config
from busaug.device import resolve_precision


@pytest.mark.parametrize(
    ("device", "tensor_cores", "settings", "expected"),
    [
        ("cuda", True, (), "mixed"),
        ("cuda:1", True, (), "mixed"),
        ("cuda", False, (), "single"),
        ("cpu", True, (), "single"),
        ("cuda", True, ("style.softmax=true",), "single"),
        ("cuda", True, ("style.softmax=true", "style.precision=mixed"), "mixed"),
        ("cuda", True, ("style.precision=single",), "single"),
        ("cpu", False, ("style.precision=mixed",), "mixed"),
    ],
)
def test_the_precision_that_pays(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    tensor_cores: bool,
    settings: tuple[str, ...],
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: tensor_cores)
    given = (f"compute.device={device}", "style.precision=auto", *settings)
    assert resolve_precision(load_config(overrides=given)).style.precision == expected
