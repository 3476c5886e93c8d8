"""Rules of csrc/cuda that need no device: what sources may not say, what nvcc makes of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
SOURCES = sorted([*CSRC.rglob("*.?pp"), *CSRC.rglob("*.cu")])
KERNELS = sorted(CSRC.glob("cuda/*.cu"))
CMAKE = (CSRC.parent / "CMakeLists.txt").read_text()

FORBIDDEN = {
    r"<<<": "launches go through cuda/launch.hpp, with a stream",
    r"\bcuda(Malloc|Free)\w*\(": "memory comes from torch, with the workspace",
    r"\b(exit|abort|_Exit|quick_exit)\(": "a library does not end the process",
    r"\bcuda(Device|Stream)Synchronize\(": "a launcher does not wait",
    r"#include <(torch|ATen|c10)/": "native code knows nothing of torch",
    r"\batomicAdd\([^)]*\b(float|double)\b": "sums keep one order",
    r"use_fast_math|__fdividef|__expf|__logf": "bits are those of IEEE arithmetic",
}


def code(path: Path) -> str:
    """A source without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_sources_do_not_say(pattern):
    assert KERNELS
    found = [path.name for path in SOURCES if re.search(pattern, code(path))]
    assert not found, FORBIDDEN[pattern]


def test_only_one_place_launches():
    """Every kernel is started by launch(), which takes a stream; nothing else calls the runtime."""
    assert [path.name for path in SOURCES if "cudaLaunchKernel" in code(path)] == ["launch.hpp"]
    for path in KERNELS:
        text = code(path) + "".join(code(header) for header in CSRC.glob(f"cuda/{path.stem}*.hpp"))
        assert text.count("__global__") > 0
        assert re.search(r"\blaunch\(", text)


def architectures():
    """Of CMakeLists.txt, those that machine code is made for."""
    (listed,) = re.findall(r'BUSAUG_CUDA_ARCHITECTURES "([^"]+)"\n', CMAKE)
    return [int(each.removesuffix("-real")) for each in listed.split(";")]


def own_flags(source):
    """Flags that CMakeLists.txt sets for one file."""
    own = rf'set_source_files_properties\({source} PROPERTIES COMPILE_OPTIONS "([^"]+)"'
    return [flag for found in re.findall(own, CMAKE) for flag in found.split(";")]


def test_srad_is_compiled_without_fused_multiply_add():
    """Which the CPU's code is too; tests in emulation rest on it."""
    assert own_flags("csrc/cuda/srad.cu") == ["--fmad=false"]
    assert "-ffp-contract=off" in CMAKE


@pytest.mark.slow
def test_kernels_compile_without_warnings_and_registers_do_not_spill(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc not found")

    def compiled(work: tuple[Path, int]) -> tuple[str, str]:
        source, architecture = work
        done = subprocess.run(
            [
                nvcc,
                "-std=c++17",
                "-O3",
                f"-arch=sm_{architecture}",
                *own_flags(source.relative_to(CSRC.parent)),
                f"-I{CSRC / 'include'}",
                "--Werror=all-warnings",
                "-Xcompiler=-Wall,-Wextra",
                "-Xptxas=-v,-warn-spills",
                "-cubin",
                "-o",
                str(tmp_path / f"{source.stem}{architecture}.cubin"),
                str(source),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return f"{source.name} sm_{architecture}", done.stderr

    work = [(source, architecture) for source in KERNELS for architecture in architectures()]
    with ThreadPoolExecutor(2) as pool:
        for name, report in pool.map(compiled, work):
            spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
            assert spills, name  # a report of every function
            assert set(spills) == {("0", "0")}, f"{name}\n{report}"
