"""Iterations of differential dynamic programming at fixed multipliers.

    u ← Π(u + α k + K (x̂ − x)),   α the best of 1, ½, ¼, … that keeps a share of what is promised

Steps of second order are taken where they are convex and descend, else those of first order with
the regularisation of Tassa, Erez & Todorov, IROS 2012, section II-F; where these gain little,
which they do near saddles, of second order with δI added.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np

from hybridmodel.planners.differential.paths import STEPS, Local, Path, Paths
from hybridmodel.planners.differential.riccati import Expansion, Policy, backward

_LEAST = 1e-6  # smallest regularisation that is not none
_HARDEST = 1e10
_FACTOR = 2.0  # by which its own factor changes
_ARMIJO = 1e-4  # share of the decrease that the expansion promises
_ROUNDING = 1e-13  # of a cost, relative
_LITTLE = 1e-3  # relative decrease that makes a saddle likely
_SHIFTS = 10.0 ** np.arange(-4, 3)  # relative to the largest number of the Hessian
_Found = TypeVar("_Found")


class LateError(Exception):
    """The deadline does not leave time for the next piece of work."""


class ExhaustedError(Exception):
    """No iteration is left, or none helps."""


class Descent:
    """One planning call's iterations.

    iterations    most of them
    second_order  takes the curvature of the steps

    `best` is the best path met, `local` the expansion of `at`, `law` the policy of the last sweep.
    """

    def __init__(self, paths: Paths, iterations: int, second_order: bool, best: Path) -> None:
        self.paths, self.iterations, self.second_order = paths, iterations, second_order
        self.best, self.iteration = best, 0
        self.at: Path | None = None
        self.local: Local | None = None
        self.law: Policy | None = None
        self._law_of: Local | None = None
        self.regularisation, self._factor = 0.0, 1.0
        self._took: dict[str, float] = {}

    def minimum(self, path: Path, tolerance: float) -> Path:
        """Where the projected gradient is within the tolerance.

        Raises LateError or ExhaustedError.
        """
        while True:
            here = self._here(path)
            if self.gradient(here, path) <= tolerance:
                return path
            self.count()
            policy = self.newton(here, path.u) if self.second_order else None
            moved = None if policy is None else self._stepped(path, policy)
            if moved is None:
                moved = self._regularised(here, path)
                if self.second_order and policy is None:
                    moved = self._off_saddle(here, path, moved)
            while moved is None:
                self.count()
                moved = self._regularised(here, path)
            path = moved
            self.note(path)

    def note(self, path: Path) -> None:
        """Keeps a path where it is the best yet."""
        if path.rank < self.best.rank:
            self.best = path

    def expanded(self, path: Path) -> Local:
        """The expansion of a path."""
        self.local = self._timed("expansion", lambda: self.paths.local(path.x, path.u))
        self.at = path
        return self.local

    def convex(self, path: Path) -> bool:
        """Whether the expansion of a path is convex; its policy is then the law."""
        here = self._here(path)
        if self.second_order:
            return self.newton(here, path.u) is not None
        return self._swept(here, here.first, path.u, 0.0) is not None

    def gradient(self, here: Local, path: Path) -> float:
        """Largest entry of u − Π(u − ∂L/∂u), scaled as IPOPT: Wächter & Biegler 2006, eq. 6."""
        low, high = self.paths.problem.input_low, self.paths.problem.input_high
        moved = path.u - np.clip(path.u - here.slopes, low, high)
        scale = max(1.0, float(np.abs(here.costates).mean()) / 100)
        return float(np.abs(moved).max()) / scale

    def newton(self, here: Local, u: np.ndarray) -> Policy | None:
        """The policy of second order, None where it is not convex."""
        return self._swept(here, self._timed("curvature", lambda: here.second), u, 0.0)

    def regular(self, here: Local, u: np.ndarray) -> Policy | None:
        """The policy of first order with as much regularisation as it takes, None where none
        helps."""
        while self.regularisation <= _HARDEST:
            found = self._swept(here, here.first, u, self.regularisation)
            if found is not None:
                return found
            self.harder()
        return None

    def finish(self, path: Path) -> None:
        """Leaves expansion and law at a path, as far as there is time."""
        with suppress(LateError):
            here = self._here(path)
            if self._law_of is not here and not self.convex(path):
                self.regular(here, path.u)

    def _here(self, path: Path) -> Local:
        if self.local is None or self.at is not path:
            return self.expanded(path)
        return self.local

    def count(self) -> None:
        """One iteration more; raises ExhaustedError where there is none left."""
        if self.iteration >= self.iterations or self.regularisation > _HARDEST:
            raise ExhaustedError
        self.iteration += 1

    def _regularised(self, here: Local, path: Path) -> Path | None:
        """The path after a step of first order, None where it takes more regularisation."""
        policy = self._swept(here, here.first, path.u, self.regularisation)
        moved = None if policy is None else self._stepped(path, policy)
        if moved is None:
            self.harder()
        else:
            self._softer()
        return moved

    def _off_saddle(self, here: Local, path: Path, moved: Path | None) -> Path | None:
        """Where a step of first order gains little, the better of it and one of second order with
        the smallest δI tried that makes it convex: it follows what bends downwards."""
        gain = 0.0 if moved is None else path.merit - moved.merit
        if gain > _LITTLE * abs(path.merit):
            return moved
        second = here.second
        size = float(np.abs(second.hessian).max())
        for shift in _SHIFTS * size:
            added = shift * np.eye(second.hessian.shape[-1])
            convex = replace(second, hessian=second.hessian + added)
            policy = self._swept(here, convex, path.u, 0.0)
            if policy is not None:
                other = self._stepped(path, policy)
                if other is not None and (moved is None or other.merit < moved.merit):
                    return other
                break
        return moved

    def _swept(self, here: Local, at: Expansion, u: np.ndarray, regular: float) -> Policy | None:
        problem = self.paths.problem
        low, high = problem.input_low - u, problem.input_high - u
        found = self._timed("sweep", lambda: backward(at, low, high, regular))
        if found is None or not np.isfinite(found.K).all() or not np.isfinite(found.k).all():
            return None
        self.law, self._law_of = here.policy(found), here
        return self.law

    def _stepped(self, path: Path, policy: Policy) -> Path | None:
        """The longest of the best steps, None where none is good enough."""
        tried = self._timed("rollout", lambda: self.paths.rolled(path.x, path.u, policy))
        rounding = _ROUNDING * max(1.0, abs(path.merit))
        promised = -(STEPS * policy.slope + 0.5 * STEPS**2 * policy.bend)
        merits = np.array([p.merit for p in tried])
        good = (path.merit - merits >= _ARMIJO * promised - rounding) & (promised > 0)
        if not good.any():
            return None
        least = merits[good].min()
        return tried[int(np.flatnonzero(good & (merits <= least + rounding))[0])]

    def _timed(self, name: str, work: Callable[[], _Found]) -> _Found:
        """What a piece of work gives; LateError where it would end after the deadline."""
        if self.paths.task.remaining() <= self._took.get(name, 0.0):
            raise LateError
        began = time.perf_counter()
        found = work()
        self._took[name] = time.perf_counter() - began
        return found

    def harder(self) -> None:
        """Raises the regularisation."""
        self._factor = max(_FACTOR, self._factor * _FACTOR)
        self.regularisation = max(_LEAST, self.regularisation * self._factor)

    def _softer(self) -> None:
        self._factor = min(1 / _FACTOR, self._factor / _FACTOR)
        lower = self.regularisation * self._factor
        self.regularisation = lower if lower >= _LEAST else 0.0
