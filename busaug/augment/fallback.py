"""What to do where a batch does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from busaug.device import out_of_memory, release_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def within_memory(
    compute: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | None]:
    """``compute(items)``, or in halves, and halves of those, as far as memory asks; None for an
    item that fails alone.

    So the sizes of smaller batches follow from the size of the first. Where items fail alone, the
    others are computed again with one of them in each failed place: if that fits, their results
    are those of the whole batch, which can differ from a smaller one's in the last bits.
    """
    results = _tried(compute, items)
    if results is not None:
        return list(results)
    if len(items) == 1:
        return [None]
    middle = (len(items) + 1) // 2
    halves = [*within_memory(compute, items[:middle]), *within_memory(compute, items[middle:])]
    good = [index for index, result in enumerate(halves) if result is not None]
    if not good or len(good) == len(items):
        return halves
    filled = [items[i if halves[i] is not None else good[0]] for i in range(len(items))]
    again = _tried(compute, filled)
    if again is None:
        return halves
    return [again[i] if halves[i] is not None else None for i in range(len(items))]


def _tried(
    compute: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> Sequence[Result] | None:
    """None where memory does not suffice. What the failure held is free again on return."""
    try:
        return compute(items)
    except Exception as error:
        if not out_of_memory(error):
            raise
    release_memory()
    return None
