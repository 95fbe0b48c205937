"""Calling what may fail in any way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Raised:
    """That a call raised an error of this name."""

    name: str


def attempt(call: Callable[[], T]) -> T | Raised:
    """What the call returns, or what it raised; an order to stop the program goes on."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return Raised(type(error).__name__)
