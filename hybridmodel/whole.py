"""Whole numbers, as arguments give them."""

from __future__ import annotations

import operator


def whole(name: str, value: object, least: int = 1) -> int:
    """The number as an int; ValueError naming the argument where it is none of at least that."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return number
