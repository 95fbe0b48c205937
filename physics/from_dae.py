"""A casadi.DaeBuilder, symbolic or an FMU, as a System with its names, units, bounds and values.

    ẋ = ode(x, z, u, p, t),   0 = alg(x, z, u, p, t),   y = h(x, z, u, p, t)

Algebraic variables z are eliminated where alg is affine in them, z = −A⁻¹ alg(z = 0), A = ∂alg/∂z.
Time, where anything depends on it, is an exogenous signal. Parameters are those of tunable and of
fixed variability.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence

import casadi as ca

from physics.binding import Binding, FromCasadi
from physics.matching import as_signals
from physics.parameter import Domain, Parameter
from physics.system import Signal

Rows = Sequence[str | Signal] | None  # names or Signals that a caller gives


def from_dae(
    builder: ca.DaeBuilder,
    states: Rows,
    inputs: Rows,
    exogenous: Rows,
    parameters: Mapping[str, float] | None,
    outputs: Rows,
) -> FromCasadi:
    """The System of a DaeBuilder, which is not changed; arguments as for `from_casadi`.

    A parameter's value is what the builder was last told: its value (`set`), where that is NaN
    its `start`. Its domain is (min, max), "positive" where its min is 0 or more without max, else
    "real". Those of an FMU are constants: its description does not say what depends on them, so
    that derivatives in them would be wrong.
    Raises ValueError where it has no states, has events or quadratures, or algebraic variables
    that no linear solve eliminates, for names that are not its own, and where a parameter or
    constant has no value.
    """
    name, given = builder.name(), dict(parameters or {})
    if not builder.x():
        raise ValueError(f"model: DaeBuilder {name!r} has no states")
    if builder.nzero() or builder.q():
        what = f"quadratures {builder.q()}" if builder.q() else f"{builder.nzero()} events (when)"
        raise ValueError(f"model: DaeBuilder {name!r} has {what}, and a System has none: drop them")
    with _tunable(builder):
        variables = builder.p()
        own = {row: (v, i) for v in variables for i, row in enumerate(_rows(builder, v))}
        function = _symbolic(builder) if builder.symbolic() else None
    if unknown := [row for row in given if row not in own]:
        raise ValueError(f"parameters: the DaeBuilder has no {unknown[0]!r}, it has {list(own)}")
    constants = ()
    if function is not None:
        constants = tuple((row, _parameter(builder, row, *own[row], given)) for row in own)
    else:
        function = _fmu(builder, given)
    takes = tuple("d" if name == "t" else name for name in function.name_in())
    time = (Signal(str(builder.time()), "s"),) if "d" in takes else ()
    measured = _signals(builder, builder.y())
    return FromCasadi(
        law=Binding(function, takes, "ode"),
        states=_renewed("states", _signals(builder, builder.x()), states),
        inputs=_renewed("inputs", _signals(builder, builder.u()), inputs),
        exogenous=_renewed("exogenous", time, exogenous),
        constants=constants,
        reading=Binding(function, takes, "y") if measured else None,
        outputs=_renewed("outputs", measured, outputs),
    )


@contextlib.contextmanager
def _tunable(dae: ca.DaeBuilder) -> Iterator[None]:
    """Fixed parameters of a symbolic builder are among p() meanwhile, where Functions take them."""
    fixed = []
    if dae.symbolic():
        fixed = [v for v in dae.c() if dae.causality(v) == "parameter"]
        for v in {*dae.c(), *dae.d()} - {*fixed}:
            if any(math.isnan(value) for value in _values(dae, v)):
                raise ValueError(
                    f"model: constant {v!r} of DaeBuilder {dae.name()!r} has no value: "
                    f"dae.set({v!r}, …)"
                )
    try:
        for v in fixed:
            dae.set_variability(v, "tunable")
        yield
    finally:
        for v in fixed:
            dae.set_variability(v, "fixed")


def _symbolic(dae: ca.DaeBuilder) -> ca.Function:
    """(t, x, u, p) ↦ (ode, y), without those that are empty or do nothing."""
    whole = _created(dae, ["x", "z", "u", "p"], {})
    if not dae.z():
        return whole
    symbols = {name: ca.MX.sym(name, whole.sparsity_in(name)) for name in whole.name_in()}
    z = symbols["z"]
    # inlined, since a call would hide what is affine in z
    alg = whole.call([*symbols.values()], True, False)[whole.index_out("alg")]
    slope = ca.jacobian(alg, z)
    if ca.sprank(slope) < z.numel() or any(ca.which_depends(alg, z, 2, False)):
        raise ValueError(
            f"model: DaeBuilder {dae.name()!r} is a DAE whose algebraic variables {dae.z()} no "
            "linear solve gives; write them as functions of x, u, p (casadi.rootfinder) in a "
            "casadi.Function of your own"
        )
    offset, matrix = ca.substitute([alg, slope], [z], [ca.MX.zeros(z.numel())])
    symbols["z"] = -ca.solve(matrix, offset, "symbolicqr")
    results = dict(zip(whole.name_out(), whole.call([*symbols.values()]), strict=True))
    del results["alg"], symbols["z"]
    return ca.Function(dae.name(), [*symbols.values()], [*results.values()], [*symbols], [*results])


def _fmu(dae: ca.DaeBuilder, given: Mapping[str, float]) -> ca.Function:
    """(t, x, u) ↦ (ode, y) of an FMU, at these values of its parameters."""
    if dae.z():
        raise ValueError(
            f"model: FMU {dae.name()!r} is a DAE with algebraic variables {dae.z()}; export it as "
            "an ODE"
        )
    before = {row: dae.get(row) for row in given}
    try:
        for row, value in given.items():
            dae.set(row, float(value))
        # CasADi 3.8 leaves an FMU's directional derivatives unwritten where all seeds are zero;
        # by way of its Jacobian they are right
        return _created(dae, ["x", "u"], {"enable_forward": False, "enable_reverse": False})
    finally:
        for row, value in before.items():
            dae.set(row, value)


def _created(dae: ca.DaeBuilder, wanted: list[str], options: dict[str, bool]) -> ca.Function:
    """The builder's Function of time and all wanted variables that there are."""
    there = {"x": dae.x(), "z": dae.z(), "u": dae.u(), "p": dae.p()}
    ins = [key for key in wanted if there[key]]
    outs = [key for key, rows in {"ode": True, "alg": dae.z(), "y": dae.y()}.items() if rows]
    if dae.has_t():  # an FMU always has it
        timed = dae.create(dae.name(), ["t", *ins], outs, options)
        if any(timed.jac_sparsity(i, 0).nnz() for i in range(len(outs))):
            return timed
    return dae.create(dae.name(), ins, outs, options)


