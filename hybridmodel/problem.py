"""The optimal control problem: the only definition of "the objective".

    min  Σ_{k<H} γᵏ ℓ(xₖ, uₖ, k, πₖ) + γᴴ V(x_H, π_H)
    s.t. xₖ₊₁ = F(xₖ, uₖ, dₖ),  u, x inside their bounds,
         g(xₖ, uₖ, πₖ) ≤ 0,  h(xₖ, uₖ, πₖ) = 0,  g_H(x_H, π_H) ≤ 0,  h_H(x_H, π_H) = 0

H inputs, H + 1 states. π (H+1, nπ) are the problem parameters: the system's exogenous signals d
first, then what the cost names; they change from plan to plan without a rebuild.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.bridges.network import pack_weights
from hybridmodel.caution import Caution
from hybridmodel.costs import Cost
from hybridmodel.forms import Forms
from hybridmodel.learned import Pieces, cut
from hybridmodel.model import HybridModel
from hybridmodel.risk import Risk
from hybridmodel.rollouts import objective_kernel
from hybridmodel.structure import structure
from physics import Signal
from residuals import Probabilistic

Bounds = tuple[Sequence[float], Sequence[float]]
StageConstraint = Callable[[ca.SX, ca.SX, ca.SX], ca.SX]
TerminalConstraint = Callable[[ca.SX, ca.SX], ca.SX]


class OptimalControlProblem:
    """Model, cost, horizon, bounds and constraints.

    model, cost            F and ℓ, V
    horizon                H, steps of `model.dt`
    discount               γ in (0, 1]
    input_bounds           (low, high) of u; default: those of the system's inputs
    state_bounds           (low, high) of x (continuous states); default: the system's
    inequality, equality   (x, u, π) ↦ SX column, held at every step k < H
    terminal_inequality, terminal_equality   (x, π) ↦ SX column, held at H
    caution                what it costs to leave the data of the residual, added to ℓ
    risk                   how the costs of an ensemble's members count; None plans with their mean

    Bounds hold for the commanded u. What is passed is read now: cost and constraints are asked for
    their expressions once, of networks that they call only the weights may change without a
    rebuild, which happens by itself. Raises ValueError naming the argument.
    """

    def __init__(
        self,
        model: HybridModel,
        cost: Cost,
        *,
        horizon: int,
        discount: float = 1.0,
        input_bounds: Bounds | None = None,
        state_bounds: Bounds | None = None,
        inequality: StageConstraint | None = None,
        equality: StageConstraint | None = None,
        terminal_inequality: TerminalConstraint | None = None,
        terminal_equality: TerminalConstraint | None = None,
        caution: Caution | None = None,
        risk: Risk | None = None,
    ) -> None:
        if model.theta.dtype != torch.float64:
            raise ValueError(f"model must be float64 for planning, it is {model.theta.dtype}")
        if horizon < 1:
            raise ValueError(f"horizon must be at least 1 step, got {horizon}")
        if not 0 < discount <= 1:
            raise ValueError(f"discount must lie in (0, 1], got {discount}")
        self.model, self.cost, self.horizon, self.discount = model, cost, horizon, discount
        residual = model.residual
        if risk is not None and not (isinstance(residual, Probabilistic) and residual.count > 1):
            raise ValueError(
                f"risk: needs a model whose residual has members, got {type(residual).__name__}"
            )
        self.caution, self.risk = caution, risk
        self.members: int = residual.count if risk is not None else 1  # type: ignore
        system = model.system
        if not system.nu:
            raise ValueError(f"model: {type(system).__name__} has no inputs, so nothing to plan")
        self.input_low, self.input_high = _bounds("input_bounds", system.inputs, input_bounds)
        low, high = _bounds("state_bounds", system.states, state_bounds)
        free = np.full(model.nx - len(system.states), np.inf)
        self.state_low, self.state_high = np.append(low, -free), np.append(high, free)

        n = len(system.states)
        x, u = ca.SX.sym("x", model.nx), ca.SX.sym("u", system.nu)
        k, pi = ca.SX.sym("k"), ca.SX.sym("pi", system.nd + len(cost.parameters))
        own = pi[system.nd :, :]
        none = ca.SX(0, 1)
        self.n_parameters: int = pi.shape[0]
        self.path_g = _constraint("inequality", inequality, [x, u, pi], [x[:n], u, own], none)
        self.path_h = _constraint("equality", equality, [x, u, pi], [x[:n], u, own], none)
        self.end_g = _constraint(
            "terminal_inequality", terminal_inequality, [x, pi], [x[:n], own], none
        )
        self.end_h = _constraint(
            "terminal_equality", terminal_equality, [x, pi], [x[:n], own], none
        )
        self.stage_terms, self.terminal_terms = self._terms(x, u, k, pi)
        modules = (*self.stage_terms.modules, *self.terminal_terms.modules)
        self.networks = tuple(dict.fromkeys(modules))
        self._known: tuple[Any, Forms] | None = None

    def problem_parameters(self, parameters: np.ndarray | None) -> np.ndarray:
        """π (H+1, nπ) from None (only where nπ = 0), one row (nπ,) or all rows."""
        shape = (self.horizon + 1, self.n_parameters)
        if parameters is None and self.n_parameters == 0:
            return np.zeros(shape)
        given = np.asarray(() if parameters is None else parameters, dtype=float)
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given).all():
            names = [s.name for s in self.model.system.exogenous] + list(self.cost.parameters)
            raise ValueError(
                f"parameters must be finite with shape {shape} or {shape[1:]} for {names}, "
                f"got shape {given.shape}"
            )
        return np.broadcast_to(given, shape)

    def refuse_risk(self, planner: str) -> None:
        """ValueError where the problem has a risk, which this planner cannot plan under."""
        if self.risk is not None:
            raise ValueError(
                f"problem: {planner} plans with the mean of an ensemble and not under "
                f"{self.risk}; take CEM, MPPI or another that draws candidates, or GradientDescent"
            )

    def objective(self, x0: Tensor, u: Tensor, pi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cost (…), states (…, H+1, nx) and violation (…) of inputs (…, H, nu) from x0 (…, nx).

        The violation is the sum over the horizon of how far bounds and constraints are
        overstepped, 0 where all hold. With a `risk`, cost and violation are those of the members'
        own ways, the violation that of the worst; the states are those of the mean network.
        """
        H, nd = self.horizon, self.model.system.nd
        d = pi[..., :H, :nd] if nd else None
        x = self.model.rollout(x0, u, d)
        if self.risk is None:
            cost, violation = self.judged(x, u, pi)
            return cost, x, violation
        costs, violations = self.judged(self.model.rollout(x0, u, d, member="each"), u, pi)
        return self.risk.of(costs), x, violations.amax(0)

    def cost_of(self, x0: Tensor, u: Tensor, pi: Tensor) -> tuple[Tensor, Tensor]:
        """Cost and violation (…) as `objective` has them; states need not be kept for them."""
        kernel = objective_kernel(self, x0, u, pi)
        if kernel is None:
            cost, _, violation = self.objective(x0, u, pi)
            return cost, violation
        return kernel(x0, u, pi)

    def judged(
        self, x: Tensor, u: Tensor, pi: Tensor, *, learned: Sequence[Any] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cost and violation (…) of states (…, H+1, nx) and inputs (…, H, nu).

        learned   maps in place of the networks of `stage_terms`, then of `terminal_terms`
        """
        H, (stage_terms, terminal_terms) = self.horizon, self._torch
        maps = (*stage_terms.modules, *terminal_terms.modules) if learned is None else learned
        at_end = len(stage_terms.modules)
        before, after, last = x[..., :-1, :], x[..., 1:, :], x[..., -1, :]
        ahead, end = pi[..., :H, :], pi[..., H, :]
        k = torch.arange(H, dtype=x.dtype, device=x.device)
        stage, overstepped = stage_terms.run(
            lambda i, z: maps[i](z), before, u, k[:, None], ahead, after
        )
        value, left = terminal_terms.run(lambda i, z: maps[at_end + i](z), last, end)
        cost = (self.discount**k * stage[..., 0]).sum(-1) + self.discount**H * value[..., 0]
        return cost, overstepped[..., 0].sum(-1) + left[..., 0]

    def evaluate(
        self, x0: np.ndarray, u: np.ndarray, parameters: np.ndarray | None = None
    ) -> tuple[float, np.ndarray, float]:
        """Cost, states (H+1, nx) and violation of one input sequence (H, nu)."""
        pi, model = self.problem_parameters(parameters), self.model
        x0, u = np.asarray(x0, dtype=float), np.asarray(u, dtype=float)
        wanted = {"x0": (model.nx,), "u": (self.horizon, model.system.nu)}
        for (name, shape), given in zip(wanted.items(), (x0, u), strict=True):
            if given.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {given.shape}")
        rollout = self._rollout() if self.risk is None else None
        if rollout is not None:
            p = model.physical().detach().cpu().numpy()
            numbers = model.weights(), self.weights()
            cost, x, violation = rollout(x0, u.T, pi.T, p, *numbers)
            known = bool(np.isfinite(x.full()).all())  # fmax(NaN, 0) is 0
            return float(cost), x.full().T, float(violation) if known else float("nan")
        with torch.no_grad():
            arguments = (torch.tensor(v, dtype=torch.float64) for v in (x0, u, pi))
            cost, x, violation = self.objective(*arguments)
        return float(cost), x.numpy(), float(violation)

    @property
    def forms(self) -> Forms:
        """CasADi Functions of the objective, made anew where more than numbers has changed."""
        now = structure(self.model, *self.networks)
        if self._known is None or self._known[0] != now:
            self._known = now, Forms(self)
        return self._known[1]

    @property
    def stage(self) -> ca.Function:
        """(x, u, k, π, v) ↦ ℓ; v (nv,) = `weights()`, which is empty where nothing is learned.

        Raises ValueError where a network of the cost has no CasADi form.
        """
        return self.forms.stage

    @property
    def terminal(self) -> ca.Function:
        """(x, π, v) ↦ V, as `stage`."""
        return self.forms.terminal

    def weights(self) -> np.ndarray:
        """v (nv,), the present numbers of all networks of the cost."""
        return np.concatenate([np.zeros(0), *map(pack_weights, self.networks)])

    def _terms(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> tuple[Pieces, Pieces]:
        """(x, u, k, π, x⁺) ↦ ℓ and (x, π) ↦ V, both with how far is overstepped what must hold."""
        after = ca.SX.sym("after", self.model.nx)
        low = [(b, after[i]) for i, b in enumerate(self.state_low) if np.isfinite(b)]
        high = [(after[i], b) for i, b in enumerate(self.state_high) if np.isfinite(b)]
        outside = [a - b for a, b in (*low, *high)]
        amount = _overstepped(ca.vertcat(self.path_g(x, u, pi), *outside), self.path_h(x, u, pi))
        last = _overstepped(self.end_g(x, pi), self.end_h(x, pi))
        stage = cut(
            "stage_terms",
            {"x": x, "u": u, "k": k, "d": pi, "after": after},
            lambda: {"cost": self._stage_cost(x, u, k, pi), "violation": amount},
        )
        terminal = cut(
            "terminal_terms",
            {"x": x, "d": pi},
            lambda: {"cost": self._terminal_cost(x, pi), "violation": last},
        )
        return stage, terminal

    def _rollout(self) -> ca.Function | None:
        """In CasADi, which is faster than torch for one; None where a network has no such form."""
        try:
            return self.forms.rollout
        except ValueError:
            return None

    @cached_property
    def _torch(self) -> tuple[Pieces, Pieces]:
        return self.stage_terms.map(to_torch), self.terminal_terms.map(to_torch)

    def _stage_cost(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        system = self.model.system  # of x the continuous states, of π what the cost itself names
        value = self.cost.stage(x[: len(system.states)], u, k, pi[system.nd :, :])
        if self.caution is not None:
            value += self.caution.stage(self.model, x, u, pi[: system.nd, :])
        return _scalar("stage", value)

    def _terminal_cost(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        system = self.model.system
        value = self.cost.terminal(x[: len(system.states)], pi[system.nd :, :])
        return _scalar("terminal", value)


def _scalar(name: str, value: ca.SX) -> ca.SX:
    value = ca.SX(value)
    if value.shape != (1, 1):
        raise ValueError(f"cost.{name} must return a scalar, got shape {value.shape}")
    return value


def _overstepped(g: ca.SX, h: ca.SX) -> ca.SX:
    """Σ max(g, 0) + Σ |h|; NaN stays NaN, which fmax would lose."""
    above = [ca.if_else(value <= 0, 0, value) for value in ca.vertsplit(ca.SX(g))]
    return sum(above, ca.SX(0)) + ca.sum1(ca.fabs(h))


def _constraint(
    name: str,
    given: Callable[..., ca.SX] | None,
    inputs: list[ca.SX],
    arguments: list[ca.SX],
    none: ca.SX,
) -> ca.Function:
    value = none if given is None else ca.SX(given(*arguments))
    if value.shape[1] != 1:
        raise ValueError(f"{name} must return a column, got shape {value.shape}")
    return ca.Function(name, inputs, [value])


def _bounds(
    name: str, signals: tuple[Signal, ...], given: Bounds | None
) -> tuple[np.ndarray, np.ndarray]:
    if given is None:
        return (
            np.array([s.low for s in signals], dtype=float),
            np.array([s.high for s in signals], dtype=float),
        )
    if len(given) != 2:
        raise ValueError(f"{name} must be a pair (low, high), got {len(given)} entries")
    low, high = (np.array(b, dtype=float) for b in given)
    if low.shape != (len(signals),) or high.shape != low.shape:
        raise ValueError(
            f"{name} must be two rows of {len(signals)} numbers for "
            f"{[s.name for s in signals]}, got shapes {low.shape} and {high.shape}"
        )
    if not (low <= high).all():
        row = int(np.flatnonzero(~(low <= high))[0])
        raise ValueError(
            f"{name} are reversed for {signals[row].name!r}: low {low[row]} > high {high[row]}"
        )
    return low, high
