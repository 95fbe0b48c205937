"""One step of a model as a straight-line program, which every printer reads.

`hybridmodel.equations.step` is generic over its operands. Run on the vectors below it leaves a
list of nodes behind, each made of earlier ones, so that the scheme is written nowhere again:

    Input      x, u, p or d
    Call       y = g(a, b, …)      an analytic piece, a casadi.Function in SX
    Network    r = r_θ(z)
    Combine    y = Σ c ∘ a         sums and multiples by numbers and masks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import casadi as ca
import numpy as np

from hybridmodel.equations import observe, step
from hybridmodel.model import HybridModel
from physics.binding import scalar_form

Coefficient = float | tuple[float, ...]  # one number, or one for each row


@dataclass(frozen=True)
class Input:
    """An argument of the whole program."""

    name: str
    size: int
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True)
class Call:
    """y = g(arguments): an SX function with one output."""

    function: ca.Function
    size: int
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """r = r_θ(z)."""

    size: int
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Combine:
    """y = Σ cᵢ ∘ aᵢ."""

    coefficients: tuple[Coefficient, ...]
    size: int
    arguments: tuple[int, ...]


Node = Input | Call | Network | Combine


class Vector:
    """A value in a recording: a sum Σ cᵢ ∘ nodeᵢ that becomes a node where it is an argument."""

    __array_ufunc__ = None  # numpy leaves mask * vector to us

    def __init__(self, size: int, terms: Mapping[int, np.ndarray]) -> None:
        self.size, self.terms = size, dict(terms)

    def __add__(self, other: Vector) -> Vector:
        if not isinstance(other, Vector):
            return NotImplemented
        terms = dict(self.terms)
        for node, coefficient in other.terms.items():
            terms[node] = terms[node] + coefficient if node in terms else coefficient
        return Vector(self.size, terms)

    def __sub__(self, other: Vector) -> Vector:
        return self + -other if isinstance(other, Vector) else NotImplemented

    def __neg__(self) -> Vector:
        return self * -1.0

    def __mul__(self, number: Any) -> Vector:
        if isinstance(number, Vector):
            return NotImplemented
        factor = np.asarray(number, dtype=float)
        return Vector(self.size, {node: factor * c for node, c in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, number: Any) -> Vector:
        return NotImplemented if isinstance(number, Vector) else self * (1 / np.asarray(number))


class Program:
    """Nodes in the order they are computed, and the numbers of those that are its results."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.results: tuple[int, ...] = ()
        self._known: dict[Node, int] = {}

    def input(self, name: str, size: int) -> Vector:
        return self._vector(Input(name, size))

    def piece(self, function: ca.Function) -> Callable[..., Vector]:
        """What `Equations.map` puts in place of a Function: calling it records a node."""
        form = cache(lambda: (_scalar(function), _returned(_scalar(function))))

        def call(*arguments: Vector) -> Vector:
            scalar, same = form()  # not before it is called: some pieces never are
            if same is not None:
                return arguments[same]
            numbers = tuple(self.number(a) for a in arguments)
            return self._vector(Call(scalar, scalar.size1_out(0), numbers))

        return call

    def network(self, size: int) -> Callable[[Vector], Vector]:
        """The residual with `size` outputs: calling it records a node."""
        return lambda z: self._vector(Network(size, (self.number(z),)))

    def number(self, value: Vector) -> int:
        """The node that holds this value."""
        [(first, coefficient), *others] = value.terms.items()
        if not others and np.all(coefficient == 1):
            return first
        coefficients = tuple(
            float(c) if c.ndim == 0 else tuple(c.tolist()) for c in value.terms.values()
        )
        node = Combine(coefficients, value.size, tuple(value.terms))
        return self._add(node)

    def _vector(self, node: Node) -> Vector:
        return Vector(node.size, {self._add(node): np.asarray(1.0)})

    def _add(self, node: Node) -> int:
        if node not in self._known:
            self._known[node] = len(self.nodes)
            self.nodes.append(node)
        return self._known[node]

    @property
    def last_use(self) -> dict[int, int]:
        """For each node the last one that reads it; results outlive all."""
        last = {number: number for number in range(len(self.nodes))}
        for number, node in enumerate(self.nodes):
            last |= dict.fromkeys(node.arguments, number)
        return last | dict.fromkeys(self.results, len(self.nodes))


def record_step(model: HybridModel) -> Program:
    """x⁺ = F(x, u, p, d)."""
    program, arguments = _start(model)
    x_next = step(
        model.equations.map(program.piece),
        None if model.residual is None else program.network(_outputs(model)),
        model.scheme,
        *arguments,
        dt=model.dt,
        velocity=model.velocity.cpu().double().numpy(),
    )
    program.results = (program.number(x_next),)
    return program


def record_output(model: HybridModel) -> Program:
    """y = h(x, u, p, d)."""
    program, arguments = _start(model)
    network = None if model.residual is None else program.network(_outputs(model))
    pieces = model.equations.map(program.piece)
    program.results = (program.number(observe(pieces, network, model.scheme, *arguments)),)
    return program


def record_residual(model: HybridModel) -> Program:
    """z and r = r_θ(z), what the network sees and says at (x, u, p, d); nothing without one."""
    program, (x, u, p, d) = _start(model)
    if model.residual is None:
        return program
    pieces = model.equations.map(program.piece)
    z = pieces.features(x, pieces.applied(x, u, p), d)
    program.results = (program.number(z), program.number(program.network(_outputs(model))(z)))
    return program


def _start(model: HybridModel) -> tuple[Program, tuple[Vector, ...]]:
    program, system = Program(), model.system
    sizes = {"x": model.nx, "u": system.nu, "p": len(model.fit_parameters), "d": system.nd}
    return program, tuple(program.input(name, size) for name, size in sizes.items())


def _outputs(model: HybridModel) -> int:
    return len(model.placement.signals(model.system))


def _scalar(function: ca.Function) -> ca.Function:
    """The same function as a list of scalar instructions."""
    form = scalar_form(function)
    if form is None:
        raise ValueError(
            f"model: its {function.name()!r} has no scalar (SX) form, since it holds a solver, an "
            "interpolant, a callback or the like; this target needs one, target='casadi' does not"
        )
    return form


def _returned(function: ca.Function) -> int | None:
    """The number of the argument that this function returns as it is, if it does."""
    arguments = [ca.SX.sym(f"i{k}", function.sparsity_in(k)) for k in range(function.n_in())]
    [value] = function.call(arguments)
    for k, argument in enumerate(arguments):
        if value.shape == argument.shape and ca.is_equal(value, argument):
            return k
    return None
