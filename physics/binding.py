"""One output of a casadi.Function, with the quantity that each of its inputs takes, and the System
that is made of such.

A Binding is data: equal Functions make equal Bindings in every process, where a casadi.Function
is only equal to itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Self

import casadi as ca

from physics.parameter import Parameter
from physics.system import Signal, System

NO_CODE = (  # CasADi warns where it is asked for the C form of these
    *("CallbackInternal", "FmuFunction"),
    *("RungeKutta", "Collocation", "CvodesInterface", "IdasInterface"),  # integrators
    *("Newton", "KinsolInterface", "ImplicitToNlp"),  # root finders
    *("Qrsqp", "Scpgen", "Blocksqp", "Ipqp", "ProxqpInterface", "QpoasesInterface", "QpToNlp"),
)


@dataclass(frozen=True, eq=False)
class Binding:
    """`function(*arguments)[result]`, as a column.

    arguments  for each input of the function the name of what it takes: a vector ("x") or a
               scalar ("mass"); where a name could be either, the input's size says which
    result     name of the output that is taken
    """

    function: ca.Function
    arguments: tuple[str, ...]
    result: str

    def __call__(self, vectors: Mapping[str, Any], scalars: Mapping[str, Any]) -> Any:
        """The result as an expression (n, 1), from vectors and scalars by name."""
        given = []
        for i, name in enumerate(self.arguments):
            size = self.function.numel_in(i)
            if size == 0:
                given.append(ca.DM(*self.function.size_in(i)))
            elif name in vectors and vectors[name].numel() == size:
                given.append(ca.reshape(vectors[name], *self.function.size_in(i)))
            else:
                given.append(scalars[name])
        form = self.scalar or self.function
        return ca.vec(form.call(given)[self.function.index_out(self.result)])

    @cached_property
    def scalar(self) -> ca.Function | None:
        """The SX form of the function, None where it has none."""
        return scalar_form(self.function)

    @cached_property
    def sha256(self) -> str:
        """See `digest`."""
        return digest(self.function)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Binding):
            return NotImplemented
        return (self.arguments, self.result) == (other.arguments, other.result) and (
            self.function is other.function or self.sha256 == other.sha256
        )

    def __hash__(self) -> int:
        return hash((str(self.function), self.arguments, self.result))

    def __repr__(self) -> str:
        return f"{self.function}[{self.result!r}] of ({', '.join(self.arguments)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes

    def __getstate__(self) -> dict[str, Any]:
        if names := of_class(self.function, ("CallbackInternal",)):
            raise TypeError(
                f"{self.function.name()} cannot be pickled: {names[0]} is a casadi.Callback, whose "
                "Python code CasADi does not write down; build the system in each process"
            )
        return {field.name: getattr(self, field.name) for field in fields(self)}


def scalar_form(function: ca.Function) -> ca.Function | None:
    """The function as SX instructions alone, None where some part of it has no scalar form."""
    try:
        form = function if function.is_a("SXFunction") else function.expand()
    except RuntimeError:  # a matrix operation without scalar form, such as solve
        return None
    calls = any(form.instruction_id(k) == ca.OP_CALL for k in range(form.n_instructions()))
    return None if calls else form  # a call is opaque: interpolants, callbacks, FMUs


def digest(function: ca.Function) -> str:
    """SHA-256 of what a function computes: of its C form, the same in every process.

    Of parts that have no C form (callbacks, FMUs, most integrators and root finders) it holds no
    more than name, sizes and the functions inside, not their options. Not of the serialised form,
    which holds derivatives that were asked for before.
    """
    parts = (function, *function.find_functions())
    if not of_class(function, NO_CODE):
        code = ca.CodeGenerator("function", {"with_header": False})
        code.add(function)
        return hashlib.sha256(code.dump().encode()).hexdigest()
    told = hashlib.sha256()
    for part in parts:
        told.update(f"{part.class_name()} {part}\n".encode())
        if part.class_name() in ("SXFunction", "MXFunction"):
            for k in range(part.n_instructions()):
                told.update(f"{_detail(part, k)}\n".encode())
    return told.hexdigest()


def _detail(function: ca.Function, k: int) -> tuple[object, ...]:
    """All that CasADi tells of instruction k."""
    operation = function.instruction_id(k)
    wiring = (operation, function.instruction_input(k), function.instruction_output(k))
    if function.class_name() == "MXFunction":
        node = function.instruction_MX(k)
        return (*wiring, node if node.is_constant() else node.info())
    return (*wiring, function.instruction_constant(k) if operation == ca.OP_CONST else None)


def of_class(function: ca.Function, classes: tuple[str, ...]) -> list[str]:
    """Names of the functions inside, this one included, that are of these classes."""
    parts = (function, *function.find_functions())
    return [part.name() for part in parts if part.class_name() in classes]


@dataclass(frozen=True, kw_only=True, repr=False)
class FromCasadi(System):
    """What `from_casadi` returns.

    law        f: the function, what its inputs take and the output that is ẋ or x⁺
    reading    h likewise, None where y = x
    constants  (name, Parameter) pairs in the order of p
    """

    law: Binding
    states: tuple[Signal, ...]
    inputs: tuple[Signal, ...] = ()
    exogenous: tuple[Signal, ...] = ()
    constants: tuple[tuple[str, Parameter], ...] = ()
    reading: Binding | None = None
    outputs: tuple[Signal, ...] = ()  # type: ignore[override]
    dt: float | None = None  # type: ignore[override]

    def __post_init__(self) -> None:
        if self.reading is None:
            object.__setattr__(self, "outputs", self.states)
        super().__post_init__()

    @property
    def symbols(self) -> Any:
        parts = [self.law] if self.reading is None else [self.law, self.reading]
        return ca.MX if any(part.scalar is None for part in parts) else ca.SX

    def dynamics(self, x: Any, u: Any, p: SimpleNamespace, d: Any) -> Any:
        return self._taken(self.law, x, u, p, d)

    def output(self, x: Any, u: Any, p: SimpleNamespace, d: Any) -> Any:
        return x if self.reading is None else self._taken(self.reading, x, u, p, d)

    def _taken(self, part: Binding, x: Any, u: Any, p: SimpleNamespace, d: Any) -> Any:
        values = {name: getattr(p, name) for name, _ in self.constants}
        vectors = {"x": x, "u": u, "p": ca.vertcat(*values.values()), "d": d}
        scalars = dict(values)
        for signals, column in ((self.states, x), (self.inputs, u), (self.exogenous, d)):
            scalars |= {signal.name: column[i] for i, signal in enumerate(signals)}
        return part(vectors, scalars)

    def __repr__(self) -> str:
        told = {kind: [s.name for s in getattr(self, kind)] for kind in ("states", "inputs")}
        if self.exogenous:
            told["exogenous"] = [s.name for s in self.exogenous]
        if self.reading is not None:
            told["outputs"] = [s.name for s in self.outputs]
        rows = [f"{name}={names}" for name, names in told.items()]
        rows += [f"parameters={ {n: float(v) for n, v in self.constants} }"] * bool(self.constants)
        rows += [f"dt={self.dt:g}"] if self.dt is not None else []
        return f"FromCasadi({self.law!r}, {', '.join(rows)})"
