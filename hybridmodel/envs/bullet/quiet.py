"""PyBullet without the lines that its C code prints."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches the process's standard output or error, not even from C."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {}
    for stream in (1, 2):
        try:
            kept[stream] = os.dup(stream)
        except OSError:  # it is closed: nothing to keep quiet
            continue
    nowhere = os.open(os.devnull, os.O_WRONLY)
    _flush()  # what C has not written yet came before
    try:
        for stream in kept:
            os.dup2(nowhere, stream)
        yield
    finally:
        _flush()
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


def _flush() -> None:
    """Write what C's own buffers hold; Python's do not know of them."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)


def _import_quietly():
    with quiet():
        import pybullet
    return pybullet


pybullet = _import_quietly()
