"""What is installed is whole: native module, its stub, entry points, no torch in the kernels."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import busaug
from busaug import _native
from busaug.ops import _launch
from busaug.ops._backend import build_info

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for path in (ROOT / "csrc").rglob("*.*") if path.suffix != ".md")


def test_versions_agree() -> None:
    assert importlib.metadata.version("busaug") == busaug.__version__


def test_build_reports_itself() -> None:
    info = build_info()
    assert info["cpu"] is True
    assert info["simd"][0] == "baseline"
    assert info["simd_in_use"] in info["simd"]
    assert info["compiler"]
    assert bool(info["cuda_architectures"]) == bool(info["cuda_compiler"])
    assert bool(info["cuda_architectures"]) == hasattr(_native, "srad_cuda")
    assert all(re.fullmatch(r"(sm|compute)_\d+", name) for name in info["cuda_architectures"])


def test_stub_names_every_function_and_argument() -> None:
    """A class counts by its constructor."""
    stub = ast.parse((Path(busaug.__file__).parent / "_native.pyi").read_text())
    declared = {}
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            declared[node.name] = node
        elif isinstance(node, ast.ClassDef):
            (declared[node.name],) = (
                part for part in node.body if isinstance(part, ast.FunctionDef)
            )
    public = {name for name in dir(_native) if not name.startswith("_")}
    assert public <= set(declared)
    for name in public:
        found = getattr(_native, name)
        documented = found.__init__ if isinstance(found, type) else found
        signature = (documented.__doc__ or "").splitlines()[0]
        names = re.findall(r"(\w+): ", signature.partition("(")[2].rpartition(")")[0])
        arguments = declared[name].args
        expected = [argument.arg for argument in arguments.args + arguments.kwonlyargs]
        assert names == expected, name


def test_command_starts_without_torch() -> None:
    """``busaug --help`` is fast: no command imports torch before it runs."""
    code = (
        "import sys; from busaug.cli.app import app; import busaug;"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.anchor)


@pytest.mark.parametrize("command", [["-m", "busaug"], None])
def test_program_and_module_are_the_same(command: list[str] | None) -> None:
    program = (
        [sys.executable, *command] if command else [str(Path(sys.executable).parent / "busaug")]
    )
    result = subprocess.run(
        [*program, "--help"], check=True, capture_output=True, text=True, cwd=ROOT.anchor
    )
    for name in ("info", "prepare", "despeckle"):
        assert name in result.stdout


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sard'"):
        _ = busaug.sard
    assert set(busaug.__all__) >= {"__version__", "srad"}
    assert all(hasattr(busaug, name) for name in busaug.__all__)


def test_kernels_are_free_of_torch_and_of_default_streams() -> None:
    assert SOURCES
    for path in SOURCES:
        text = path.read_text()
        assert not re.search(r"#include\s*[<\"](torch|ATen|c10)/", text), path
        assert "exit(" not in text, path
        for launch in re.findall(r"<<<(.*?)>>>", text, flags=re.DOTALL):
            assert launch.split(",")[-1].strip() == "stream", f"{path}: <<<{launch}>>>"


def test_pointers_stay_in_one_module() -> None:
    package = Path(busaug.__file__).parent
    for path in package.rglob("*.py"):
        if path != Path(_launch.__file__):
            text = path.read_text()
            assert not re.search(r"\.data_ptr\(|\.cuda_stream\b", text), path


def test_every_dependency_is_pinned_and_hooks_use_the_pins() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    pins: dict[str, set[str]] = {}
    for line in lines:
        name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)(?: ; .*)?", line).groups()
        pins.setdefault(normalised(name), set()).add(version)
    assert pins["torch"] == {"2.13.0"}
    for requirement in importlib.metadata.requires("busaug"):
        name = normalised(re.match(r"[\w.-]+", requirement).group())
        assert name == "busaug" or name in pins, requirement
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    used = re.findall(r"([\w-]+)==([\w.]+)", hooks)
    assert {name for name, _ in used} == {"ruff", "clang-format"}
    assert all(pins[name] == {version} for name, version in used)


def test_horovod_is_of_one_version() -> None:
    script = (ROOT / "scripts/install_horovod.sh").read_text()
    (version,) = re.findall(r"^version=(.*)$", script, flags=re.MULTILINE)
    assert f"\nhorovod=={version}\n" in (ROOT / "constraints.txt").read_text()
    extra = [text for text in importlib.metadata.requires("busaug") if "horovod" in text]
    assert [text.split(";")[0].strip() for text in extra] == [f"horovod[pytorch]=={version}"]


@pytest.mark.parametrize(
    ("options", "sees_torch", "problem"),
    [
        (["--ncc"], True, "unknown option --ncc"),
        ([], False, "has no torch. Install busaug first"),
        pytest.param(
            *(["--nccl"], True, "has no CUDA"),
            marks=pytest.mark.skipif(bool(torch.version.cuda), reason="this torch has CUDA"),
        ),
    ],
)
def test_horovod_is_not_built_where_it_cannot_be(
    tmp_path: Path, options: list[str], sees_torch: bool, problem: str
) -> None:
    python = tmp_path / "python"
    flag = "" if sees_torch else " -S"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}"{flag} "$@"\n')
    python.chmod(0o755)
    result = subprocess.run(
        [str(ROOT / "scripts/install_horovod.sh"), "--cache", str(tmp_path / "cache"), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": str(python)},
    )
    assert result.returncode == 2
    assert problem in result.stderr
    assert not (tmp_path / "cache").exists()


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(not hasattr(_native, "srad_cuda"), reason="built without CUDA")
@pytest.mark.skipif(torch.cuda.is_available(), reason="a device is there")
def test_cuda_without_a_driver_is_an_exception() -> None:
    options = {"scales": 1, "iterations": 1, "time_step": 0.5, "q0": 0.5, "decay": 0.0, "form": 1}
    with pytest.raises(RuntimeError, match="cuda"):
        _native.srad_cuda(
            params=_native.SradParams(shape=(1, 4, 4), **options, correction=0),
            dtype="float32",
            images=16,
            regions=0,
            ranges=0,
            output=32,
            workspace=48,
            device=0,
            stream=0,
        )


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("ninja")), reason="no CMake, ninja")
@pytest.mark.parametrize(
    ("options", "works"),
    [
        (["-DBUSAUG_CUDA=OFF"], True),
        (["-DBUSAUG_CUDA=AUTO"], True),
        (["-DBUSAUG_CUDA=ON"], False),
        (["-DBUSAUG_CUDA=MAYBE"], False),
    ],
)
def test_build_with_a_broken_nvcc(tmp_path: Path, options: list[str], works: bool) -> None:
    """AUTO passes over an nvcc that cannot compile; ON says so."""
    pybind11 = pytest.importorskip("pybind11")
    nvcc = tmp_path / "bin/nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\nexit 1\n")
    nvcc.chmod(0o755)
    result = subprocess.run(
        [
            *("cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), "-G", "Ninja"),
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *options,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{nvcc.parent}:{os.environ['PATH']}", "CUDACXX": str(nvcc)},
    )
    assert (result.returncode == 0) is works, result.stderr
    if works:
        assert "busaug: CUDA architectures: none" in result.stdout
        assert "warning" not in result.stderr.lower()
