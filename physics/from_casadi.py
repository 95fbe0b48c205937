"""A model that is there already, a casadi.Function or DaeBuilder, as a System.

    ẋ = f(x, u, p, d)    or    x⁺ = f(x, u, p, d) every dt,        y = h(x, u, p, d)

f stays as it came, SX or MX or without symbolic form; what each of its inputs takes is read from
their names or said by `arguments`, and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import casadi as ca

from physics.binding import Binding, FromCasadi, of_class
from physics.from_dae import from_dae
from physics.matching import (
    VECTORS,
    Names,
    as_parameters,
    as_signals,
    bind,
    chosen,
    listed,
    takers,
)
from physics.system import Signal


def from_casadi(
    model: ca.Function | ca.DaeBuilder,
    *,
    states: Names | None = None,
    inputs: Names | None = None,
    exogenous: Names | None = None,
    parameters: Mapping[str, float] | None = None,
    arguments: Sequence[str] | None = None,
    result: str | None = None,
    output: ca.Function | str | None = None,
    outputs: Names | None = None,
    dt: float | None = None,
) -> FromCasadi:
    """The System of a model written with CasADi, which is not changed.

    model       f, or a DaeBuilder (an FMU is `casadi.DaeBuilder(name, path)`)
    states, inputs, exogenous   names or Signals, in the order of x, u, d; None: as many as f
                has, named x0, x1 …; a DaeBuilder's own names, units and bounds
    parameters  name ↦ value or Parameter, in the order of p; of a DaeBuilder those that shall
                differ from its own
    arguments   what each input of f takes, where its names do not say so: "x", "u", "p", "d" or
                the name of one signal or parameter
    result      name of the output that is ẋ or x⁺, where f has several
    output      h: a casadi.Function with one output, or the name of another output of f
    outputs     names of y
    dt          None: f gives ẋ; seconds: f gives x⁺ of a discrete system

    An input named x, u, p or d takes that vector, one with the name of a signal or a parameter
    that scalar, one of size 0 nothing; CasADi's default names i0, i1 … mean states, inputs,
    parameters, exogenous in this order, of equal sizes too, those that there are none of left
    out.
    Raises ValueError with f's signature where anything does not fit or is ambiguous.
    """
    states, inputs = listed("states", states), listed("inputs", inputs)
    exogenous, outputs = listed("exogenous", exogenous), listed("outputs", outputs)
    constants = tuple(as_parameters(parameters).items())
    if isinstance(model, ca.DaeBuilder):
        for name, given in {
            "arguments": arguments,
            "result": result,
            "output": output,
            "dt": dt,
        }.items():
            if given is not None:
                raise ValueError(f"{name} is for a casadi.Function, a DaeBuilder says it itself")
        return from_dae(model, states, inputs, exogenous, parameters, outputs)
    _check(model)
    law_of = chosen("result", model, result)
    nx, filled = _rows(model, law_of), sum(model.numel_in(i) > 0 for i in range(model.n_in()))
    others = 1 + bool(constants) + bool(exogenous)
    present = {
        "x": True,
        "u": bool(inputs) or (inputs is None and filled == others + 1),
        "p": bool(constants),
        "d": bool(exogenous),
    }
    takes = takers(model, arguments, present)
    sizes = {name: model.numel_in(i) for i, name in enumerate(takes)}
    x = as_signals("x", states, nx)
    u = as_signals("u", inputs, sizes.get("u", 0))
    d = as_signals("d", exogenous, sizes.get("d", 0))
    if len(x) != nx:
        raise ValueError(
            f"states: {len(x)} names {[s.name for s in x]}, and {law_of!r} of {model} has {nx} "
            "rows, one a state"
        )
    names = {"x": x, "u": u, "d": d}
    names = {key: tuple(s.name for s in signals) for key, signals in names.items()}
    names["p"] = tuple(name for name, _ in constants)
    every = [name for rows in names.values() for name in rows]
    if clash := [name for name in every if every.count(name) > 1]:
        raise ValueError(
            f"names must differ, and {clash[0]!r} stands twice among states, inputs, exogenous "
            "signals and parameters"
        )
    law = bind(model, takes, law_of, names)
    reading = None
    if isinstance(output, str):
        reading = bind(model, takes, chosen("output", model, output), names)
    elif output is not None:
        _check(output)
        own = takers(output, None, {key: bool(rows) for key, rows in names.items()})
        reading = bind(output, own, chosen("output", output, None), names)
    elif outputs is not None:
        raise ValueError("outputs names y, and no output is given: pass output=h, or leave it out")
    _check_used(names, law, reading)
    return FromCasadi(
        law=law,
        states=x,
        inputs=u,
        exogenous=d,
        constants=constants,
        reading=reading,
        outputs=() if reading is None else _measured(reading, outputs),
        dt=dt,
    )


def _check(function: ca.Function) -> None:
    if not isinstance(function, ca.Function):
        raise ValueError(
            f"wanted a casadi.Function, got {type(function).__name__}; make one: "
            "casadi.Function('f', [x, u], [xdot], ['x', 'u'], ['xdot'])"
        )
    if of_class(function, ("FmuFunction",)):
        raise ValueError(
            f"{function} is made of an FMU: pass its DaeBuilder instead, whose Function is made so "
            "that CasADi's derivatives of it hold"
        )
    if function.has_free():
        raise ValueError(
            f"{function} holds free symbols {function.get_free()}: make them inputs of it, as "
            "parameters or exogenous signals"
        )


def _check_used(
    names: Mapping[str, tuple[str, ...]], law: Binding, reading: Binding | None
) -> None:
    """All but states must act somewhere: a name that nothing takes is a slip."""
    parts = [law] if reading is None else [law, reading]
    used = {name for part in parts for name in part.arguments}
    for key in ("u", "p", "d"):
        if idle := [name for name in names[key] if not used & {key, name}]:
            raise ValueError(
                f"{VECTORS[key]}: no input takes {idle[0]!r} of {list(names[key])}; functions are "
                f"{', '.join(str(part.function) for part in parts)}"
            )


def _measured(reading: Binding, outputs: Sequence[str | Signal] | None) -> tuple[Signal, ...]:
    rows = _rows(reading.function, reading.result)
    y = as_signals("y", outputs, rows)
    if len(y) != rows:
        raise ValueError(
            f"outputs: {len(y)} names {[s.name for s in y]}, and {reading.result!r} of "
            f"{reading.function} has {rows} rows"
        )
    return y


def _rows(function: ca.Function, result: str) -> int:
    return function.numel_out(function.index_out(result))