def _renewed(argument: str, own: tuple[Signal, ...], given: Rows) -> tuple[Signal, ...]:
    """The builder's signals, or the given ones of the same names (with an angle mark, say)."""
    if given is None:
        return own
    signals = as_signals("", given, 0)
    if [s.name for s in signals] != [s.name for s in own]:
        raise ValueError(
            f"{argument} of the DaeBuilder are {[s.name for s in own]} in this order, got "
            f"{[s.name for s in signals]}"
        )
    known = zip(given, signals, own, strict=True)
    return tuple(new if isinstance(name, Signal) else old for name, new, old in known)


def _signals(dae: ca.DaeBuilder, variables: list[str]) -> tuple[Signal, ...]:
    return tuple(
        Signal(row, dae.unit(v), dae.min(v), dae.max(v)) for v in variables for row in _rows(dae, v)
    )


def _rows(dae: ca.DaeBuilder, variable: str) -> list[str]:
    """Names of the rows of a variable: its own, or numbered."""
    count = dae.numel(variable)
    return [variable] if count == 1 else [f"{variable}_{i}" for i in range(count)]


def _values(dae: ca.DaeBuilder, variable: str) -> list[float]:
    present = dae.get(variable)
    return present if isinstance(present, list) else [present]


def _parameter(
    dae: ca.DaeBuilder, row: str, variable: str, i: int, given: Mapping[str, float]
) -> Parameter:
    value = given[row] if row in given else _values(dae, variable)[i]
    if isinstance(value, Parameter):
        return value
    if math.isnan(value):
        start = [float(v) for v in dae.start(variable)]
        if not any(start):  # CasADi's default is 0, so that 0 says nothing
            way = "set" if len(start) == 1 else "set_start"  # `set` takes no vectors
            raise ValueError(
                f"parameter {row!r} of DaeBuilder {dae.name()!r} has no value: pass "
                f"parameters={{{row!r}: …}}, or dae.{way}({variable!r}, …) before"
            )
        value = start[i] if len(start) > 1 else start[0]
    low, high = dae.min(variable), dae.max(variable)
    domain: Domain = (low, high)
    if ca.inf in (-low, high):
        domain = "positive" if low >= 0 else "real"
    try:
        return Parameter(value, dae.unit(variable), domain)
    except ValueError as error:
        raise ValueError(
            f"parameter {row!r} of the DaeBuilder: {error}; give it as "
            f"parameters={{{row!r}: Parameter(…)}}"
        ) from None
