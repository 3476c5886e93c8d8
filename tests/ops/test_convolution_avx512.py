"""The code for AVX-512 gives AVX2's bits: by halves, where there is no such processor.

What other tests show of AVX2's kernels then holds for it, but for the instructions themselves.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from simd import supported_simd

ROOT = Path(__file__).parents[2]
HALVES = ROOT / "tests/halves"
SOURCES = [
    HALVES / "kernels.cpp",
    HALVES / "main.cpp",
    ROOT / "csrc/cpu/convolution_avx2.cpp",
]
FLAGS = [
    *("-std=c++17", "-O1", "-mavx2", "-mfma", "-ffp-contract=off"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fsanitize=address", "-DBUSAUG_X86"),
    *(f"-I{ROOT / 'csrc/include'}", f"-I{ROOT / 'csrc/cpu'}"),
]


def differences(folder: Path, *flags: str) -> dict[str, tuple[int, int]]:
    """By kernel, values compared and how many of them differ."""
    compiler = shutil.which("g++")
    if compiler is None or platform.machine() != "x86_64" or "avx2" not in supported_simd():
        pytest.skip("needs g++ and a processor with AVX2")
    program = folder / "halves"
    command = [compiler, *FLAGS, *flags, *SOURCES, "-o", program]
    subprocess.run(command, check=True)
    found = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in found.splitlines()]
    return {name: (int(compared), int(different)) for name, compared, different in rows}


def test_by_halves_it_gives_the_bits_of_avx2(tmp_path: Path) -> None:
    found = differences(tmp_path)
    assert list(found) == ["gate", "input", "output", "product"]
    assert all(compared > 100 for compared, _ in found.values())
    assert [different for _, different in found.values()] == [0, 0, 0, 0]


def test_a_wrong_half_is_seen_in_every_kernel(tmp_path: Path) -> None:
    assert all(different for _, different in differences(tmp_path, "-DBUSAUG_FAULTY").values())
