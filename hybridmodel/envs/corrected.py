"""The engine as the prior: a residual that was fitted from logs acts inside a plant.

    r = r_θ(φ(x, u))                    in each engine step, u what the actuator then applies

    input                               uᵃ = u + r
    force, and what is one by its form  τ = r,  −D(r) v,  S(r) v,  −(∂φ/∂q)ᵀ r
    acceleration, derivative of v       τ = M(q) r

M is that of the plant, hidden parameters included, so that v̇ grows by r; the rest of the
equations is `hybridmodel.placement`.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, Literal

import casadi as ca
import numpy as np

from hybridmodel.envs.environment import Environment
from hybridmodel.envs.evaluated import Evaluated
from hybridmodel.envs.ode import OdePlant
from hybridmodel.model import HybridModel
from hybridmodel.placement import Flow
from physics import Mechanical, System

_FORCES = ("force", "dissipation", "gyroscopic", "potential")
_ACCELERATIONS = ("acceleration", "derivative")
_ACT = ("input", *_FORCES, *_ACCELERATIONS)
_REFUSED = {
    "next_state": "it moves the state after a step, and an engine that is put elsewhere forgets "
    "its contacts and what sticks",
    "output": "it corrects what is measured, and nothing that moves",
    "parameters": "it moves parameters with the state, and an engine keeps those it was built with",
}
_SAME = 1e-9  # relative; of parameters


class Corrected(Environment):
    """A plant in whose engine the residual of a fitted model acts.

    plant   any Environment: PyBullet, MuJoCo, ODE. It is this one's from now on; step no other
    model   its residual, features, placement and `hold` count, as they are now; r is held over
            each engine step h, an error of first order in h, and with hold=True over dt
    member  of an ensemble: "mean", or a number for one of them

    Observations, rewards, bounds of states, ends, seeds and hidden effects are the plant's, and so
    are the bounds of the commanded u: u + r may exceed them. A residual that is zero changes no
    bit. The model must be of the plant's system with the same parameters p: of a model that was
    fitted with `fit_parameters`, build the plant of `model.system`, which holds the fitted p.
    Hidden effects of the plant then come on top; those of its actuator act before r.

    Raises ValueError naming the argument: for placements that no engine can do (next_state,
    output, parameters, rates of coordinates), for memory, for forces on a plant that takes none,
    and where plant and model differ in system, parameters, or, held, in dt.
    """

    def __init__(
        self, plant: Environment, model: HybridModel, *, member: int | Literal["mean"] = "mean"
    ) -> None:
        _check(plant, model)
        super().__init__(
            plant.system,
            dt=plant.dt,
            substeps=plant.substeps,
            hidden=plant.hidden,
            reward=plant._reward,
            episode_steps=plant.episode_steps,
        )
        self._initial = plant._initial
        self.render_mode, self.metadata = plant.render_mode, plant.metadata
        self.plant, self.model = plant, model
        self._engine = _by_engine_steps(plant)
        true = plant.hidden.true_system(plant.system)
        self._network = Evaluated(_network(model, member))
        self._law = Evaluated(_law(model, true))
        self._mass = None
        if model.placement.name != "input" and isinstance(true, Mechanical):
            M = true.mass_matrix_function()
            q = ca.SX.sym("q", true.nq)
            self._mass = Evaluated(ca.Function("mass", [q], [ca.vec(ca.densify(M(q)))]))
        self._r, self._held_at = np.zeros(0), -1  # r, and the step in which it was evaluated

    def render(self) -> Any:
        """The plant's own picture."""
        return self.plant.render()

    def close(self) -> None:
        """Close the plant."""
        self.plant.close()

    def _place(self, x: np.ndarray) -> None:
        self._held_at = -1
        self._engine._place(x)

    def _read(self) -> np.ndarray:
        return self._engine._read()

    def _advance(self, applied: np.ndarray, force: np.ndarray) -> None:
        engine = self._engine
        engine._k = self._k  # what happens at a time happens at this plant's
        for u, tau in zip(applied, force, strict=True):
            x = engine._read()
            if not self.model.hold or self._held_at != self._k:
                self._r, self._held_at = self._network(x, u), self._k
            acting, further = self._acting(x, u, self._r)
            engine._advance(acting[None, :], (tau + further)[None, :])

    def _acceleration(self, x: np.ndarray, applied: np.ndarray) -> np.ndarray:
        acting, further = self._acting(x, applied, self._network(x, applied))
        found = self._engine._acceleration(x, acting)
        if self._mass is None:
            return found
        # beside what the engine finds without it: what sticks does not feel it here
        M = self._mass(x[: -further.size]).reshape(further.size, -1)
        return found + np.linalg.solve(M, further)

    def _acting(self, x: np.ndarray, u: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The input (nu,) and the further force (nv,) of an engine step."""
        both = self._law(x, u, r)
        return both[: self.system.nu], both[self.system.nu :]

    def _engine_settings(self) -> dict[str, Any]:
        how = {"placement": self.model.placement.name, "features": self.model.features}
        kind = {"plant": type(self).__name__, "corrected": type(self.plant).__name__}
        return self.plant.settings | kind | how | {"hold": self.model.hold}


def _by_engine_steps(plant: Environment) -> Environment:
    """The plant, or one that does the same and advances by single engine steps."""
    if not isinstance(plant, OdePlant):
        return plant
    return OdePlant(
        plant.system,
        dt=plant.dt / plant.substeps,
        substeps=1,
        hidden=plant.hidden,
        integrator=plant._integrator,
        smoothing=float(plant.truth.smoothing),
    )


def _network(model: HybridModel, member: int | Literal["mean"]) -> ca.Function:
    """(x, u) ↦ r."""
    x, u = ca.MX.sym("x", model.nx), ca.MX.sym("u", model.system.nu)
    network: Any = model.network_function(member=member)
    r = network(model.equations.features(x, u, ca.DM(0, 1)))
    return ca.Function("residual", [x, u], [ca.densify(r)])


def _law(model: HybridModel, true: System) -> ca.Function:
    """(x, u, r) ↦ the input that acts and the further generalised force, one below the other."""
    system, placed, X = model.system, model.placement, true.symbols
    nv = true.nv if isinstance(true, Mechanical) else 0
    x, u = X.sym("x", system.nx), X.sym("u", system.nu)
    r = X.sym("r", len(placed.signals(system)))
    acting, tau = u, X.zeros(nv)
    if placed.name == "input":
        acting = u + placed.over(system, system.inputs, r)
    elif placed.name in _FORCES:
        # a system that answers with the force that it is asked for, in place of ẋ
        asked: Any = SimpleNamespace(
            states=system.states, forced_dynamics=lambda x, u, tau, p, d: tau
        )
        where = Flow(asked, placed.corrects(system), x, u, system.namespace(), X(0, 1))
        tau = placed.flow(where, r)
    elif isinstance(true, Mechanical):
        rate = placed.over(system, system.states, r)[true.nq :]
        tau = true.mass_matrix(x[: true.nq], true.namespace()) @ rate
    return ca.Function("law", [x, u, r], [ca.densify(ca.vertcat(acting, tau))])


def _check(plant: Environment, model: HybridModel) -> None:
    if not isinstance(plant, Environment):
        raise ValueError(
            f"plant must be an Environment of PyBullet, MuJoCo or an ODE, into whose engine steps "
            f"r can come; got {type(plant).__name__}"
        )
    if not isinstance(model, HybridModel) or model.residual is None:
        got = type(model).__name__ + (" without one" if isinstance(model, HybridModel) else "")
        raise ValueError(f"model must be a HybridModel with a residual, got {got}")
    system, placed, kind = model.system, model.placement, type(plant.system).__name__
    if placed.name not in _ACT:
        why = _REFUSED.get(placed.name, "no engine knows it")
        raise ValueError(
            f"model: placement {placed.name!r} cannot act in an engine: {why}; {list(_ACT)} can"
        )
    if system.memory or model.nm:
        whose = "system" if system.memory else "residual"
        raise ValueError(
            f"model: its {whose} has memory, which advances once a step of the model, and an "
            "engine has finer ones; leave delays and lags to hidden=HiddenEffects(input_delay=…, "
            "input_lag=…) of the plant, and give a model without memory"
        )
    same = [_names(plant.system) == _names(system), type(plant.system) is type(system)]
    if not all(same):
        raise ValueError(
            f"model: it is of a {type(system).__name__} {_names(system)}, the plant of a {kind} "
            f"{_names(plant.system)}"
        )
    wanted = {name: float(p) for name, p in system.parameters.items()} | model.parameter_values()
    for name, p in plant.system.parameters.items():
        if not math.isclose(p, wanted.get(name, math.nan), rel_tol=_SAME, abs_tol=_SAME):
            raise ValueError(
                f"plant: it was built with {name} = {float(p):.9g}, and r was fitted beside "
                f"{wanted.get(name, math.nan):.9g}; build it of model.system.with_parameters("
                "**model.parameter_values())"
            )
    if placed.name != "input":
        if not isinstance(plant.system, Mechanical):
            raise ValueError(
                f"model: placement {placed.name!r} acts as a generalised force, and a plant of a "
                f"{kind}, which is no physics.Mechanical, takes none; use placement.input"
            )
        still = [s.name for s in placed.corrects(system) if s.rate_of is None]
        if placed.name == "derivative" and still:
            raise ValueError(
                f"model: placement 'derivative' corrects the rate of {still[0]!r}, which no force "
                "does; give it rows of velocities, or use placement.acceleration"
            )
    if model.hold and not math.isclose(model.dt, plant.dt, rel_tol=1e-6):
        raise ValueError(
            f"plant: its dt is {plant.dt:g} s, and the residual is held over {model.dt:g} s"
        )


def _names(system: System) -> list[str]:
    return [s.name for s in (*system.states, *system.inputs, *system.exogenous)]
