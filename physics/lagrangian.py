"""Mechanical systems written as energies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from physics.binding import Binding
from physics.mechanical import Mechanical
from physics.parameter import Parameter
from physics.system import Signal

Energy = Callable[[ca.SX, ca.SX, SimpleNamespace], Any]  # (q, v, p) ↦ T
Place = Callable[[ca.SX, SimpleNamespace], Any]  # (q, p) ↦ V, B or D


@dataclass(frozen=True, kw_only=True)
class Lagrangian(Mechanical):
    """A mechanical system from its kinetic and potential energy, by Lagrange's equations.

        d/dt ∂T/∂v − ∂T/∂q + ∂V/∂q + D v = B u + τ
        M = ∂²T/∂v²,    b = ∂/∂q(∂T/∂v) v − ∂T/∂q + ∂V/∂q + D v

    kinetic      T(q, v, p) [J], a scalar of degree two in v; lower terms turn or push
    potential    V(q, p) [J], a scalar
    coordinates  q (nq,); the rates v (nq,) are named `<coordinate>_rate`
    inputs       u (nu,)
    actuation    B(q, p), (nq, nu); the identity unless given, which needs nu = nq
    damping      D(q, p), viscous coefficients (nq,), or a matrix (nq, nq); 0 unless given
    constants    pairs (name, Parameter): what `p.name` is in these functions

    The functions are Python functions of SX columns; they are called once and kept as
    casadi.Functions, so that equal systems are equal and can be copied and sent. A checkpoint
    keeps no function: `load` wants the system again. Equations derived by hand have half to a
    third of the instructions.
    Raises ValueError where a function fails, gives another shape, or T is not quadratic in v.
    Goldstein, Poole, Safko, Classical Mechanics, 3rd ed., eq. 1.57.
    """

    kinetic: Energy | Binding
    potential: Place | Binding
    coordinates: tuple[Signal, ...]
    inputs: tuple[Signal, ...] = ()
    actuation: Place | Binding | None = None
    damping: Place | Binding | None = None
    constants: tuple[tuple[str, Parameter], ...] = ()

    def __post_init__(self) -> None:
        self._check_fields()
        n = len(self.coordinates)
        if self.actuation is None and len(self.inputs) != n:
            raise ValueError(
                f"actuation must be given where {len(self.inputs)} inputs drive {n} coordinates: "
                "a function (q, p) ↦ B(q), one row a coordinate"
            )
        wanted = {
            "kinetic": ((1, 1),),
            "potential": ((1, 1),),
            "actuation": ((n, len(self.inputs)),),
            "damping": ((n, 1), (n, n)),
        }
        for name, shapes in wanted.items():
            function = getattr(self, name)
            if isinstance(function, Binding):  # of a system that this one is a copy of
                self._check_bound(name, function, shapes)
            elif function is not None:
                object.__setattr__(self, name, self._bound(name, function, shapes))
        super().__post_init__()
        self._check_kinetic()

    @property
    def states(self) -> tuple[Signal, ...]:  # type: ignore[override]
        rates = (
            Signal(f"{s.name}_rate", f"{s.unit or '1'}/s", rate_of=s.name) for s in self.coordinates
        )
        return (*self.coordinates, *rates)

    def mass_matrix(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        v = ca.SX.sym("v", self.nv)
        return ca.cse(ca.hessian(self._value(self.kinetic, q, v, p), v)[0])

    def bias(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        # by symbols of our own: q and v may be expressions, which nothing can be derived by
        q_, v_ = ca.SX.sym("q", self.nq), ca.SX.sym("v", self.nv)
        T, V = self._value(self.kinetic, q_, v_, p), self._value(self.potential, q_, v_, p)
        momentum = ca.gradient(T, v_)
        b = ca.jtimes(momentum, q_, v_) - ca.gradient(T, q_) + ca.gradient(V, q_)
        if self.damping is not None:
            D = ca.reshape(self._value(self.damping, q_, v_, p), self.nq, -1)
            b += D * v_ if D.shape[1] == 1 else D @ v_
        b = ca.cse(ca.densify(b))
        return ca.substitute(b, ca.vertcat(q_, v_), ca.vertcat(q, v))

    def input_map(self, q: ca.SX, p: SimpleNamespace) -> ca.SX:
        if self.actuation is None:
            return ca.SX.eye(self.nq)
        v = ca.SX.zeros(self.nv)
        return ca.reshape(self._value(self.actuation, q, v, p), self.nq, self.nu)

    def energy(self, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        """vᵀ ∂T/∂v − T + V [J], kept without damping; T + V where T is all squares."""
        q_, v_ = ca.SX.sym("q", self.nq), ca.SX.sym("v", self.nv)
        T, V = self._value(self.kinetic, q_, v_, p), self._value(self.potential, q_, v_, p)
        kept = ca.dot(v_, ca.gradient(T, v_)) - T + V
        return ca.substitute(kept, ca.vertcat(q_, v_), ca.vertcat(q, v))

    # -- from Python functions to data ---------------------------------------------------------

    def _check_fields(self) -> None:
        for name in ("coordinates", "inputs", "constants"):
            value = getattr(self, name)
            if not isinstance(value, tuple | list):
                raise ValueError(f"{name} must be a tuple, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        if not self.coordinates:
            raise ValueError("coordinates must name one Signal at least, got none")
        for signal in (*self.coordinates, *self.inputs):
            if not isinstance(signal, Signal):
                raise ValueError(f"coordinates and inputs must be Signals, got {signal!r}")
        for signal in self.coordinates:
            if signal.quaternion is not None or signal.rate_of is not None:
                raise ValueError(
                    f"coordinates must be plain coordinates, {signal.name!r} is "
                    f"{'part of a quaternion' if signal.quaternion else 'a rate'}"
                )
        for pair in self.constants:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Parameter)):
                raise ValueError(f"constants must be pairs (name, Parameter), got {pair!r}")
        names = [name for name, _ in self.constants]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"constants: {twice[0]!r} stands twice")

    def _bound(
        self, name: str, function: Callable[..., Any], shapes: tuple[tuple[int, int], ...]
    ) -> Binding:
        """A Python function of this system as a casadi.Function, where it gives such a shape."""
        n, names = len(self.coordinates), [key for key, _ in self.constants]
        q, v, p = ca.SX.sym("q", n), ca.SX.sym("v", n), ca.SX.sym("p", len(names))
        constants = SimpleNamespace(**dict(zip(names, ca.vertsplit(p), strict=True)))
        given = (q, v, constants) if name == "kinetic" else (q, constants)
        takes = "(q, v, p)" if name == "kinetic" else "(q, p)"
        if not callable(function):
            raise ValueError(f"{name} must be a function of {takes}, got {function!r}")
        try:
            value = ca.densify(ca.SX(function(*given)))
            law = ca.Function(name, [q, v, p], [value], ["q", "v", "p"], [name])
        except Exception as error:  # whatever the user's own function raises
            _, _, told = str(error).strip().rpartition("\n")  # CasADi says it on its last line
            raise ValueError(
                f"{name} of {takes} fails on SX columns and parameters {names}: "
                f"{type(error).__name__}: {told}"
            ) from error
        found = Binding(law, ("q", "v", "p"), name)
        self._check_bound(name, found, shapes)
        return found

    def _check_bound(self, name: str, part: Binding, shapes: tuple[tuple[int, int], ...]) -> None:
        law = part.function
        if law.size_out(0) not in shapes:
            wanted = " or ".join(str(shape) for shape in shapes)
            raise ValueError(f"{name} gives shape {law.size_out(0)}, wanted {wanted}")
        sizes = (law.numel_in(0), law.numel_in(2))
        if sizes != (len(self.coordinates), len(self.constants)):
            raise ValueError(
                f"{name} is made for {sizes[0]} coordinates and {sizes[1]} constants, got "
                f"{len(self.coordinates)} and {len(self.constants)}: give it as a Python function"
            )

    def _check_kinetic(self) -> None:
        q, v = ca.SX.sym("q", self.nq), ca.SX.sym("v", self.nv)
        M = ca.hessian(self._value(self.kinetic, q, v, self.namespace()), v)[0]
        if ca.depends_on(M, v):
            raise ValueError(
                "kinetic must be quadratic in v, and its second derivative depends on v: write "
                "T as a sum of ½ m times squares of speeds, without roots or quotients of v"
            )
        for i, signal in enumerate(self.coordinates):
            if M[i, i].is_zero():
                raise ValueError(f"kinetic holds no energy of {signal.name!r}: its mass would be 0")
        mass = ca.Function("mass", [q], [ca.densify(M)])
        random = np.random.default_rng(0)
        places = [np.array(self.neutral[: self.nq]), *random.uniform(-1, 1, (8, self.nq))]
        found = [mass(place).full() for place in places]
        if not any(np.linalg.eigvalsh(M)[0] > 1e-12 * np.abs(M).max() for M in found):
            raise ValueError(
                "kinetic must grow with every v; its mass matrix is "
                f"{found[1].tolist()} at q = {places[1].tolist()}, which is not positive definite"
            )

    def _value(self, part: Any, q: ca.SX, v: ca.SX, p: SimpleNamespace) -> ca.SX:
        constants = ca.vertcat(*(getattr(p, name) for name, _ in self.constants))
        return part({"q": q, "v": v, "p": constants}, {})
