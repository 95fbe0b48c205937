"""Laws about what a System declares: signals, parameters, memory."""

from __future__ import annotations

import dataclasses
import math

import casadi as ca
import numpy as np
import torch

from hybridmodel.laws.report import Law, told
from hybridmodel.laws.system.subject import Subject
from physics import Parameter, System


def _builds(s: Subject) -> str:
    try:
        s.build(s.system)
    except Exception as error:
        try:
            s.build(s.system, declared=())
        except Exception:
            return told(error)
        return (
            f"{told(error)} (it builds with no parameter declared: `dynamics` or `output` uses a "
            "parameter where only a number can stand)"
        )
    return ""


def _signals(s: Subject) -> str:
    system = s.system
    for signal in (*system.states, *system.memory, *system.inputs, *system.exogenous):
        if signal.angle and signal.unit != "rad":
            return f"angle {signal.name!r} has unit {signal.unit!r}, wanted 'rad'"
    rotations = {signal.quaternion for signal in system.states} - {None}
    rates = [s.rate_of for s in system.states if s.rate_of not in (None, *rotations)]
    if twice := {name for name in rates if rates.count(name) > 1}:
        return f"{sorted(twice)} have two states each as their rate (rate_of=)"
    return ""


def _rates(s: Subject) -> str:
    names = {name for signal in s.system.states for name in (signal.name, signal.quaternion)}
    lost = [v for v in s.system.states if v.rate_of is not None and v.rate_of not in names]
    return "; ".join(f"{v.name!r} is the rate of {v.rate_of!r}, which is no state" for v in lost)


def _units(s: Subject) -> str:
    system = s.system
    known = (*system.states, *system.inputs, *system.exogenous, *system.outputs)
    missing = dict.fromkeys(signal.name for signal in known if not signal.unit)
    return f"without a unit: {', '.join(missing)}" if missing else ""


def _plain(system: System) -> set[str]:
    """Fields that are plain floats, so perhaps constants of the structure, and no parameters."""
    found = set()
    for field in dataclasses.fields(system):  # type: ignore[arg-type]
        value = getattr(system, field.name)
        if isinstance(value, System):
            found |= _plain(value)
        elif isinstance(value, float) and not isinstance(value, Parameter) and field.name != "dt":
            found.add(field.name)
    return found


def _idle(s: Subject) -> list[str]:
    """Declared parameters that stand in no equation."""
    acting: set[int] = set()
    for piece in ("applied", "derivative", "finish", "output"):
        function: ca.Function = getattr(s.model.equations, piece)
        _, columns = function.jac_sparsity(0, function.index_in("p")).get_triplet()
        acting |= set(columns)
    return [name for i, name in enumerate(s.model.fit_parameters) if i not in acting]


def _effects(s: Subject) -> str:
    idle = [name for name in _idle(s) if name not in _plain(s.system)]
    if not idle:
        return ""
    return (
        f"{', '.join(idle)}: no effect on dynamics or output; `dynamics` must use p.{idle[0]} in "
        f"CasADi operations (self.{idle[0]} and float(p.{idle[0]}) do not follow a fit)"
    )


def _constants(s: Subject) -> str:
    idle = [name for name in _idle(s) if name in _plain(s.system)]
    return f"cannot be fitted, p.{idle[0]} is not used: {', '.join(idle)}" if idle else ""


def _nominal(s: Subject) -> str:
    wanted = [float(value) for value in s.system.parameters.values()]
    found = s.model.equations.constrain(ca.DM.zeros(len(wanted))).full()[:, 0]
    for name, p, p0 in zip(s.system.parameters, found.tolist(), wanted, strict=True):
        if p != p0:
            return f"{name} is {p!r} at ϑ = 0, declared is {p0!r}"
    return ""


def _domains(s: Subject) -> str:
    for size in (-3.0, 3.0):
        theta = torch.full((len(s.model.fit_parameters),), size, dtype=torch.float64)
        found = s.model.torch_equations.constrain(theta).tolist()
        for p, (name, parameter) in zip(found, s.system.parameters.items(), strict=True):
            low, high = -math.inf, math.inf
            if parameter.domain != "real":
                low, high = (0.0, high) if parameter.domain == "positive" else parameter.domain
            if not low < p < high:
                return f"{name} = {p!r} leaves its domain {parameter.domain!r}"
    return ""


def _memory(s: Subject) -> str:
    system, pieces = s.system, s.model.equations
    wanted = {
        "applied_input": (pieces.applied, system.nu, "one an input"),
        "advance_memory": (pieces.finish, system.nx, "one a state, memory included"),
        "initial_memory": (pieces.initial, system.nx, "one a state, memory included"),
    }
    for method, (function, rows, meaning) in wanted.items():
        if function.size1_out(0) != rows:
            return f"{method}: {function.size1_out(0)} rows, wanted {rows}, {meaning}"
    return _history(s) if system.memory_steps else ""


def _history(s: Subject) -> str:
    """Whether advance(initial(u₀ … uₙ₋₁), uₙ) is initial(u₁ … uₙ), where n inputs are all of m."""
    system, pieces, p = s.system, s.model.equations, list(s.system.parameters.values())
    n, rng = system.memory_steps, np.random.default_rng(s.seed)
    past, other = (rng.standard_normal((system.nu, n + 1)) for _ in range(2))
    flow = np.zeros(len(system.states))

    def initial(u: np.ndarray) -> ca.DM:
        return pieces.initial(flow, ca.vec(ca.DM(u)))

    def advanced(x: ca.DM, inputs: np.ndarray) -> np.ndarray:
        for u in inputs.T:
            x = pieces.finish(x, x, u, p)
        return x.full()[:, 0]

    wanted = initial(past[:, 1:]).full()[:, 0]
    one, two = (advanced(initial(u[:, :n]), past[:, 1:]) for u in (past, other))
    if not np.allclose(one, two, 1e-12, 1e-12, equal_nan=True):
        return ""  # a lag, say: what n inputs give can only be near what is remembered
    found = advanced(initial(past[:, :n]), past[:, n:])
    for row in range(len(system.states), system.nx):
        if not np.isclose(found[row], wanted[row], 1e-12, 1e-12, equal_nan=True):
            name = system.memory[row - len(system.states)].name
            return (
                f"{name!r} is {found[row]:.4g} after initial_memory of u₀ … u{n - 1} and "
                f"advance_memory by u{n}, and {wanted[row]:.4g} in initial_memory of "
                f"u₁ … u{n}: the order of past inputs is oldest first, one column a step"
            )
    return ""


LAWS = (
    Law("builds", "a model can be made with all parameters declared", _builds),
    Law("signals", "angles are in rad, no state has two rates", _signals),
    Law("rates", "rates are those of states", _rates, note=True),
    Law("units", "signals have units", _units, note=True),
    Law("memory", "memory has the declared sizes, and a step continues its start", _memory),
    Law("nominal", "ϑ = 0 gives the declared parameters exactly", _nominal),
    Law("domains", "no ϑ leaves a parameter's domain", _domains),
    Law("effects", "each parameter acts on dynamics or output", _effects),
    Law("constants", "each number among the fields can be fitted", _constants, note=True),
)
