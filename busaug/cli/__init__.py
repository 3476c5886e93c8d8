"""Thin commands over the package's functions: parse, call, print. Heavy imports stay inside."""

from __future__ import annotations

from collections.abc import Callable


def commands() -> list[Callable[..., None]]:
    """Every command, in the order of ``busaug --help``."""
    from busaug.cli.augment import augment
    from busaug.cli.demo import demo
    from busaug.cli.despeckle import despeckle
    from busaug.cli.explain import explain
    from busaug.cli.info import info
    from busaug.cli.prepare import prepare
    from busaug.cli.report import report
    from busaug.cli.settings import settings
    from busaug.cli.train import evaluate, train
    from busaug.cli.verify import regenerate, verify

    return [
        info,
        settings,
        prepare,
        despeckle,
        explain,
        augment,
        verify,
        regenerate,
        train,
        evaluate,
        report,
        demo,
    ]
