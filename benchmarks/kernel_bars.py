"""The kernels' bars and what was measured of each: the table of docs/kernels.md.

    pytest benchmarks/test_{srad,style_loss,lrp}.py --benchmark-enable --benchmark-json FILE
    python benchmarks/kernel_bars.py [--speed FILE...]

With --speed the figures of these files, one for each run, are kept in docs/kernels.json first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import bars
from bars import Results, Row, bold, over_runs

_AVX512, _AVX2, _TWO_THREADS, _IMAGES, _SHARE, _ERROR = 35, 25, 1.8, 2, 0.6, 1e-3
_PASSES = {"alpha2beta1": 2.0, "alpha1beta0": 1.6}
_SHARES = {
    "matrix": "style loss and gradient, four ResNet-50 layers at 224², batch 8, share of composite "
    "autograd's time: matrices",
    "features": "... target features",
    "prepared": "... targets made ready for many calls",
}


def updated(document: str, docs: Path) -> str:
    """The document with the table made anew from the results in ``docs``."""
    tests = json.loads((docs / "kernels.json").read_text(encoding="utf-8"))["tests"]
    rows = [*_srad_rows(tests), *_style_loss_rows(tests), *_relevance_rows(tests)]
    return bars.updated(document, bars.table(rows))


def _srad_rows(tests: Mapping[str, Results]) -> Iterator[Row]:
    def faster(name: str) -> list[float]:
        return list(tests[name]["times_faster_than_reference"])

    def one_thread(simd: str, form: str = "rational") -> list[float]:
        return faster(f"test_one_thread[float32-{simd}-{form}]")

    time = median(tests["test_one_thread[float32-avx512-rational]"]["milliseconds"])
    yield (
        "SRAD 512², 8 x 10 iterations, one thread, times as fast as the eager torch reference: "
        "AVX-512",
        f"≥ {_AVX512}",
        f"{over_runs(one_thread('avx512'), lambda x: x >= _AVX512, '.0f')}; {time:.0f} ms",
    )
    yield "... AVX2", f"≥ {_AVX2}", over_runs(one_thread("avx2"), lambda x: x >= _AVX2, ".0f")
    yield "... without either", "-", over_runs(one_thread("baseline"), form=".0f")
    for simd, name in (("avx512", "AVX-512"), ("avx2", "AVX2")):
        found = one_thread(simd, "exponential")
        yield f"... exponential coefficient, {name}", "-", over_runs(found, form=".0f")
    yield (
        "... the whole call (range check, log domain, quietest window)",
        "-",
        over_runs(faster("test_whole_call"), form=".0f"),
    )
    for count, name in ((1, "one image"), (8, "eight images")):
        yield (
            f"SRAD, two threads, times as fast as one: {name}",
            f"≥ {_TWO_THREADS}",
            over_runs(faster(f"test_two_threads[{count}]"), lambda x: x >= _TWO_THREADS),
        )
    yield (
        "... one image on two threads, times as fast as its halves as two images, on two threads "
        "that never wait for each other: the most that the machine gives",
        "-",
        over_runs(faster("test_two_threads_on_one_image_against_two_apart")),
    )
    yield (
        "SRAD, memory beside input and output, images a thread",
        f"≤ {_IMAGES}",
        over_runs(tests["test_memory"]["images_of_memory"], lambda x: x <= _IMAGES, ".1f"),
    )


def _style_loss_rows(tests: Mapping[str, Results]) -> Iterator[Row]:
    for given, name in _SHARES.items():
        found = [tests[f"test_style_loss[{n}-{given}]"] for n in ("one thread", "two threads")]
        shares = [over_runs(_slower(test), lambda x: x <= _SHARE) for test in found]
        yield f"{name}; one thread, two threads", f"≤ {_SHARE}", ", ".join(shares)


def _relevance_rows(tests: Mapping[str, Results]) -> Iterator[Row]:
    for composite, bar in _PASSES.items():
        passes = _slower(tests[f"test_relevance[{composite}-8]"])
        yield (
            "relevance of ResNet-50 at 224², batch 8, two threads, in ordinary passes (forward "
            f"and input gradient): {composite}",
            f"≤ {bar}",
            over_runs(passes, lambda x, bar=bar: x <= bar),
        )
    worst = max(
        error
        for composite in _PASSES
        for batch in (1, 8)
        for error in tests[f"test_relevance[{composite}-{batch}]"]["conservation_error"]
    )
    yield (
        "sum of relevance over the logit, float32, worst of these images",
        f"1 ± {_ERROR:g}",
        bold(f"1 ± {worst:.1g}", worst <= _ERROR),
    )


def _slower(test: Results) -> list[float]:
    return [1 / x for x in test["times_faster_than_reference"]]


if __name__ == "__main__":
    bars.command(__doc__, "kernels", updated)
