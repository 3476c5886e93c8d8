"""What ``auto`` becomes on the device of a run."""

import pytest
import torch

from busaug.config import load_config
from busaug.device import resolve_precision


@pytest.mark.parametrize(
    ("capability", "settings", "expected"),
    [
        ("avx512_bf16", (), "mixed"),
        ("amx_bf16", (), "mixed"),
        ("avx2", (), "single"),
        ("avx512_bf16", ("style.softmax=true",), "single"),
        ("avx512_bf16", ("style.softmax=true", "style.precision=mixed"), "mixed"),
        ("avx2", ("style.precision=mixed",), "mixed"),
    ],
)
def test_the_precision_that_pays(
    monkeypatch: pytest.MonkeyPatch, capability: str, settings: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    config = load_config(overrides=("style.precision=auto", *settings))
    assert resolve_precision(config).style.precision == expected
