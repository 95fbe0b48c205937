"""The weights of a linear residual, followed by recursive least squares.

    r* = (GᵀR⁻¹G)⁺ GᵀR⁻¹ (x⁺ ⊟ F(x, u, 0)),  G = ∂F/∂r at 0

is what this step would have needed; `Linear.update` regresses r on it. r is held over the step.
"""

from __future__ import annotations

from dataclasses import replace

import casadi as ca
import numpy as np
import torch

from hybridmodel.equations import step
from hybridmodel.estimators.linearization import Deviations, process_deviations
from hybridmodel.model import HybridModel
from hybridmodel.online.learner import believed, checked_gate
from physics.binding import scalar_form
from residuals import Linear

_HUGE = 1e50  # an error whose square still is a number, with any weight


class ResidualUpdate:
    """A Learner of a `residuals.Linear`, which may be the last layer of a network.

    noise   standard deviation of what one step leaves in each state (tangent rows); it weighs the
            rows of x⁺ against each other. None: the square roots of `model.noise`
    gate    a target further from the prediction counts as one at this distance [its deviations]

    How fast it forgets is the residual's own `forgetting`. Raises ValueError naming the argument.
    """

    def __init__(
        self, model: HybridModel, *, noise: Deviations | None = None, gate: float = 5.0
    ) -> None:
        if not isinstance(model.residual, Linear):
            found = type(model.residual).__name__
            raise ValueError(
                f"model: its residual must be residuals.Linear to be updated online, got {found}; "
                "Linear.from_mlp(mlp) makes one of a trained MLP's last layer"
            )
        if model.scheme.enters == "output":
            raise ValueError(
                "model: a residual of the sensors (placement 'output') is no part of the step and "
                "is not updated online"
            )
        self.model, self.residual, self.gate = model, model.residual, checked_gate(gate)
        self.root = 1 / process_deviations(model, noise)  # R^(−1/2)
        self.start = {k: v.clone() for k, v in model.residual.state_dict().items()}
        self._function = _needed(model)

    def reset(self) -> None:
        self.residual.load_state_dict(self.start)

    def learn(self, x: np.ndarray, u: np.ndarray, d: np.ndarray, x_next: np.ndarray) -> str:
        model, residual = self.model, self.residual
        p = model.physical().detach().cpu().numpy()
        error, G, z = self._function(x, u, p, d, x_next[: len(model.system.states)])
        e, G = error.full().ravel() * self.root, G.full() * self.root[:, None]
        if not (np.isfinite(G).all() and np.abs(e).max() < _HUGE):  # NaN is not less either
            return "not finite"
        with torch.no_grad():
            seen = torch.as_tensor(z.full().ravel())
            target = torch.as_tensor(np.linalg.pinv(G) @ e)
            expected, log = (v[0] for v in residual.distribution(seen[None]))
            spread = (log.exp() + residual.epistemic(seen)).sqrt()
            off = target - expected
            distance = float((off / spread).square().mean().sqrt())
            share = believed(distance, self.gate)
            before = {k: v.clone() for k, v in residual.state_dict().items()}
            try:
                residual.update(seen, expected + share * off)
            except ValueError:
                return "not finite"
            if not all(bool(torch.isfinite(v).all()) for v in residual.state_dict().values()):
                residual.load_state_dict(before)
                return "not finite"
        return "innovation gated" if share < 1 else ""


def _needed(model: HybridModel) -> ca.Function:
    """(x, u, p, d, x⁺) ↦ x⁺ ⊟ F(x, u, 0), G, z."""
    pieces, system, n = model.equations, model.system, len(model.system.states)
    x, u = ca.MX.sym("x", model.nx), ca.MX.sym("u", system.nu)
    p, d = ca.MX.sym("p", len(model.fit_parameters)), ca.MX.sym("d", system.nd)
    after, there = ca.MX.sym("after", n), ca.MX.sym("there", n)
    r = ca.MX.sym("r", len(model.placement.signals(system)))
    velocity = ca.DM(model.velocity.cpu().numpy())
    held = replace(model.scheme, hold=True)

    def ahead(r: ca.MX) -> ca.MX:
        return step(pieces, lambda z: r, held, x, u, p, d, dt=model.dt, velocity=velocity)[:n]

    moved = ca.Function("moved", [x, u, p, d, r, there], [
        ca.jacobian(pieces.state_difference(ahead(r), there), r)
    ])  # fmt: skip
    none = ca.MX.zeros(r.shape[0])
    here = ahead(none)
    function = ca.Function(
        "needed",
        [x, u, p, d, after],
        [
            pieces.state_difference(after, here),
            ca.densify(moved(x, u, p, d, none, here)),
            pieces.features(x, pieces.applied(x, u, p), d),
        ],
    )
    return scalar_form(function) or function
