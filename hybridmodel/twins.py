"""The same model around a wider system: its parameters, residual and weights are shared.

What the model learns later, its twins know too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import casadi as ca
import torch

from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.equations import Equations, build
from hybridmodel.model import HybridModel
from physics import Paced, RememberedInput, System


def remembering(model: HybridModel) -> HybridModel:
    """With the input before in the state: x̃ = (x, m, u_{k−1}, memory of the residual)."""
    if isinstance(model.system, RememberedInput):
        return model
    if isinstance(model.system, Paced):
        raise ValueError("input_rate: the steps of a free-time model differ in length")
    system = RememberedInput(system=model.system)
    placed = model.placement if model.residual is not None else None
    equations = build(system, placed, model.fit_parameters, model.features, model.nm)
    return _twin(model, system, equations)


def free_time(model: HybridModel, *, low: float = 0.2, high: float = 2.0) -> HybridModel:
    """With a pace σ in [low, high] as the last input, for plans that choose how long they take.

        x⁺ = F(x, u; σ dt),   ẋ = f(x, u) ⊕ r as ever

    Raises ValueError where dt belongs to the model: a discrete system, one with memory, a held
    residual, one with memory or one on the next state; and for bounds that are none.
    """
    held = model.residual is not None and (model.hold or model.scheme.enters == "next state")
    if held or model.nm:
        raise ValueError(
            "model: its residual belongs to its dt (it is held, remembers, or corrects the next "
            "state), so that a step cannot be longer or shorter"
        )
    system = Paced(system=model.system, low=low, high=high)
    return _twin(model, system, _paced(model))


def _paced(model: HybridModel) -> Equations:
    """The equations with σ behind the inputs."""
    given, nu = model.equations, model.system.nu

    def without(function: ca.Function, pace: Callable[[Any, Any], Any]) -> ca.Function:
        """A function of the inputs with σ among them; pace(value, σ) is its value."""
        names = [function.name_in(i) for i in range(function.n_in())]
        kind: Any = ca.SX if function.is_a("SXFunction") else ca.MX
        symbols = {n: kind.sym(n, function.size1_in(i)) for i, n in enumerate(names)}
        wide = symbols | {"u": kind.sym("u", nu + 1)}
        value = function(*(wide["u"][:-1] if n == "u" else wide[n] for n in names))
        named = [function.name_out(0)]
        return ca.Function(
            function.name(), [wide[n] for n in names], [pace(value, wide["u"][-1])], names, named
        )

    def same(value: Any, pace: Any) -> Any:
        return value

    return replace(
        given,
        applied=without(given.applied, ca.vertcat),
        features=without(given.features, same),
        recalled=without(given.recalled, same),
        derivative=without(given.derivative, lambda value, pace: pace * value),
        finish=without(given.finish, same),
        output=without(given.output, same),
    )


def _twin(model: HybridModel, system: System, equations: Equations) -> HybridModel:
    twin = copy.copy(model)  # parameters and modules are the model's own
    twin._buffers = dict(model._buffers)
    twin.system, twin.equations = system, equations
    twin.torch_equations = equations.map(to_torch)
    rows = [float(i in system.velocity_rows) for i in range(twin.nx)]
    twin.velocity = torch.tensor(rows).to(model.velocity)
    return twin
