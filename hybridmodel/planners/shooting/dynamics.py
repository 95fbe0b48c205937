"""The dynamics of all nodes in CasADi, in the form that suits the model.

    X⁺ = F(X, U, p, D, w), column by column:   x⁺ᵏ = F(xᵏ, uᵏ, p, dᵏ; w),   k = 0 … N − 1

"matrix": the step Function, mapped; its network stays as matrix products in MX. "kernel": one
call of machine code for values, Jacobian or Hessian of all nodes (`hybridmodel.kernel.nodes`).

Where E members go ways of their own under one u, X (E·nx, N) holds their states one above another.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import casadi as ca
import numpy as np

from hybridmodel.equations import step
from hybridmodel.model import HybridModel
from hybridmodel.planners.shooting.networks import follow, member_models, networks
from hybridmodel.rollouts import unavailable

Form = Literal["matrix", "kernel"]
WORTH = 3000  # scalar operations and weights from which compiling takes no longer than some plans


@dataclass(frozen=True, eq=False)
class Inner:
    """What else is unknown within a step: Z (size, N) with rows R(X, U, Z, p, D, w) = 0.

    size   unknowns of one step
    rows   (X, U with Z below it, p, D, w) ↦ R (m, N) in MX
    start  states (N+1, E·nx) of a guess ↦ Z (N, size) to begin with
    """

    size: int
    rows: Callable[[ca.MX, ca.MX, ca.MX, ca.MX, ca.MX], ca.MX]
    start: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Dynamics:
    """F at N nodes.

    form     how it is computed, for people to read
    steps    (X (nx, N), U (nu, N), p (np,), D (nd, N), w (nw,)) ↦ X⁺ (nx, N) in MX, U with Z
             below it where there is something inside a step
    weights  () ↦ w (nw,), none where F reads the model's own
    held     what must live as long as F
    members  E, for which X has E·nx rows
    inner    what is unknown within a step, None for nothing
    steady   a context in which the model does not change, so that F need not look
    """

    form: str
    steps: Callable[[ca.MX, ca.MX, ca.MX, ca.MX, ca.MX], ca.MX]
    weights: Callable[[], np.ndarray]
    held: Any = None
    members: int = 1
    inner: Inner | None = None
    steady: Callable[[], AbstractContextManager[object]] = nullcontext


def matrix_dynamics(model: HybridModel, count: int, *, members: bool = False) -> Dynamics:
    """By the model's step in MX, with the weights as parameters; that of each member if asked."""
    nets, nx = networks(model, members=members), model.nx
    x, u = ca.MX.sym("x", nx), ca.MX.sym("u", model.system.nu)
    p, d = ca.MX.sym("p", len(model.fit_parameters)), ca.MX.sym("d", model.system.nd)
    w = ca.MX.sym("w", nets.size)
    velocity, learned = ca.DM(model.velocity.cpu().numpy()), nets.at(w)
    after = step(model.equations, learned, model.scheme, x, u, p, d, dt=model.dt, velocity=velocity)
    # derivatives in the weights, many times the work, are left out only where nothing asks for them
    asked, all_steps = {"is_diff_in": [True, True, False, False, False]}, nets.count * count
    many = ca.Function("F", [x, u, p, d, w], [after], asked).map(all_steps)

    def steps(X: ca.MX, U: ca.MX, p: ca.MX, D: ca.MX, w: ca.MX) -> ca.MX:
        apart = ca.reshape(X, nx, all_steps)
        known = nets.each(U), ca.repmat(p, 1, all_steps), nets.each(D)
        return ca.reshape(many(apart, *known, nets.columns(w, count)), X.shape[0], count)

    return Dynamics("matrix", steps, nets.weights, members=nets.count)


def kernel_dynamics(model: HybridModel, count: int, *, members: bool = False) -> Dynamics:
    """By the kernel, which reads the weights itself; for members by a kernel of each.

    Raises ValueError where it has no code for the model, is not installed, or the model insists
    on torch.
    """
    if model.backend == "torch":
        raise ValueError("form: 'kernel' cannot be had: the model's backend is 'torch'")
    if (missing := unavailable()) is not None:
        raise ValueError(f"form: 'kernel' cannot be had: {missing}")
    from hybridmodel.kernel.nodes import Nodes

    try:
        each = member_models(model) if members else [model]
        nodes = [Nodes(one, count) for one in each]
    except ValueError as reason:
        raise ValueError(f"form: 'kernel' cannot be had: {reason}") from reason
    nx = model.nx

    def steps(X: ca.MX, U: ca.MX, p: ca.MX, D: ca.MX, w: ca.MX) -> ca.MX:
        if not members:
            return nodes[0].function(X, U, p, D)
        apart = ca.vertsplit(X, nx)
        return ca.vertcat(*(n.function(x, U, p, D) for n, x in zip(nodes, apart, strict=True)))

    def weights() -> np.ndarray:
        if members:  # of models of their own, which follow the ensemble before each solve
            follow(model, each)
        return np.zeros(0)

    def steady() -> AbstractContextManager[object]:
        together = ExitStack()
        for one in nodes:
            together.enter_context(one.steady())
        return together

    return Dynamics("kernel", steps, weights, nodes, members=len(nodes), steady=steady)


def chosen_dynamics(model: HybridModel, count: int, *, members: bool = False) -> Dynamics:
    """By the kernel where it has code for the model and the nodes are work enough for compiling.

    One evaluation of physics and network at all nodes is what is counted, so the choice is the
    same everywhere; members are compiled one by one, so each of them has to be worth it.
    """
    each = model.equations.derivative.n_instructions() + len(model.weights())
    if members:
        each = len(networks(model, members=True).weights()) // model.residual.count  # type: ignore
        each += model.equations.derivative.n_instructions()
    if count * model.substeps * each >= WORTH:
        try:
            return kernel_dynamics(model, count, members=members)
        except ValueError:
            pass
    return matrix_dynamics(model, count, members=members)
