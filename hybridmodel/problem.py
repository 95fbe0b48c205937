"""The optimal control problem: the only definition of "the objective".

    min  Σ_{k<H} γᵏ ℓ(xₖ, uₖ, k, πₖ) + γᴴ V(x_H, π_H)
    s.t. xₖ₊₁ = F(xₖ, uₖ, dₖ),  u, x inside their bounds,
         g(xₖ, uₖ, πₖ) ≤ 0,  h(xₖ, uₖ, πₖ) = 0,  g_H(x_H, π_H) ≤ 0,  h_H(x_H, π_H) = 0

H inputs, H + 1 states. π (H+1, nπ) are the problem parameters: the system's exogenous signals d
first, then what the cost names; they change from plan to plan without a rebuild.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.bridges.network import pack_weights
from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.caution import Caution
from hybridmodel.costs import Cost
from hybridmodel.learned import Pieces, cut
from hybridmodel.model import HybridModel
from hybridmodel.risk import Risk
from hybridmodel.rollouts import objective_kernel
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

    Bounds hold for the commanded u. Raises ValueError naming the argument.
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
        self._stage = cut(
            "stage",
            {"x": x, "u": u, "k": k, "pi": pi},
            lambda: {"cost": self._stage_cost(x, u, k, pi)},
        )
        self._terminal = cut(
            "terminal",
            {"x": x, "pi": pi},
            lambda: {"cost": self._terminal_cost(x, pi)},
        )
        self.networks = tuple(dict.fromkeys((*self._stage.modules, *self._terminal.modules)))
        self.path_g = _constraint("inequality", inequality, [x, u, pi], [x[:n], u, own], none)
        self.path_h = _constraint("equality", equality, [x, u, pi], [x[:n], u, own], none)
        self.end_g = _constraint(
            "terminal_inequality", terminal_inequality, [x, pi], [x[:n], own], none
        )
        self.end_h = _constraint(
            "terminal_equality", terminal_equality, [x, pi], [x[:n], own], none
        )

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
        if self.risk is None and self._single is not None:
            p = model.physical().detach().cpu().numpy()
            numbers = model.weights(), self.weights()
            cost, x, violation = self._single(x0, u.T, pi.T, p, *numbers)
            known = bool(np.isfinite(x.full()).all())  # fmax(NaN, 0) is 0
            return float(cost), x.full().T, float(violation) if known else float("nan")
        with torch.no_grad():
            arguments = (torch.tensor(v, dtype=torch.float64) for v in (x0, u, pi))
            cost, x, violation = self.objective(*arguments)
        return float(cost), x.numpy(), float(violation)

    @cached_property
    def _single(self) -> ca.Function | None:
        """(x0, U, π, p, w, v) ↦ cost, states, violation in CasADi, which is faster than torch for
        one rollout; None where a network has no CasADi form. w are the model's weights, v the
        cost's."""
        model, system, H = self.model, self.model.system, self.horizon
        try:
            step = model.step_function(weights="parameters")
            stage_cost, terminal_cost = self.stage, self.terminal
        except ValueError:
            return None
        x0, U = ca.MX.sym("x0", model.nx), ca.MX.sym("U", system.nu, H)
        pi = ca.MX.sym("pi", self.n_parameters, H + 1)
        p, w = ca.MX.sym("p", step.size1_in(2)), ca.MX.sym("w", len(model.weights()))
        v = ca.MX.sym("v", len(self.weights()))
        weights = [w] if model.residual is not None else []
        ahead, end = pi[:, :-1], pi[:, -1]
        states = [x0]
        for u, d in zip(ca.horzsplit(U), ca.horzsplit(ahead[: system.nd, :]), strict=True):
            states.append(step(states[-1], u, p, d, *weights))  # mapaccum would copy w each time
        x, after = ca.horzcat(*states), ca.horzcat(*states[1:])
        before, last = x[:, :-1], x[:, -1]
        k, gamma = ca.DM(np.arange(H)[None, :]), ca.DM(self.discount ** np.arange(H))
        stage = stage_cost.map(H)(before, U, k, ahead, ca.repmat(v, 1, H))
        cost = stage @ gamma + self.discount**H * terminal_cost(last, end, v)
        low, high = (ca.repmat(ca.DM(b), 1, H) for b in (self.state_low, self.state_high))
        overstepped = (
            ca.fmax(low - after, 0),
            ca.fmax(after - high, 0),
            ca.fmax(self.path_g.map(H)(before, U, ahead), 0),
            ca.fabs(self.path_h.map(H)(before, U, ahead)),
            ca.fmax(self.end_g(last, end), 0),
            ca.fabs(self.end_h(last, end)),
        )
        violation = ca.sum1(ca.veccat(*overstepped))
        return ca.Function("single", [x0, U, pi, p, w, v], [cost, x, violation])

    @cached_property
    def stage(self) -> ca.Function:
        """(x, u, k, π, v) ↦ ℓ; v (nv,) = `weights()`, which is empty where nothing is learned.

        Raises ValueError where a network of the cost has no CasADi form.
        """
        return self._casadi("stage", self._stage)

    @cached_property
    def terminal(self) -> ca.Function:
        """(x, π, v) ↦ V, as `stage`."""
        return self._casadi("terminal", self._terminal)

    def weights(self) -> np.ndarray:
        """v (nv,), the present numbers of all networks of the cost."""
        return np.concatenate([np.zeros(0), *map(pack_weights, self.networks)])

    def _casadi(self, name: str, pieces: Pieces) -> ca.Function:
        symbol: Any = ca.MX if self.networks else ca.SX
        f = pieces.result
        count = f.n_in() - len(pieces.modules)
        names = [f.name_in(i) for i in range(count)]
        inputs = [symbol.sym(n, f.size1_in(i)) for i, n in enumerate(names)]
        v = symbol.sym("v", len(self.weights()))
        sizes = [len(pack_weights(network)) for network in self.networks]
        own = dict(zip(self.networks, ca.vertsplit(v, [0, *np.cumsum(sizes)]), strict=True))

        def apply(i: int, z: ca.MX) -> ca.MX:
            network = pieces.modules[i]
            return to_casadi(network, nz=z.shape[0], weights="parameters")(z, own[network])

        value = pieces.run(apply, *inputs)
        # an argument that a caller forgets is NaN, where CasADi alone would take it for 0
        options = {"default_in": [math.nan] * (count + 1)}
        return ca.Function(name, [*inputs, v], [value], [*names, "v"], ["cost"], options)

    @cached_property
    def stage_terms(self) -> Pieces:
        """(x, u, k, π, x⁺) ↦ ℓ and how far bounds and constraints are overstepped in a step."""
        x, u = ca.SX.sym("x", self.model.nx), ca.SX.sym("u", self.model.system.nu)
        k, pi = ca.SX.sym("k"), ca.SX.sym("pi", self.n_parameters)
        after = ca.SX.sym("after", self.model.nx)
        low = [(b, after[i]) for i, b in enumerate(self.state_low) if np.isfinite(b)]
        high = [(after[i], b) for i, b in enumerate(self.state_high) if np.isfinite(b)]
        outside = [a - b for a, b in (*low, *high)]
        amount = _overstepped(ca.vertcat(self.path_g(x, u, pi), *outside), self.path_h(x, u, pi))
        return cut(
            "stage_terms",
            {"x": x, "u": u, "k": k, "d": pi, "after": after},
            lambda: {"cost": self._stage_cost(x, u, k, pi), "violation": amount},
        )

    @cached_property
    def terminal_terms(self) -> Pieces:
        """(x, π) ↦ V and how far terminal constraints are overstepped."""
        x, pi = ca.SX.sym("x", self.model.nx), ca.SX.sym("pi", self.n_parameters)
        amount = _overstepped(self.end_g(x, pi), self.end_h(x, pi))
        return cut(
            "terminal_terms",
            {"x": x, "d": pi},
            lambda: {"cost": self._terminal_cost(x, pi), "violation": amount},
        )

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
