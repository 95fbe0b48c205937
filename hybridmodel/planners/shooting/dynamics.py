"""The dynamics of all nodes in CasADi, in the form that suits the model.

    X⁺ = F(X, U, p, D, w), column by column:   x⁺ᵏ = F(xᵏ, uᵏ, p, dᵏ; w),   k = 0 … N − 1

"matrix": the step Function, mapped; its network stays as matrix products in MX. "kernel": one
call of machine code for values, Jacobian or Hessian of all nodes (`hybridmodel.kernel.nodes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import casadi as ca
import numpy as np

from hybridmodel.equations import step
from hybridmodel.model import HybridModel
from hybridmodel.rollouts import unavailable

Form = Literal["matrix", "kernel"]
WORTH = 3000  # scalar operations and weights from which compiling takes no longer than some plans


@dataclass(frozen=True, eq=False)
class Dynamics:
    """F at N nodes.

    form     how it is computed, for people to read
    steps    (X (nx, N), U (nu, N), p (np,), D (nd, N), w (nw,)) ↦ X⁺ (nx, N) in MX
    weights  () ↦ w (nw,), none where F reads the model's own
    held     what must live as long as F
    """

    form: str
    steps: Callable[[ca.MX, ca.MX, ca.MX, ca.MX, ca.MX], ca.MX]
    weights: Callable[[], np.ndarray]
    held: Any = None


def matrix_dynamics(model: HybridModel, count: int) -> Dynamics:
    """By the model's step in MX, with the weights as parameters."""
    network = model.network_function("parameters")
    x, u = ca.MX.sym("x", model.nx), ca.MX.sym("u", model.system.nu)
    p, d = ca.MX.sym("p", len(model.fit_parameters)), ca.MX.sym("d", model.system.nd)
    w = ca.MX.sym("w", len(model.weights()))

    def inlined(*seen: ca.MX) -> Any:
        assert network is not None
        outputs = network.call([*seen, w], True, False)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    velocity = ca.DM(model.velocity.cpu().numpy())
    learned = None if network is None else inlined
    after = step(model.equations, learned, model.scheme, x, u, p, d, dt=model.dt, velocity=velocity)
    # derivatives in the weights, many times the work, are left out only where nothing asks for them
    asked = {"is_diff_in": [True, True, False, False, False]}
    many = ca.Function("F", [x, u, p, d, w], [after], asked).map(count)

    def steps(X: ca.MX, U: ca.MX, p: ca.MX, D: ca.MX, w: ca.MX) -> ca.MX:
        return many(X, U, ca.repmat(p, 1, count), D, ca.repmat(w, 1, count))

    return Dynamics("matrix", steps, model.weights)


def kernel_dynamics(model: HybridModel, count: int) -> Dynamics:
    """By the kernel, which reads the weights itself.

    Raises ValueError where it has no code for the model, is not installed, or the model insists
    on torch.
    """
    if model.backend == "torch":
        raise ValueError("form: 'kernel' cannot be had: the model's backend is 'torch'")
    if (missing := unavailable()) is not None:
        raise ValueError(f"form: 'kernel' cannot be had: {missing}")
    from hybridmodel.kernel.nodes import Nodes

    try:
        nodes = Nodes(model, count)
    except ValueError as reason:
        raise ValueError(f"form: 'kernel' cannot be had: {reason}") from reason

    def steps(X: ca.MX, U: ca.MX, p: ca.MX, D: ca.MX, w: ca.MX) -> ca.MX:
        return nodes.function(X, U, p, D)

    return Dynamics("kernel", steps, lambda: np.zeros(0), nodes)


def chosen_dynamics(model: HybridModel, count: int) -> Dynamics:
    """By the kernel where it has code for the model and the nodes are work enough for compiling.

    One evaluation of physics and network at all nodes is what is counted, so the choice is the
    same everywhere.
    """
    each = model.equations.derivative.n_instructions() + len(model.weights())
    if count * model.substeps * each >= WORTH:
        try:
            return kernel_dynamics(model, count)
        except ValueError:
            pass
    return matrix_dynamics(model, count)
