"""Which frame of a file with several: a cine loop, the pages of a TIFF."""

from __future__ import annotations

from typing import Literal, get_args

from busaug.errors import InputError

Place = Literal["first", "middle", "last"]
Frame = Place | int
"""A place in the loop, or a number from 1."""
FIRST: Frame = "first"


def parse_frame(text: str) -> Frame:
    """The frame of that name or number; InputError for another."""
    for place in get_args(Place):
        if text == place:
            return place  # type: ignore[no-any-return]
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise InputError(
        f"unknown frame {text!r}", remedy=f"Use one of {', '.join(get_args(Place))}, or a number"
    )


def frame_index(frame: Frame, count: int, name: str) -> int:
    """Index from 0 of the frame among ``count``; InputError where file ``name`` has too few."""
    if isinstance(frame, int):
        if not 1 <= frame <= count:
            raise InputError(
                f"{name} has {count} frame{'' if count == 1 else 's'}, not a frame {frame}",
                remedy="Choose first, middle or last",
            )
        return frame - 1
    return {"first": 0, "middle": (count - 1) // 2, "last": count - 1}[frame]
