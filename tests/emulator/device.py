"""The emulated CUDA device of this folder for tests: builds its driver and talks to it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"

_COMMON = [
    "-std=c++17",
    "-g1",
    "-ffp-contract=off",  # as nvcc's --fmad=false
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",  # unroll
    f"-I{CSRC / 'include'}",
    f"-I{HERE}",
    f"-I{HERE / 'shim'}",
]
_CHECKED = ["-fsanitize=address,alignment", "-fno-sanitize-recover=all"]
_KERNELS = [*_CHECKED, "-x", "c++", "-D__CUDACC__", "-D__CUDA_ARCH__=900", "-include"]
_SOURCES = [
    *((path, [*_KERNELS, "cuda_runtime.h"]) for path in sorted(CSRC.glob("cuda/*.cu"))),
    *((path, ["-O1"]) for path in sorted(HERE.glob("*.cpp"))),
    *((CSRC / "cpu" / name, []) for name in ("lrp.cpp", "simd.cpp", "srad.cpp")),  # for check_*
]


class Unavailable(Exception):
    """Why this machine cannot build the emulator."""


class Crashed(Exception):
    """The driver ended: AddressSanitizer or the emulator found a fault in a kernel."""


@dataclass(frozen=True)
class Setting:
    """What the emulated device is, and in which order its threads run."""

    architecture: int = 90
    multiprocessors: int = 4
    shared_bytes: int = 227 * 1024
    order: str = "forward"
    seed: int = 0
    skipped: str = "none:0"
    """A barrier, "file:line", that does nothing."""

    def words(self) -> dict[str, object]:
        file, line = self.skipped.rsplit(":", 1)
        words = {name: value for name, value in vars(self).items() if name != "skipped"}
        return {**words, "skipped_file": file, "skipped_line": line}


ORDERS = [
    Setting(order="forward"),
    Setting(order="reverse"),
    Setting(order="shuffled", seed=0),
    Setting(order="shuffled", seed=1),
]


@dataclass
class Log:
    """What one call did: launches as dictionaries of integers, and the barriers it came to."""

    launches: list[dict[str, int]] = field(default_factory=list)
    barriers: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Log:
        log = cls()
        for line in text.splitlines():
            kind, *words = line.split()
            if kind == "barrier":
                log.barriers.extend(words)
            else:
                pairs = (word.split("=") for word in words)
                log.launches.append({name: int(value) for name, value in pairs})
        return log


class Device:
    """One driver process, started anew after a crash."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.log = Log()
        """Of the last call."""

    def srad(
        self,
        images: Tensor,
        regions: Tensor | None = None,
        ranges: Tensor | None = None,
        *,
        setting: Setting = Setting(),
        shift: int = 0,
        missing: int = 0,
        **options: Any,
    ) -> Tensor:
        """As the op: images (N, H, W).

        They lie ``shift`` bytes after an aligned address, in an array too small by ``missing``.
        """
        count, height, width = images.shape
        found = self._call(
            "srad",
            [tensor for tensor in (images, regions, ranges) if tensor is not None],
            setting,
            dtype=_name(images),
            images=count,
            height=height,
            width=width,
            measured=int(regions is not None),
            compressed=int(ranges is not None),
            shift=shift,
            missing=missing,
            **options,
        )
        return _tensor(found, images.dtype).view(options["scales"], *images.shape)

    def gram_difference(
        self,
        features: Tensor,
        target: Tensor,
        *,
        setting: Setting = Setting(),
        shift: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Loss (B,) and difference (B, N, N) of features (B, N, M) in either layout."""
        batch, channels, positions = features.shape
        by_position = features.mT.is_contiguous() and not features.is_contiguous()
        found = self._call(
            "gram",
            [features.mT if by_position else features, target],
            setting,
            dtype=_name(features),
            images=batch,
            channels=channels,
            positions=positions,
            channels_innermost=int(by_position),
            shift=shift,
        )
        values = _tensor(found, torch.float32)
        return values[:batch], values[batch:].view(batch, channels, channels)

    def lrp(
        self, step: str, *tensors: Tensor, setting: Setting = Setting(), **options: Any
    ) -> tuple[Tensor, bytes]:
        """A step of ``busaug.ops.lrp_steps`` on (B, N, ...) in one memory format.

        Returns its values in a row, as they lie, and the bytes of any sums.
        """
        like = tensors[0]
        batch, channels = like.shape[:2]
        inner = like.shape[2:].numel()
        contiguous = like.is_contiguous()
        if not contiguous and step != "product":
            batch, channels, inner = batch * inner, channels, 1
        found = self._call(
            "lrp",
            [each if contiguous or each.ndim == 1 else _as_it_lies(each) for each in tensors],
            setting,
            dtype=_name(like),
            step=step,
            outer=batch,
            channels=channels,
            inner=inner,
            **options,
        )
        size = like.numel() * (2 if step in ("split", "quotients") else 1) * like.element_size()
        return _tensor(found[:size], like.dtype), found[size:]

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _call(self, op: str, tensors: Iterable[Tensor], setting: Setting, **words: Any) -> bytes:
        if self._process is None:
            self._process = subprocess.Popen(
                [self._program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0"},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        words = {**setting.words(), **words}
        values = (f"{k}={int(v) if isinstance(v, bool) else v}" for k, v in words.items())
        line = " ".join([op, *values])
        try:
            self._process.stdin.write(line.encode() + b"\n")
            for tensor in tensors:
                self._process.stdin.write(_bytes(tensor))
            self._process.stdin.flush()
            verdict, *counts = self._process.stdout.readline().decode().split()
        except (BrokenPipeError, ValueError):
            raise Crashed(self._last_words()) from None
        output, log = (self._process.stdout.read(int(count)) for count in counts)
        if verdict == "error":
            raise RuntimeError(log.decode())
        self.log = Log.parse(log.decode())
        return output

    def _last_words(self) -> str:
        assert self._process is not None
        _, words = self._process.communicate(timeout=60)
        self._process = None
        return words.decode(errors="replace")[:4000]


def build(folder: Path) -> Path:
    """The driver for the sources as they are; an earlier build of the same is used again."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unavailable("the emulator's fibres are written for Linux on x86-64")
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise Unavailable("no C++ compiler")
    program = folder / f"driver-{_fingerprint(compiler)}"
    if program.exists():
        return program
    for former in folder.glob("driver-*"):
        former.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        _try_sanitizer(compiler, Path(name))
        objects = [f"{name}/{index}.o" for index in range(len(_SOURCES))]
        commands = [
            [compiler, *_COMMON, *flags, "-c", str(source), "-o", target]
            for (source, flags), target in zip(_SOURCES, objects, strict=True)
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, commands))
        finished = Path(name, "driver")
        _run([compiler, *_CHECKED, *objects, "-o", str(finished), "-pthread"])
        finished.replace(program)
    return program


def _fingerprint(compiler: str) -> str:
    digest = hashlib.sha256(repr([_COMMON, _SOURCES]).encode())
    digest.update(subprocess.run([compiler, "--version"], capture_output=True).stdout)
    for root in (CSRC, HERE):
        for path in sorted(root.rglob("*")):
            if path.suffix in (".cpp", ".hpp", ".cu", ".h"):
                digest.update(path.as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _try_sanitizer(compiler: str, folder: Path) -> None:
    source = folder / "probe.cpp"
    source.write_text("int main() {}\n")
    probe = subprocess.run(
        [compiler, *_CHECKED, str(source), "-o", str(folder / "probe")], capture_output=True
    )
    if probe.returncode != 0:
        raise Unavailable("the C++ compiler has no AddressSanitizer")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _as_it_lies(tensor: Tensor) -> Tensor:
    """The values of a channels-last (B, N, ...) in the order of memory."""
    return tensor.movedim(1, -1)


def _tensor(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
