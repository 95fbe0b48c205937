"""PyBullet, imported without the line that it prints about its build."""

from __future__ import annotations

import os
import sys


def _import_quietly():
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no standard error to keep quiet
        import pybullet

        return pybullet
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)  # the line comes from C, below sys.stderr
        import pybullet
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    return pybullet


pybullet = _import_quietly()
