"""Alternatives timed side by side: in one process, by turns, in shuffled order."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

MINIMUM = 0.02  # seconds that one measurement lasts at least, in repetitions


def compare(
    alternatives: Mapping[str, Callable[[], object]], *, rounds: int = 11, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds a call, for each alternative and round; a round times each of them once."""
    repetitions = {}
    for name, call in alternatives.items():
        call()  # warm
        start = time.perf_counter()
        call()
        repetitions[name] = max(1, round(MINIMUM / max(time.perf_counter() - start, 1e-7)))
    generator, names = np.random.default_rng(seed), list(alternatives)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in generator.permutation(names):
            call = alternatives[name]
            start = time.perf_counter()
            for _ in range(repetitions[name]):
                call()
            seconds[name].append((time.perf_counter() - start) / repetitions[name])
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, other: str) -> tuple[float, float, float]:
    """How many times `name` takes the time of `other`: median over rounds, lowest, highest."""
    ratios = [a / b for a, b in zip(seconds[name], seconds[other], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)
