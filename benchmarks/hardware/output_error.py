"""Identification by output error where the state is not measured.

    min over ϑ of  mean ((ŷ − y)/s)² + λ ‖ϑ‖²,    x₀ and p are both functions of ϑ

One free run over each log, from an initial state that is among the declared parameters or, where
none is named, from the x of the log; Levenberg–Marquardt from several starts (Ljung, System
Identification, 1999, section 7.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import casadi as ca
import numpy as np
import scipy.optimize

from hybridmodel import Dataset, HybridModel, Trajectory
from physics import System

FARTHEST = 30.0  # |ϑ|, beyond which a bounded parameter is its bound


@dataclass(frozen=True)
class OutputError:
    """What was identified: the best system, and (starts,) the RMSE that each start reached."""

    system: System
    rmse: tuple[float, ...]


def identify_output_error(
    system: System,
    data: Trajectory | Sequence[Trajectory],
    *,
    declared: Sequence[str],
    initial: Sequence[str] = (),
    substeps: int = 1,
    starts: int = 10,
    spread: float = 0.4,
    iterations: int = 100,
    prior: float = 1e-6,
    seed: int = 0,
) -> OutputError:
    """Fit the declared parameters, of which those named by `initial` are x at the first sample.

    `spread` is the deviation of the random starts in ϑ. The RMSE is over all outputs in their
    units. Raises ValueError where `initial` does not name one declared parameter a state.
    """
    logs = Dataset([data] if isinstance(data, Trajectory) else data)
    declared, initial = tuple(declared), tuple(initial)
    if initial and (len(initial) != system.nx or not set(initial) <= set(declared)):
        raise ValueError(
            f"initial must name {system.nx} of the declared parameters, one a state, got {initial}"
        )
    model = HybridModel(system, dt=logs.dt, substeps=substeps, fit_parameters=declared)
    step, output = model.step_function().expand(), model.equations.output
    theta = ca.MX.sym("theta", len(declared))
    p = model.equations.constrain(theta)
    named = ca.vertcat(*(p[declared.index(name)] for name in initial))
    errors = []
    scale = np.std(np.concatenate([log.y for log in logs]), axis=0)
    for log in logs:
        n = log.steps
        if not initial and log.x is None:
            raise ValueError("initial must name parameters, since the logs hold no x to start from")
        x0 = named if initial else log.x[0]  # type: ignore[index]
        x = step.mapaccum(n)(x=x0, u=log.u.T, p=ca.repmat(p, 1, n), d=log.d.T)["x_next"]
        y = output.map(n)(x, log.u.T, ca.repmat(p, 1, n), log.d.T)
        errors += [ca.vec((y - log.y[1:].T) / scale)]
    size = sum(log.steps for log in logs) * system.ny
    rows = ca.vertcat(ca.vertcat(*errors) / size**0.5, prior**0.5 * theta)
    misfit = ca.Function("misfit", [theta], [rows])
    columns = misfit.map(2 * len(declared))
    h = 1e-5 * np.eye(len(declared))

    def value(t: np.ndarray) -> np.ndarray:
        return np.clip(np.nan_to_num(np.asarray(misfit(t))[:, 0], nan=1e6), -1e6, 1e6)

    def jacobian(t: np.ndarray) -> np.ndarray:
        moved = np.asarray(columns(np.concatenate([t[:, None] + h, t[:, None] - h], 1)))
        moved = np.clip(np.nan_to_num(moved, nan=1e6), -1e6, 1e6)
        half = moved.shape[1] // 2
        return (moved[:, :half] - moved[:, half:]) / 2e-5

    generator = np.random.default_rng(seed)
    found: list[tuple[float, np.ndarray]] = []
    for start in range(starts):
        first = spread * generator.standard_normal(len(declared)) if start else 0.0
        solution = scipy.optimize.least_squares(
            value,
            np.zeros(len(declared)) + first,
            jacobian,
            bounds=(-FARTHEST, FARTHEST),
            x_scale="jac",
            max_nfev=iterations,
        )
        found.append((float(2 * solution.cost), solution.x))
    best = min(found, key=lambda pair: pair[0])[1]
    values = np.asarray(model.equations.constrain(best))[:, 0]
    return OutputError(
        system=system.with_parameters(**dict(zip(declared, values.tolist(), strict=True))),
        rmse=tuple(float(np.sqrt(cost) * np.sqrt(np.mean(scale**2))) for cost, _ in found),
    )
