"""In which order constraints and columns of a program stand."""

from __future__ import annotations

from collections.abc import Mapping

import casadi as ca
import numpy as np

AT_END = ("terminal_inequality", "terminal_equality", "costs", "risk")  # not of single steps


def each(rows: ca.MX, count: int) -> ca.MX:
    """Every column of rows (n, N) `count` times, side by side."""
    if count == 1:
        return rows
    return rows[:, np.repeat(np.arange(rows.shape[1]), count).tolist()]


def laid_out(blocks: Mapping[str, ca.MX], by_stages: bool) -> tuple[dict[str, np.ndarray], ca.MX]:
    """Where rows stand, (steps, n) by name, and all of them in that order."""
    if not by_stages:
        places, start = {}, 0
        for name, block in blocks.items():
            rows, steps = block.shape
            places[name] = start + np.arange(rows * steps).reshape(steps, rows)
            start += rows * steps
        return places, ca.veccat(*blocks.values())
    of_steps = {name: block for name, block in blocks.items() if name not in AT_END}
    step = ca.vertcat(*of_steps.values())
    width, steps = step.shape
    places, row = {}, 0
    for name, block in of_steps.items():
        here = row + np.arange(block.shape[0])
        places[name] = width * np.arange(steps)[:, None] + here
        row += block.shape[0]
    start = width * steps
    for name in (name for name in blocks if name in AT_END):
        rows = blocks[name].numel()
        places[name] = start + np.arange(rows)[None]
        start += rows
    return places, ca.veccat(step, *(blocks[name] for name in blocks if name in AT_END))
