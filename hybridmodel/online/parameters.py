"""Physical parameters as a random walk, followed by an extended Kalman filter on ϑ.

    ϑ⁺ = ϑ + ω,  ω ~ N(0, q² dt)        e = x⁺ ⊟ F(x, u, p(ϑ)),  J = ∂F/∂ϑ,  e = J Δϑ + N(0, R)
    P⁻ = P + q² dt,  P = (P⁻¹ + w JᵀR⁻¹J)⁻¹,  ϑ ← ϑ + w P JᵀR⁻¹ e, at most `most` dt

w = min(1, gate/‖e‖_S), S = J P⁻ Jᵀ + R: an innovation beyond the gate counts less (Ljung 1999,
section 11.6: random walk and robust norms).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import casadi as ca
import numpy as np
import torch

from hybridmodel.estimators.linearization import Deviations, deviations, process_deviations
from hybridmodel.model import HybridModel
from hybridmodel.online.learner import believed, checked_gate
from physics import Signal
from physics.binding import scalar_form

_HUGE = 1e50  # an error whose square still is a number, with any weight


class ParameterFilter:
    """A Learner of some of a model's declared parameters.

    parameters   their names, among `model.fit_parameters`
    noise        standard deviation of what one step leaves in each state beyond p (tangent rows);
                 None: the square roots of `model.noise`
    walk         how far each wanders in a second: of a positive parameter the relative change, of
                 others in its unit; one number, one for each or by name. q follows from it
    deviation    likewise how far each may be from where it stands at first
    most         largest change of ϑ in a second; a longer step is shortened as a whole
    gate         innovations longer than this count less [deviations of one row]
    farthest     largest distance of ϑ from where it stood at first

    All of p stay inside their domains. Raises ValueError naming the argument.
    """

    def __init__(
        self,
        model: HybridModel,
        parameters: Sequence[str],
        *,
        noise: Deviations | None = None,
        walk: Deviations = 1.0,
        deviation: Deviations = 0.3,
        most: float = 20.0,
        gate: float = 5.0,
        farthest: float = 5.0,
    ) -> None:
        if not parameters:
            raise ValueError("parameters must name at least one")
        for name in parameters:
            if name not in model.fit_parameters:
                raise ValueError(
                    f"parameters: {name!r} is none of the model's fit_parameters "
                    f"{model.fit_parameters}"
                )
        if len(set(parameters)) < len(parameters):
            raise ValueError(f"parameters are named twice in {tuple(parameters)}")
        numbers = {"most": most, "farthest": farthest}
        for what, value in numbers.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{what} must be positive, got {value}")
        self.model, self.parameters = model, tuple(parameters)
        self.rows = [model.fit_parameters.index(name) for name in parameters]
        self.weights = 1 / process_deviations(model, noise) ** 2  # R⁻¹
        named = [Signal(name) for name in parameters]
        units = _units(model, self.parameters)
        self.drift = np.diag((deviations("walk", walk, named) / units) ** 2 * model.dt)
        self.deviation = deviations("deviation", deviation, named) / units
        self.most, self.gate, self.farthest = most * model.dt, checked_gate(gate), farthest
        self.start = model.theta.detach().clone()
        self._function = _sensitivity(model, self.rows)
        self.reset()

    def reset(self) -> None:
        self.model.theta.data.copy_(self.start)
        self.covariance = np.diag(self.deviation**2)

    @property
    def values(self) -> dict[str, float]:
        """The parameters as the model has them now."""
        known = self.model.parameter_values()
        return {name: known[name] for name in self.parameters}

    def learn(self, x: np.ndarray, u: np.ndarray, d: np.ndarray, x_next: np.ndarray) -> str:
        model = self.model
        theta = model.theta.detach().cpu().numpy().astype(float)
        w = [model.weights()] if model.residual is not None else []
        error, J = self._function(x, u, theta, d, x_next[: len(model.system.states)], *w)
        e, J = error.full().ravel(), J.full()
        if not (np.isfinite(J).all() and np.abs(e).max() < _HUGE):  # NaN is not less either
            return "not finite"
        prior = self.covariance + self.drift
        scaled = J.T * self.weights
        information, slope = scaled @ J, scaled @ e
        # ‖e‖² in S = J P⁻ Jᵀ + R by Woodbury's identity: only as large as there are parameters
        first = np.linalg.inv(np.linalg.inv(prior) + information)
        distance = math.sqrt(max(e * self.weights @ e - slope @ first @ slope, 0.0) / len(e))
        share = believed(distance, self.gate)
        P = np.linalg.inv(np.linalg.inv(prior) + share * information) if share < 1 else first
        step = share * (P @ slope)
        step *= min(1.0, self.most / max(float(np.abs(step).max()), 1e-300))
        start = self.start.cpu().numpy()[self.rows]
        moved = np.clip(theta[self.rows] + step, start - self.farthest, start + self.farthest)
        if not (np.isfinite(moved).all() and np.isfinite(P).all()):
            return "not finite"
        # what is not excited would grow without bound: it is never less known than at first
        shrunk = np.minimum(1.0, self.deviation / np.sqrt(np.diag(P)))
        self.covariance = shrunk[:, None] * P * shrunk
        with torch.no_grad():
            for row, value in zip(self.rows, moved.tolist(), strict=True):
                model.theta[row] = value
        return "innovation gated" if share < 1 else ""


def _units(model: HybridModel, names: tuple[str, ...]) -> np.ndarray:
    """By how much one of ϑ moves each parameter, of a positive one relative to its value."""
    known = model.system.parameters
    theta = ca.SX.sym("theta")
    found = []
    for parameter in (known[name] for name in names):
        slope = ca.Function("slope", [theta], [ca.jacobian(parameter.constrain(theta), theta)])
        found.append(1.0 if parameter.domain == "positive" else float(slope(0)))
    return np.array(found)


def _sensitivity(model: HybridModel, rows: list[int]) -> ca.Function:
    """(x, u, ϑ, d, x⁺[, w]) ↦ x⁺ ⊟ F(x, u, p(ϑ)), ∂F/∂ϑ of the chosen rows."""
    step = model.step_function(weights="parameters")
    n = len(model.system.states)
    x, u, d = (ca.MX.sym(name, step.size1_in(i)) for name, i in zip("xud", (0, 1, 3), strict=True))
    theta, moving = ca.MX.sym("theta", len(model.theta)), ca.MX.sym("moving", len(rows))
    after = ca.MX.sym("after", n)
    w = [ca.MX.sym("w", len(model.weights()))] if model.residual is not None else []
    chosen = ca.DM.zeros(len(model.theta), len(rows))
    for column, row in enumerate(rows):
        chosen[row, column] = 1
    pieces = model.equations
    at = ca.Function("at", [x, u, theta, d, moving, *w], [
        step(x, u, pieces.constrain(theta + chosen @ moving), d, *w)[:n]
    ])  # fmt: skip
    there = ca.MX.sym("there", n)
    slope = ca.Function("slope", [x, u, theta, d, moving, there, *w], [
        ca.jacobian(pieces.state_difference(at(x, u, theta, d, moving, *w), there), moving)
    ])  # fmt: skip
    still = ca.DM.zeros(len(rows))
    here = at(x, u, theta, d, still, *w)
    function = ca.Function(
        "sensitivity",
        [x, u, theta, d, after, *w],
        [
            pieces.state_difference(after, here),
            ca.densify(slope(x, u, theta, d, still, here, *w)),
        ],
    )
    return scalar_form(function) or function
