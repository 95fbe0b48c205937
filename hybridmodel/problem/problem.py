"""The optimal control problem: the only definition of "the objective".

    min  Σ_{k<H} γᵏ ℓ(xₖ, uₖ, k, πₖ) + γᴴ V(x_H, π_H)
    s.t. xₖ₊₁ = F(xₖ, uₖ, dₖ),  u, x inside their bounds,  |uₖ − uₖ₋₁| ≤ r dt,
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
from hybridmodel.costs.cost import Cost
from hybridmodel.learned import Pieces, cut
from hybridmodel.model import HybridModel
from hybridmodel.problem.adaptive import Adaptive
from hybridmodel.problem.bounds import Bounds, bounds, rates
from hybridmodel.problem.caution import Caution
from hybridmodel.problem.chance import Chance, slopes
from hybridmodel.problem.constraints import Constraints, Given, above, constraints
from hybridmodel.problem.forms import Forms
from hybridmodel.problem.risk import Risk
from hybridmodel.problem.stopping import Stop
from hybridmodel.rollouts import REPEATED, objective_kernel
from hybridmodel.structure import structure
from hybridmodel.twins import remembering
from physics import Paced
from residuals import Probabilistic


class OptimalControlProblem:
    """Model, cost, horizon, bounds and constraints.

    model, cost            F and ℓ, V
    horizon                H, steps of `model.dt`
    discount               γ in (0, 1]
    input_bounds           (low, high) of u; default: those of the system's inputs
    input_rate             (nu,) largest |u̇| r per second, u₋₁ counted in; default: free
    state_bounds           (low, high) of x (continuous states); default: the system's
    inequality, equality   (x, u, π) ↦ SX column, held at every step k < H
    terminal_inequality, terminal_equality   (x, π) ↦ SX column, held at H; a constraint that may
                           be overstepped at a cost is `Soft`, several are given as a list
    caution                what it costs to leave the data of the residual, added to ℓ
    risk                   how the costs of an ensemble's members count; None plans with their mean
    chance                 the probability with which inequalities and state bounds hold
    stop                   where the horizon ends because members part

    Bounds hold for the commanded u. With an `input_rate`, `model` remembers the input before, so
    that states have nu rows more (see `start`). What is passed is read now: cost and constraints
    are asked for their expressions once, of networks that they call only the weights may change
    without a rebuild, which happens by itself. Raises ValueError naming the argument.
    """

    def __init__(
        self,
        model: HybridModel,
        cost: Cost,
        *,
        horizon: int,
        discount: float = 1.0,
        input_bounds: Bounds | None = None,
        input_rate: Sequence[float] | np.ndarray | None = None,
        state_bounds: Bounds | None = None,
        inequality: Given = None,
        equality: Given = None,
        terminal_inequality: Given = None,
        terminal_equality: Given = None,
        caution: Caution | None = None,
        risk: Risk | None = None,
        chance: Chance | None = None,
        stop: Stop | None = None,
    ) -> None:
        if model.theta.dtype != torch.float64:
            raise ValueError(f"model must be float64 for planning, it is {model.theta.dtype}")
        if not isinstance(horizon, int | np.integer) or horizon < 1:
            raise ValueError(f"horizon must be a whole number of at least 1 step, got {horizon!r}")
        if not 0 < discount <= 1:
            raise ValueError(f"discount must lie in (0, 1], got {discount}")
        system = model.system
        if not system.nu:
            raise ValueError(f"model: {type(system).__name__} has no inputs, so nothing to plan")
        self.input_rate = rates(system.inputs, input_rate)
        self.model = model if self.input_rate is None else remembering(model)
        self.cost, self.horizon, self.discount = cost, int(horizon), discount
        self._residual = model.residual
        kinds = {"caution": Caution, "risk": Risk, "chance": Chance, "stop": Stop}
        for name, wish in zip(kinds, (caution, risk, chance, stop), strict=True):
            if wish is not None and not isinstance(wish, kinds[name]):
                raise ValueError(f"{name} must be a {kinds[name].__name__}, got {wish!r}")
        members = model.residual.count if isinstance(model.residual, Probabilistic) else 1
        for name, wish in {"risk": risk, "stop": stop}.items():
            if wish is not None and members < 2:
                raise ValueError(
                    f"{name}: needs a model whose residual has members, "
                    f"got {type(model.residual).__name__}"
                )
        if chance is not None and isinstance(system, Paced):
            raise ValueError("chance: noise is that of a step, which has no length in free time")
        if risk is not None and chance is not None:
            raise ValueError("chance: a risk holds every member's constraints already; take one")
        self.caution, self.risk, self.chance, self.stop = caution, risk, chance, stop
        self.members: int = members if risk is not None else 1
        self.input_low, self.input_high = bounds("input_bounds", system.inputs, input_bounds)
        low, high = bounds("state_bounds", system.states, state_bounds)
        self.state_bounds = low, high  # as they were given, of continuous states
        free = np.full(self.model.nx - len(system.states), np.inf)
        self.state_low, self.state_high = np.append(low, -free), np.append(high, free)
        self._constrain(
            constraints("inequality", inequality),
            constraints("equality", equality),
            constraints("terminal_inequality", terminal_inequality),
            constraints("terminal_equality", terminal_equality),
        )
        modules = (*self.stage_terms.modules, *self.terminal_terms.modules)
        self.networks = tuple(dict.fromkeys(modules))
        self._known: tuple[Any, Forms] | None = None

    def _constrain(
        self, g: Constraints, h: Constraints, end_g: Constraints, end_h: Constraints
    ) -> None:
        """Functions of all that holds, and the terms of the objective."""
        model, system = self.model, self.model.system
        n, nd = len(system.states), system.nd
        x, u, k = ca.SX.sym("x", model.nx), ca.SX.sym("u", system.nu), ca.SX.sym("k")
        given = ca.SX.sym("pi", nd + len(self.cost.parameters))
        self.n_given: int = given.shape[0]
        at, at_end = (x[:n], u, given[nd:, :]), (x[:n], given[nd:, :])
        path, end = g.rows(*at), end_g.rows(*at_end)
        margins, self.bound_margins = ca.SX(0, 1), slice(0, 0)
        if self.chance is not None:
            outside = self._outside(x)
            self.bound_margins = slice(path.shape[0], path.shape[0] + len(outside))
            path, end = ca.vertcat(path, *outside), ca.vertcat(end, *outside)
            margins = ca.SX.sym("margin", max(path.shape[0], end.shape[0]))
            path += margins[: path.shape[0], :]
            end += margins[: end.shape[0], :]
            self.state_low = np.full(model.nx, -np.inf)
            self.state_high = -self.state_low
        self.n_margins: int = margins.shape[0]
        weights = ca.SX.sym("weight", 0 if self.stop is None else 2)
        adapted = ((self.chance, margins), (self.stop, weights))
        self.adaptive: tuple[Adaptive, ...] = tuple(a for a, _ in adapted if a is not None)
        pi = ca.vertcat(given, margins, weights)
        self.n_parameters: int = pi.shape[0]
        if self.input_rate is not None:
            change, most = u - self.previous(x), ca.DM(self.input_rate * model.dt)
            limited = np.flatnonzero(np.isfinite(self.input_rate)).tolist()
            path = ca.vertcat(path, (change - most)[limited], (-change - most)[limited])
        self.path_g = ca.Function("inequality", [x, u, pi], [path])
        self.path_h = ca.Function("equality", [x, u, pi], [h.rows(*at)])
        self.end_g = ca.Function("terminal_inequality", [x, pi], [end])
        self.end_h = ca.Function("terminal_equality", [x, pi], [end_h.rows(*at_end)])

        def stage() -> ca.SX:
            cost = self._stage_cost(x, u, k, given) + g.cost(*at) + h.cost(*at)
            if self.stop is None:
                return cost
            return weights[0] * cost + weights[1] * last()

        def last() -> ca.SX:
            return self._terminal_cost(x, given) + end_g.cost(*at_end) + end_h.cost(*at_end)

        self.stage_terms, self.terminal_terms = self._terms(
            x, u, k, pi, stage, last if self.stop is None else lambda: weights[1] * last()
        )

    def start(self, x0: np.ndarray, previous_input: np.ndarray | None = None) -> np.ndarray:
        """x₀ (nx,) of this problem from one of the model that was given, or from its own.

        Where input rates are bounded, the input before it is put in: `previous_input` (nu,), zero
        where that is not told.
        """
        x0, nu = np.asarray(x0, dtype=float), self.model.system.nu
        if self.input_rate is None or x0.ndim != 1:
            return x0
        at, whole = self.model.system.nx - nu, x0.shape == (self.model.nx,)
        if not whole and x0.shape != (self.model.nx - nu,):
            return x0
        if previous_input is None:
            return x0 if whole else np.concatenate([x0[:at], np.zeros(nu), x0[at:]])
        before = np.asarray(previous_input, dtype=float)
        return np.concatenate([x0[:at], before, x0[at + nu * whole :]])

    @property
    def rest(self) -> np.ndarray:
        """(nu,) where a search without a guess begins: zero, or the bound next to it; at pace 1."""
        still = np.zeros(self.model.system.nu)
        still[-1] = float(isinstance(self.model.system, Paced))
        return np.clip(still, self.input_low, self.input_high)

    def previous(self, x: Any) -> Any:
        """The input before, in a state x (nx, …) of a problem whose input rates are bounded."""
        end = self.model.system.nx
        return x[end - self.model.system.nu : end]

    def adapted(self, x0: np.ndarray, u: np.ndarray, pi: np.ndarray, *, anew: bool) -> np.ndarray:
        """π (H+1, nπ) with the columns that follow from u (H, nu); `anew` forgets those before."""
        _, x, _ = self.evaluate(x0, u, pi)
        if not np.isfinite(x).all():
            return pi
        given, columns, at = pi[:, : self.n_given], [], self.n_given
        for adaptive in self.adaptive:
            size = adaptive.first(self).shape[1]
            before = None if anew else pi[:, at : at + size]
            columns.append(adaptive.after(self, x, u, given, before))
            at += size
        return np.hstack([given, *columns])

    @cached_property
    def margin_slopes(self) -> tuple[ca.Function, ca.Function]:
        """Derivatives of what `chance` tightens, see `hybridmodel.problem.chance.slopes`."""
        return slopes(self)

    def problem_parameters(
        self, parameters: np.ndarray | None, adapted: np.ndarray | None = None
    ) -> np.ndarray:
        """π (H+1, nπ) from None (only where nπ = 0), one row (nπ,) or all rows.

        adapted   columns (H+1, …) that a plan was made with, `plan.adapted`; default: those
                  without a plan
        """
        H, n = self.horizon, self.n_given
        if parameters is None and n == 0:
            parameters = np.zeros((H + 1, 0))
        given = np.asarray(() if parameters is None else parameters, dtype=float)
        wanted = (H + 1, n), (n,), *([(H + 1, self.n_parameters)] if self.adaptive else [])
        if given.shape not in wanted or not np.isfinite(given).all():
            names = [s.name for s in self.model.system.exogenous] + list(self.cost.parameters)
            raise ValueError(
                f"parameters must be finite with shape {wanted[0]} or {wanted[1]} for {names}, "
                f"got shape {given.shape}"
            )
        if not self.adaptive or given.shape[-1] != n:
            return np.broadcast_to(given, (H + 1, self.n_parameters))
        if adapted is None:
            adapted = np.hstack([adaptive.first(self) for adaptive in self.adaptive])
        return np.hstack([np.broadcast_to(given, (H + 1, n)), adapted])

    def refuse_replaced(self) -> None:
        """ValueError where the residual that `caution` asks is no longer the model's."""
        if self.caution is not None and self.model.residual is not self._residual:
            raise ValueError(
                "problem: the residual of its model was replaced, and its caution is about the one "
                "before; make the problem anew"
            )

    def refuse_risk(self, planner: str) -> None:
        """ValueError where the problem has a risk, which this planner cannot plan under."""
        if self.risk is not None:
            raise ValueError(
                f"problem: {planner} plans with the mean of an ensemble and not under "
                f"{self.risk}; take MultipleShooting, Collocation or GradientDescent, or CEM, MPPI "
                "and others that draw candidates"
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
        x0, u = self.start(x0), np.asarray(u, dtype=float)
        wanted = {"x0": (model.nx,), "u": (self.horizon, model.system.nu)}
        for (name, shape), given in zip(wanted.items(), (x0, u), strict=True):
            if given.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {given.shape}")
        if self.risk is None and (rollout := self._rollout()) is not None:
            p = model.physical().detach().cpu().numpy()
            numbers = model.weights(), self.weights()
            cost, x, violation = rollout(x0, u.T, pi.T, p, *numbers)
            known = bool(np.isfinite(x.full()).all())  # fmax(NaN, 0) is 0
            return float(cost), x.full().T, float(violation) if known else float("nan")
        arguments = [torch.tensor(v, dtype=torch.float64) for v in (x0, u, pi)]
        again = arguments[0].new_empty(REPEATED, *u.shape)  # who asks for one asks for many
        kernel = objective_kernel(self, arguments[0], again, arguments[2], fixed=True)
        with torch.no_grad():
            if kernel is None:
                cost, x, violation = self.objective(*arguments)
            else:
                cost, violation, x = kernel.exact(*arguments)
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

    def _terms(
        self,
        x: ca.SX,
        u: ca.SX,
        k: ca.SX,
        pi: ca.SX,
        cost: Callable[[], ca.SX],
        last: Callable[[], ca.SX],
    ) -> tuple[Pieces, Pieces]:
        """(x, u, k, π, x⁺) ↦ ℓ and (x, π) ↦ V, both with how far is overstepped what must hold."""
        after = ca.SX.sym("after", self.model.nx)
        outside = self._outside(after)
        amount = _overstepped(ca.vertcat(self.path_g(x, u, pi), *outside), self.path_h(x, u, pi))
        end = _overstepped(self.end_g(x, pi), self.end_h(x, pi))
        stage = cut(
            "stage_terms",
            {"x": x, "u": u, "k": k, "d": pi, "after": after},
            lambda: {"cost": cost(), "violation": amount},
        )
        terminal = cut(
            "terminal_terms",
            {"x": x, "d": pi},
            lambda: {"cost": last(), "violation": end},
        )
        return stage, terminal

    def _outside(self, x: ca.SX) -> list[ca.SX]:
        """How far x is outside each finite state bound."""
        low = [b - x[i] for i, b in enumerate(self.state_low) if np.isfinite(b)]
        return low + [x[i] - b for i, b in enumerate(self.state_high) if np.isfinite(b)]

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
    return ca.SX(0) + ca.sum1(above(ca.SX(g))) + ca.sum1(ca.fabs(h))
