"""Marks of the tests that need a CUDA device: they skip, and say why, where there is none."""

from __future__ import annotations

import pytest
import torch

from busaug.ops._backend import has_cuda_kernels

needs_device = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_kernels = pytest.mark.skipif(
    not (torch.cuda.is_available() and has_cuda_kernels()), reason="no CUDA device or kernels"
)
