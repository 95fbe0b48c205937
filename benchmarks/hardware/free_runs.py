"""Free runs over logged windows and their slopes, and the least squares that rest on them.

    x_{k+1} = F(x_k, u_k, p, d_k, r_k),   r_k = r(z(x_k, u_k, d_k); w) held over the step
    S_{k+1} = (F_x + F_r r_z z_x) S_k + (F_p p_ϑ, F_r r_w),   S = ∂x/∂(ϑ, w)
    min over ϑ, w of  Σ c ρ(e)/Σ c + ‖D (ϑ, w)‖²,   e = (ŷ − y)/s

ρ is Huber's, so that a few wild samples do not decide; Levenberg–Marquardt (Marquardt 1963) on
reweighted squares with exact slopes: physics by CasADi, the network by hand.
Training a few hundred weights over long runs takes tens of steps instead of thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import casadi as ca
import numpy as np
import torch

from benchmarks.hardware.families import Form
from hybridmodel import Dataset, HybridModel
from hybridmodel.batches import batch
from hybridmodel.equations import step
from physics.system import System

FARTHEST = 30.0  # |ϑ|, beyond which a bounded parameter is its bound
LARGEST = 1e3  # |e| counted at most: a run that leaves the numbers is wrong, not infinitely so


@dataclass(frozen=True)
class Runs:
    """N windows: x0 (N, nx), u (N, H, nu), d (N, H, nd), y (N, H, ny); c (N, H) weighs samples.

    `initial` are the declared parameters, by position, that x₀ is instead; () where it is x0.
    """

    x0: np.ndarray
    u: np.ndarray
    d: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    initial: tuple[int, ...] = ()

    def weighed(self, weight: np.ndarray) -> Runs:
        """The same with other weights, without windows and last samples that have none."""
        rows = weight.any(1)
        last = int(np.flatnonzero(weight.any(0)).max()) + 1
        return replace(
            self,
            x0=self.x0[rows],
            u=self.u[rows, :last],
            d=self.d[rows, :last],
            y=self.y[rows, :last],
            weight=weight[rows, :last],
        )


def runs(
    model: HybridModel, logs: Dataset, horizon: int, stride: int, initial: Sequence[str] = ()
) -> tuple[Runs, np.ndarray]:
    """All windows, and (N,) the log that each is from.

    Raises ValueError where `initial` names what is not declared.
    """
    windows = batch(model, logs, horizon, stride=stride)
    with torch.no_grad():
        x0 = windows.x0(model).numpy()
    u, d, y = (v.numpy() for v in (windows.u, windows.d, windows.y[:, 1:]))
    where = tuple(model.fit_parameters.index(name) for name in initial)
    return Runs(x0, u, d, y, np.ones(u.shape[:2]), where), windows.log.numpy()


class FreeRuns:
    """The misfit of one model: its physics, a place for a residual, and the form of that."""

    def __init__(self, model: HybridModel, scale: np.ndarray, form: Form | None) -> None:
        self.model, self.form, self.scale = model, form, scale
        equations, system = model.equations, model.system
        self.count = len(model.fit_parameters)
        x, u, d = (
            ca.SX.sym(n, k) for n, k in (("x", model.nx), ("u", system.nu), ("d", system.nd))
        )
        p = ca.SX.sym("p", self.count)
        r = ca.SX.sym("r", form.nr if form else 0)
        velocity = ca.DM(model.velocity.numpy())
        network = (lambda z: r) if form else None
        after = step(equations, network, model.scheme, x, u, p, d, dt=model.dt, velocity=velocity)
        moved = ca.vertcat(x, r, p)
        slope = ca.densify(ca.jacobian(after, moved))
        self._step = ca.Function("step", [x, u, p, d, r], [ca.densify(after)])
        self._slope = ca.Function("slope", [x, u, p, d, r], [ca.densify(after), slope])
        z = ca.densify(equations.features(x, equations.applied(x, u, p), d)) if form else x[:0]
        self._see = ca.Function("see", [x, u, p, d], [z, ca.densify(ca.jacobian(z, x))])
        y = equations.output(x, u, p, d)
        of = ca.vertcat(x, p)
        self._output = ca.Function("y", [x, u, p, d], [ca.densify(y)])
        self._output_slope = ca.Function(
            "y", [x, u, p, d], [ca.densify(y), ca.densify(ca.jacobian(y, of))]
        )
        self._identity = system.outputs == system.states
        theta = ca.SX.sym("theta", self.count)
        value = equations.constrain(theta)
        self._constrain = ca.Function("p", [theta], [value, ca.jacobian(value, theta)])
        self._maps: dict[tuple[str, int], ca.Function] = {}

    def physical(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """p (np,) and ∂p/∂ϑ (np, np) of t = (ϑ, w)."""
        p, slope = self._constrain(t[: self.count])
        return np.asarray(p)[:, 0], np.asarray(slope)

    def _start(self, data: Runs, p: np.ndarray, dp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x₀ (nx, N) and ∂x₀/∂ϑ (nx, np)."""
        if not data.initial:
            return data.x0.T, np.zeros((self.model.nx, self.count))
        where = list(data.initial)
        return np.repeat(p[where][:, None], len(data.x0), 1), dp[where]

    def _call(self, function: ca.Function, rows: int, *columns: np.ndarray) -> list[np.ndarray]:
        """Each output (N, m, n) of a function mapped over N rows of its arguments."""
        key = (function.name() + str(function.n_out()), rows)
        if key not in self._maps:
            self._maps[key] = function.map(rows)
        found = self._maps[key].call([ca.DM(c) for c in columns])
        results = []
        for i, value in enumerate(found):
            m, n = function.size_out(i)
            results.append(np.asarray(value).reshape(m, rows, n).swapaxes(0, 1))
        return results

    def errors(self, data: Runs, t: np.ndarray) -> np.ndarray:
        """e (N, H, ny)."""
        p, dp = self.physical(t)
        w, n = t[self.count :], len(data.x0)
        P, (x, _) = np.repeat(p[:, None], n, 1), self._start(data, p, dp)
        found = np.empty((n, *data.y.shape[1:]))
        for k in range(data.u.shape[1]):
            u, d = data.u[:, k].T, data.d[:, k].T
            r = np.zeros((0, n))
            if self.form:
                z = self._call(self._see, n, x, u, P, d)[0][..., 0]
                r = self.form.value(w, z).T
            x = np.clip(
                np.nan_to_num(self._call(self._step, n, x, u, P, d, r)[0][..., 0].T), -1e6, 1e6
            )
            found[:, k] = (
                x[: data.y.shape[2]].T
                if self._identity
                else self._call(self._output, n, x, u, P, d)[0][..., 0]
            )
        return np.clip((found - data.y) / self.scale, -LARGEST, LARGEST)

    def error(self, data: Runs, t: np.ndarray) -> float:
        """Σ c ρ(e)/Σ c, per output."""
        e = self.errors(data, t)
        c = data.weight[..., None]
        return float((c * _huber(e)).sum() / (c.sum() * e.shape[-1]))

    def normal(self, data: Runs, t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The error, its half gradient g (nt,), and Gauss and Newton's half curvature (nt, nt)."""
        p, dp = self.physical(t)
        w, n, nt, nx = t[self.count :], len(data.x0), len(t), self.model.nx
        nr = self.form.nr if self.form else 0
        P, (x, begun) = np.repeat(p[:, None], n, 1), self._start(data, p, dp)
        S = np.zeros((n, nx, nt))
        S[..., : self.count] = begun
        A, g, total = np.zeros((nt, nt)), np.zeros(nt), 0.0
        for k in range(data.u.shape[1]):
            u, d = data.u[:, k].T, data.d[:, k].T
            if self.form:
                z, zx = self._call(self._see, n, x, u, P, d)
                r, rz, rw = self.form.slopes(w, z[..., 0])
                after, slope = self._call(self._slope, n, x, u, P, d, r.T)
                Fx, Fr = slope[..., :nx], slope[..., nx : nx + nr]
                S = (Fx + Fr @ (rz @ zx)) @ S
                S[..., self.count :] += Fr @ rw
            else:
                after, slope = self._call(self._slope, n, x, u, P, d, np.zeros((0, n)))
                S = slope[..., :nx] @ S
            S[..., : self.count] += slope[..., nx + nr :] @ dp
            S = np.clip(np.nan_to_num(S), -1e8, 1e8)
            x = np.clip(np.nan_to_num(after[..., 0].T), -1e6, 1e6)
            if self._identity:
                ny = data.y.shape[2]
                y, J = x[:ny].T, S[:, :ny]
            else:
                y, of = self._call(self._output_slope, n, x, u, P, d)
                y, J = y[..., 0], of[..., :nx] @ S
                J[..., : self.count] += of[..., nx:] @ dp
            e = (y - data.y[:, k]) / self.scale
            e = np.clip(e, -LARGEST, LARGEST)
            total += float((data.weight[:, k, None] * _huber(e)).sum())
            c = np.sqrt(data.weight[:, k, None] / np.maximum(np.abs(e), 1.0))
            J = (J / self.scale[:, None] * (c * (np.abs(e) < LARGEST))[..., None]).reshape(-1, nt)
            A += J.T @ J
            g += J.T @ (c * e).ravel()
        size = data.weight.sum() * data.y.shape[2]
        return total / size, g / size, A / size


def _huber(e: np.ndarray) -> np.ndarray:
    """ρ(e) = e² within 1, 2|e| − 1 beyond."""
    size = np.abs(e)
    return np.where(size <= 1, size * size, 2 * size - 1)


@dataclass(frozen=True)
class Found:
    """t = (ϑ, w) and the training error there."""

    t: np.ndarray
    train: float


def solve(
    problem: FreeRuns,
    data: Runs,
    t: np.ndarray,
    prior: np.ndarray,
    *,
    centre: np.ndarray | None = None,
    iterations: int = 15,
    tolerance: float = 1e-4,
) -> Found:
    """Descend from t; prior (nt,) is D², which pulls to `centre`, that is t unless given."""
    centre = t.copy() if centre is None else centre
    error, g, A = problem.normal(data, t)
    cost, mu = error + float(prior @ (t - centre) ** 2), 1e-3
    for _ in range(iterations):
        half, H = g + prior * (t - centre), A + np.diag(prior)
        for _ in range(7):
            damped = H + mu * np.diag(np.maximum(np.diag(H), 1e-10))
            trial = t - np.linalg.solve(damped, half)
            trial[: problem.count] = np.clip(trial[: problem.count], -FARTHEST, FARTHEST)
            fresh = problem.error(data, trial)
            total = fresh + float(prior @ (trial - centre) ** 2)
            if total < cost:
                break
            mu *= 6
        else:
            break
        gain, t, cost, error, mu = 1 - total / cost, trial, total, fresh, max(mu / 6, 1e-7)
        if gain < tolerance:
            break
        _, g, A = problem.normal(data, t)
    return Found(t, error)


def settled(model: HybridModel, problem: FreeRuns, t: np.ndarray) -> System:
    """The system with the parameters of t."""
    p, _ = problem.physical(t)
    return model.system.with_parameters(**dict(zip(model.fit_parameters, p.tolist(), strict=True)))
