"""Target "casadi": the model as serialised Functions, which need casadi alone."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import casadi as ca
import numpy as np

from hybridmodel.export.round_trip import (
    TOLERANCE,
    Points,
    RoundTrip,
    derivatives,
    difference,
    evaluate,
    in_float64,
)
from hybridmodel.model import HybridModel

README = """\
# {name}: a hybrid model as CasADi Functions

Model {digest} (SHA-256), step {dt!r} s, written with casadi {version}.

| file | Function |
|---|---|
{rows}

    import casadi
    F = casadi.Function.load("{name}_step.casadi")
    x_next = F(x, u, p, d)

x: {states}; u: {inputs}; p: {parameters}; d: {exogenous}. An empty argument is `[]`.
p at its values when this was written: {values}.

The Functions are symbolic: they take numbers and SX or MX expressions, and CasADi derives them.
casadi reads files of its own version and older ones. Load only files that you trust: casadi does
not survive damaged ones.
"""


def write(model: HybridModel, folder: Path, name: str, digest: str) -> RoundTrip:
    """Write NAME_step.casadi, NAME_ode.casadi where the model has an ODE, NAME_output.casadi and a
    README, load them again and compare."""
    model = in_float64(model)
    written = save_functions(model, folder, name)
    meaning = {
        "step": "x⁺ = F(x, u, p, d)",
        "ode": "ẋ = f(x, u, p, d), with the residual inside",
        "output": "y = h(x, u, p, d)",
    }
    rows = [f"| {name}_{kind}.casadi | {meaning[kind]} |" for kind in written]
    if "ode" not in written:
        rows.append("| (no ode) | the model is discrete: dt belongs to it |")
    system = model.system
    (folder / "README.md").write_text(
        README.format(
            name=name,
            digest=digest,
            dt=model.dt,
            version=ca.CasadiMeta.version(),
            rows="\n".join(rows),
            states=_named(s.name for s in (*system.states, *system.memory)),
            inputs=_named(s.name for s in system.inputs),
            parameters=_named(model.fit_parameters),
            exogenous=_named(s.name for s in system.exogenous),
            values=model.physical().tolist(),
        ),
        encoding="utf-8",
    )
    points = evaluate(model, "float64")
    found = compare_functions(model, folder, name, points)
    return RoundTrip(
        found, TOLERANCE["float64"], len(points), "loaded again by casadi", points.finite
    )


def save_functions(model: HybridModel, folder: Path, name: str) -> dict[str, ca.Function]:
    """Save the Functions that a model has, as NAME_KIND.casadi."""
    made = {"step": model.step_function()}
    with suppress(ValueError):  # discrete: held, on the next state, or with memory
        made["ode"] = model.ode_function()
    made["output"] = _output(model.output_function())
    for kind, function in made.items():
        function.save(str(folder / f"{name}_{kind}.casadi"))
    return made


def compare_functions(
    model: HybridModel, folder: Path, name: str, points: Points
) -> dict[str, float]:
    """Differences of the files from the model in torch."""
    step = ca.Function.load(str(folder / f"{name}_step.casadi"))
    output = ca.Function.load(str(folder / f"{name}_output.casadi"))
    arguments = [ca.MX.sym(n, *step.size_in(k)) for k, n in enumerate(step.name_in())]
    x_next = step(*arguments)
    slopes = [ca.densify(ca.jacobian(x_next, arguments[k])) for k in (0, 1)]
    derived = ca.Function("derived", arguments, [x_next, *slopes])
    found: dict[str, float] = {"step": 0.0, "A": 0.0, "B": 0.0, "output": 0.0}
    for k in range(len(points)):
        values = [np.asarray(v.full()) for v in derived(*points.arguments(k))]
        y = output(*points.arguments(k)).full()
        pairs = zip(
            (values[0][:, 0], values[1], values[2], y[:, 0]),
            (points.x_next[k], points.A[k], points.B[k], points.y[k]),
            strict=True,
        )
        for quantity, (ours, theirs) in zip(found, pairs, strict=True):
            found[quantity] = max(found[quantity], difference(ours, theirs))
    if (path := folder / f"{name}_ode.casadi").exists():
        loaded = ca.Function.load(str(path))
        found["ode"] = max(
            difference(loaded(*points.arguments(k)).full()[:, 0], xdot)
            for k, xdot in enumerate(derivatives(model, points))
        )
    return found


def _output(function: ca.Function) -> ca.Function:
    """y = h(x, u, p, d), named as its siblings are and, as in them, NaN without an argument."""
    names = function.name_in()
    inputs = [ca.MX.sym(n, *function.size_in(k)) for k, n in enumerate(names)]
    options = {"default_in": [math.nan] * len(inputs)}
    return ca.Function("output", inputs, [function(*inputs)], names, ["y"], options)


def _named(names) -> str:
    return ", ".join(names) or "nothing"
