"""Which class of an image is explained."""

from __future__ import annotations

from collections.abc import Callable

from busaug.data.catalog import Record
from busaug.errors import InputError
from busaug.explain.predictor import Predictor

Choice = Callable[[Record], int | None]
"""An image to the index of a logit; None for the highest one."""

_NAMES_TOLD = 12


def choose_class(text: str | None, predictor: Predictor) -> Choice:
    """The choice that ``text`` names: a class, its number from 0 on, ``true`` or ``predicted``.

    A name goes before a word or number that reads the same. None is ``true`` where the network
    knows its classes by name, else ``predicted``. Raises InputError for a class that the network
    does not have, and for ``true`` where it has no names.
    """
    names = () if predictor.info is None else predictor.info.classes
    if text is None:
        return predictor.target
    if text in names:
        return _always(names.index(text))
    if text == "predicted":
        return _always(None)
    if text == "true":
        if not names:
            raise InputError(
                f"{predictor.name} has no names of classes, so that true ones are not known",
                remedy="Say --class predicted, or a number",
            )
        return predictor.target
    # ASCII digits alone: int() would take "+1", "1_0" and digits of other scripts.
    if text.isascii() and text.isdigit() and int(text) < predictor.classes:
        return _always(int(text))
    words = [*names[:_NAMES_TOLD], *(["..."] if len(names) > _NAMES_TOLD else [])]
    words += [f"a number from 0 to {predictor.classes - 1}", *(["true"] if names else [])]
    raise InputError(
        f"{predictor.name} has no class {text!r}",
        remedy=f"Use {', '.join(words)} or predicted",
    )


def _always(index: int | None) -> Choice:
    return lambda _record: index
