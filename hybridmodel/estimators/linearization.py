"""A model and its exact derivatives in the tangent space, as functions of numbers.

    F(x ⊞ ξ) ⊟ F(x) ≈ A ξ,    h(x ⊞ ξ) ⊟ h(x) ≈ C ξ

ξ (n,) are errors of the continuous states; memory is known. p and the network's weights are read
from the model at each call, so that one that learns needs no rebuild.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import casadi as ca
import numpy as np

from hybridmodel.model import HybridModel
from physics import Signal, tangent
from physics.binding import scalar_form

Deviations = float | Sequence[float] | np.ndarray | Mapping[str, float]


class Linearization:
    """F, A, h, C, ⊟ and ⊞ of one model, all in numpy.

    Raises ValueError where the network has no CasADi form.
    """

    def __init__(self, model: HybridModel) -> None:
        self.model, system = model, model.system
        self.rows = tangent.signals(system.states)
        self.output_rows = tangent.signals(system.outputs)
        n, nt = len(system.states), len(self.rows)
        self._angles = [i for i, s in enumerate(self.output_rows) if s.angle]
        # a rotation is measured whole or not at all
        self._columns = [
            [i for i, t in enumerate(system.outputs) if (t.quaternion or t.name) == owner]
            for owner in _owners(system.outputs)
        ]
        step, observe = (
            f(weights="parameters") for f in (model.step_function, model.output_function)
        )
        x, u, p, d = (ca.MX.sym(name, step.size1_in(i)) for i, name in enumerate("xupd"))
        w = [ca.MX.sym("w", len(model.weights()))] if model.residual is not None else []
        xi, there = ca.MX.sym("xi", nt), ca.MX.sym("there", n)
        seen = ca.MX.sym("seen", system.ny)
        pieces = model.equations
        moved = ca.vertcat(pieces.state_retract(x[:n], xi), x[n:])
        ahead, y = step(moved, u, p, d, *w), observe(moved, u, p, d, *w)
        error = ca.Function(
            "slope",
            [x, xi, there, seen, u, p, d, *w],
            [
                ca.jacobian(pieces.state_difference(ahead[:n], there), xi),
                ca.jacobian(pieces.output_difference(y, seen), xi),
            ],
        )
        here, now = step(x, u, p, d, *w), observe(x, u, p, d, *w)
        inputs = [x, u, p, d, *w]
        zero = ca.DM.zeros(nt)
        A = error(x, zero, here[:n], now, u, p, d, *w)[0]
        C = error(x, zero, here[:n], now, u, p, d, *w)[1]
        self._step = _fast(ca.Function("step", inputs, [here, ca.densify(A)]))
        self._observe = _fast(ca.Function("observe", inputs, [now, ca.densify(C)]))
        self._state_difference = pieces.state_difference
        self._state_retract = pieces.state_retract
        self._output_difference = pieces.output_difference

    def step(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F(x) (nx,) and A (n, n)."""
        return _numbers(self._step(x, u, *self._own(d)))

    def observe(self, x: np.ndarray, u: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(x) (ny,) and C (tangent rows of y, n)."""
        return _numbers(self._observe(x, u, *self._own(d)))

    def along(
        self, x: np.ndarray, u: np.ndarray, d: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """(h, C) at x₀ … x_N (N+1, nx) under u (N+1, nu), d, and (F, A) from x_k under the next.

        F (N, nx), A (N, n, n), h (N+1, ny), C (N+1, tangent rows of y, n).
        """
        p, _, *w = self._own(np.zeros(0))
        y, C = self._observe(x.T, u.T, p, d.T, *w)
        seen = y.full().T, _blocks(C, len(x))
        if len(x) == 1:
            n = len(self.rows)
            return seen, (np.zeros((0, x.shape[1])), np.zeros((0, n, n)))
        ahead, A = self._step(x[:-1].T, u[1:].T, p, d[1:].T, *w)
        return seen, (ahead.full().T, _blocks(A, len(x) - 1))

    def difference(self, x: np.ndarray, other: np.ndarray) -> np.ndarray:
        """x ⊟ x' (n,) of continuous states."""
        return self._state_difference(x, other).full().ravel()

    def retract(self, x: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """x ⊞ ξ; memory stays."""
        n = len(self.model.system.states)
        moved = self._state_retract(x[:n], xi).full().ravel()
        return np.concatenate([moved, x[n:]])

    def innovation(self, y: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """y ⊟ ŷ (tangent rows of y), angles within half a turn, NaN where y is."""
        missing = ~np.isfinite(y)
        e = self._output_difference(np.where(missing, predicted, y), predicted).full().ravel()
        for i in self._angles:
            e[i] = math.remainder(e[i], 2 * math.pi)
        lost = [missing[columns].any() for columns in self._columns]
        e[lost] = np.nan
        return e

    def _own(self, d: np.ndarray) -> list[np.ndarray]:
        model = self.model
        p = model.physical().detach().cpu().numpy()
        return [p, d, *([model.weights()] if model.residual is not None else [])]


def deviations(name: str, given: Deviations, rows: Sequence[Signal]) -> np.ndarray:
    """Standard deviations (n,) from one number, one for each row, or some by name.

    Raises ValueError naming the argument unless all are known and positive.
    """
    names = [s.name for s in rows]
    if isinstance(given, Mapping):
        if unknown := [key for key in given if key not in names]:
            raise ValueError(f"{name}: no row {unknown[0]!r}; rows are {names}")
        if missing := [key for key in names if key not in given]:
            raise ValueError(f"{name}: {missing[0]!r} is missing; rows are {names}")
        given = [given[key] for key in names]
    values = (
        np.broadcast_to(np.asarray(given, dtype=float), (len(names),)).copy()
        if np.ndim(given) == 0
        else np.array(given, dtype=float)
    )
    if values.shape != (len(names),) or not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"{name} must be positive standard deviations, one number or {len(names)} for "
            f"{names}, got {given!r}"
        )
    return values


def process_deviations(model: HybridModel, given: Deviations | None) -> np.ndarray:
    """Those given, else the square roots of `model.noise`; ValueError where that is not known."""
    if given is not None:
        return deviations("process_noise", given, tangent.signals(model.system.states))
    noise = model.noise.detach().cpu().numpy()
    if not (noise > 0).all():
        raise ValueError(
            "process_noise must be given, the standard deviation that one step leaves in each "
            "state: model.noise is not known (`fit` estimates it)"
        )
    return np.sqrt(noise)


def _owners(signals: Sequence[Signal]) -> list[str]:
    """For each tangent row the signal or the rotation that it is of."""
    found: list[str] = []
    for signal in signals:
        if signal.quaternion is None:
            found.append(signal.name)
        elif signal.quaternion not in found:
            found += 3 * [signal.quaternion]
    return found


def _fast(function: ca.Function) -> ca.Function:
    return scalar_form(function) or function


def _blocks(side_by_side: ca.DM, count: int) -> np.ndarray:
    """(count, rows, columns) of matrices that stand in a row."""
    whole = side_by_side.full()
    return whole.reshape(len(whole), count, -1).swapaxes(0, 1)


def _numbers(found: Any) -> tuple[np.ndarray, np.ndarray]:
    value, slope = found
    return value.full().ravel(), slope.full()
