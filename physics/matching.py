"""What each input of a casadi.Function takes, read from names and sizes and never guessed.

`names` maps x, u, p, d to the names of their rows throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace

import casadi as ca

from physics.binding import Binding
from physics.parameter import Parameter, as_number
from physics.system import Signal

Names = Iterable[str | Signal]

VECTORS = {"x": "states", "u": "inputs", "p": "parameters", "d": "exogenous"}  # the usual order


def bind(
    function: ca.Function, takes: Sequence[str], result: str, names: Mapping[str, Sequence[str]]
) -> Binding:
    """The function with each input i bound to what `takes[i]` names.

    Raises ValueError with the function's signature where a name means nothing, means two things,
    stands twice, or has another size.
    """
    taken: dict[str, str] = {}
    for i, name in enumerate(takes):
        if function.numel_in(i) == 0:
            continue  # takes nothing
        if min(function.size_in(i)) > 1:
            raise _misfit(function, i, f"is a matrix {function.size_in(i)}, wanted a vector")
        for row in _rows(function, i, name, names):
            if row in taken:
                raise _misfit(function, i, f"takes {row!r}, which input {taken[row]!r} takes too")
            taken[row] = function.name_in(i)
    return Binding(function, tuple(takes), result)


def takers(
    function: ca.Function, arguments: Sequence[str] | None, present: Mapping[str, bool]
) -> tuple[str, ...]:
    """For each input the name of what it takes: as `arguments` says, else its own name.

    CasADi's default names i0, i1 … mean the vectors that are present, in the usual order.
    """
    count, own = function.n_in(), tuple(function.name_in())
    if arguments is not None:
        if isinstance(arguments, str) or len(arguments) != count:
            raise ValueError(
                f"arguments must name what each of the {count} inputs of {function} takes, "
                f"got {arguments!r}"
            )
        return tuple(arguments)
    if own != tuple(f"i{k}" for k in range(count)):
        return own
    order = [key for key in VECTORS if present[key]]
    filled = [k for k in range(count) if function.numel_in(k)]
    if len(filled) > len(order):
        raise ValueError(
            f"{function} has {len(filled)} inputs without names, wanted at most {len(order)}: "
            f"{', '.join(VECTORS[key] for key in order)} in this order; name what is missing, or "
            f"say what each input takes: arguments=('x', 'u', …)"
        )
    meant = dict(zip(filled, order, strict=False))
    return tuple(meant.get(k, "") for k in range(count))


def chosen(argument: str, function: ca.Function, result: str | None) -> str:
    """The name of the output that is meant, where there is one or `result` says it."""
    names = function.name_out()
    if result is None and len(names) != 1:
        raise ValueError(
            f"{argument} must name the output of {function} that is meant, one of {names}"
        )
    name = names[0] if result is None else result
    if name not in names:
        raise ValueError(f"{argument}: {function} has no output {name!r}, it has {names}")
    shape = function.size_out(function.index_out(name))
    if min(shape) != 1:
        raise ValueError(f"{argument}: {name!r} of {function} is a matrix {shape}, wanted a column")
    return name


def listed(argument: str, given: Names | None) -> tuple[str | Signal, ...] | None:
    """The given names as a tuple; ValueError naming the argument where they are none."""
    if given is None:
        return None
    names = None if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if names is None or not all(isinstance(name, str | Signal) for name in names):
        raise ValueError(f"{argument} must be a sequence of names or Signals, got {given!r}")
    if "" in names:
        raise ValueError(f"{argument}: a name is empty in {names!r}")
    return names


def as_signals(letter: str, given: Sequence[str | Signal] | None, count: int) -> tuple[Signal, ...]:
    """The given names as Signals, or `count` numbered ones."""
    if given is None:
        return tuple(Signal(f"{letter}{i}") for i in range(count))
    return tuple(name if isinstance(name, Signal) else Signal(name) for name in given)


def as_parameters(given: Mapping[str, float] | None) -> dict[str, Parameter]:
    """Numbers by name as Parameters; ValueError naming what is none."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"parameters must be a dict, name ↦ value or Parameter, got {given!r}")
    for name in given:
        # `dynamics` reads p.name, where a name such as __class__ is taken
        if not (isinstance(name, str) and name) or hasattr(SimpleNamespace(), name):
            raise ValueError(f"parameters: {name!r} cannot be the name of one, rename it")
    return {name: as_parameter(name, value) for name, value in given.items()}


def as_parameter(name: str, value: float) -> Parameter:
    """A number as a Parameter, ValueError naming it where it is none."""
    try:
        return value if isinstance(value, Parameter) else Parameter(as_number("value", value))
    except ValueError as error:
        raise ValueError(f"parameters[{name!r}] must be a number or Parameter: {error}") from None


def _rows(
    function: ca.Function, i: int, name: str, names: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """The rows of x, u, p, d that input i takes."""
    size = function.numel_in(i)
    whole = tuple(names[name]) if name in VECTORS and len(names[name]) == size else None
    scalar = (name,) if size == 1 and any(name in rows for rows in names.values()) else None
    if whole and scalar and whole != scalar:
        raise _misfit(
            function, i, f"may take {VECTORS[name]} {list(whole)} or the scalar {name!r}: rename it"
        )
    if whole or scalar:
        yield from whole or scalar or ()
    elif name in VECTORS:
        known = list(names[name])
        raise _misfit(
            function, i, f"has {size} rows, and {VECTORS[name]} are {len(known)} names {known}"
        )
    elif any(name in rows for rows in names.values()):
        raise _misfit(function, i, f"has {size} rows, and {name!r} is a scalar")
    else:
        raise _misfit(
            function,
            i,
            f"takes {name!r}, which is none of x, u, p, d, no signal and no parameter "
            f"{ {VECTORS[key]: list(rows) for key, rows in names.items()} }; name it there, or say "
            "what each input takes: arguments=('x', 'u', …)",
        )


def _misfit(function: ca.Function, i: int, problem: str) -> ValueError:
    return ValueError(f"input {function.name_in(i)!r} of {function} {problem}")
