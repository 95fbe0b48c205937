"""The networks that a program's states follow: the model's own, or one for each member.

    r_e = network(z, w_e),   e = 0 … E − 1

One expression serves all members, since they differ in their numbers w_e alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import casadi as ca
import numpy as np

from hybridmodel.bridges.network import pack_weights
from hybridmodel.bridges.torch_to_casadi import to_casadi
from hybridmodel.model import HybridModel
from hybridmodel.planners.shooting.layout import each
from residuals import Ensemble, Members, Probabilistic


@dataclass(frozen=True, eq=False)
class Networks:
    """E networks of one form.

    count    E
    size     nw, numbers of one
    at       w (nw,) ↦ the map z ↦ r (or (z, m) ↦ (r, m⁺)) in MX; None for physics alone
    weights  () ↦ all their present numbers (E·nw,), those of one network together
    """

    count: int
    size: int
    at: Callable[[ca.MX], Callable[..., Any] | None]
    weights: Callable[[], np.ndarray]

    def columns(self, w: ca.MX, steps: int) -> ca.MX:
        """w (E·nw,) as (nw, E·steps): all networks, side by side for every step."""
        return ca.repmat(ca.reshape(w, self.size, self.count), 1, steps)

    def each(self, rows: ca.MX, times: int = 1) -> ca.MX:
        """Every column of rows (n, N) `times` · E times, side by side."""
        return each(rows, self.count * times)


def networks(model: HybridModel, *, members: bool) -> Networks:
    """The model's network, or those of all members of its residual."""
    if not members:
        function = model.network_function("parameters")
        return Networks(1, len(model.weights()), lambda w: _inlined(function, w), model.weights)
    residual = model.residual
    assert isinstance(residual, Probabilistic)  # which problems with a risk check
    E, nz = residual.count, len(model.feature_signals)
    if isinstance(residual, Ensemble):

        def packed() -> np.ndarray:
            return np.concatenate([pack_weights(residual.member(e)) for e in range(E)])

        function = to_casadi(residual.member(0), nz=nz, weights="parameters")
        return Networks(E, len(packed()) // E, lambda w: _inlined(function, w), packed)
    # what has no perceptron for a member is asked for all of them, of which one-hot s takes its own
    view = Members(residual)
    function = to_casadi(view, nz=nz, weights="parameters")

    def chosen(w: ca.MX) -> Callable[..., Any]:
        everyone, s = _inlined(function, w[:-E]), w[-E:]
        return lambda z: ca.reshape(everyone(z), -1, E) @ s

    def selecting() -> np.ndarray:
        shared = np.tile(pack_weights(view), (E, 1))
        return np.hstack([shared, np.eye(E)]).ravel()

    return Networks(E, len(selecting()) // E, chosen, selecting)


def member_models(model: HybridModel) -> list[HybridModel]:
    """The model with each member as its residual; ValueError where a member is no residual."""
    residual = model.residual
    if not isinstance(residual, Ensemble):
        raise ValueError(f"a member of {type(residual).__name__} is no residual of its own")
    return [
        HybridModel(
            model.system,
            residual.member(e),
            dt=model.dt,
            placement=model.placement,
            fit_parameters=model.fit_parameters,
            integrator=model.integrator,
            substeps=model.substeps,
            hold=model.hold,
            features=model.features,
            backend=model.backend,
        ).to(model.theta.dtype)
        for e in range(residual.count)
    ]


def follow(model: HybridModel, each: list[HybridModel]) -> None:
    """Give the members' models the weights that the ensemble has now."""
    residual = model.residual
    assert isinstance(residual, Ensemble)
    for e, one in enumerate(each):
        assert one.residual is not None
        one.residual.load_state_dict(residual.member(e).state_dict())


def _inlined(function: ca.Function | None, w: ca.MX) -> Any:
    """z ↦ r with the layers in the caller's own graph; None without a network."""
    if function is None:
        return None

    def network(*seen: ca.MX) -> Any:
        outputs = function.call([*seen, w], True, False)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return network
