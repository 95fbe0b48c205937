"""Target "acados": a file that makes an AcadosModel, and a recipe for the problem around it.

acados does not need this library: the expressions come from a Function file beside the model.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import casadi as ca

from hybridmodel.export.round_trip import (
    TOLERANCE,
    RoundTrip,
    derivatives,
    difference,
    evaluate,
    in_float64,
)
from hybridmodel.model import HybridModel
from physics import Signal

MODEL = '''\
"""{name}: a hybrid model for acados, {kind}.

Model {digest} (SHA-256). Numbers of p = (parameters, exogenous signals) are at run time; P holds
the parameters' values, and 0 for each exogenous signal.
"""

from math import inf
from pathlib import Path

import casadi as ca

NAME = "{name}"
DT = {dt!r}  # s
STATES = {states!r}
INPUTS = {inputs!r}
PARAMETERS = {parameters!r}
X_LOW, X_HIGH = {x_low}, {x_high}
U_LOW, U_HIGH = {u_low}, {u_high}
P = {values!r}


def expressions():
    """(x, u, p, f) as MX: f is {meaning}."""
    function = ca.Function.load(str(Path(__file__).with_name("{file}")))
    x, u = ca.MX.sym("x", {nx}), ca.MX.sym("u", {nu})
    p = ca.MX.sym("p", {np} + {nd})
    own, known = ca.vertsplit(p, [0, {np}, {np} + {nd}])
    return x, u, p, function(x, u, own, known)


def export_model():
    """The AcadosModel."""
    from acados_template import AcadosModel

    x, u, p, f = expressions()
    model = AcadosModel()
    model.name, model.x, model.u = NAME, x, u
    if p.numel():
        model.p = p
{assign}
    return model
'''
CONTINUOUS = """\
    model.xdot = ca.MX.sym("xdot", x.numel())
    model.f_expl_expr = f
    model.f_impl_expr = model.xdot - f"""
DISCRETE = "    model.disc_dyn_expr = f"
README = """\
# {name}: a hybrid model for acados

`{name}_model.py` makes the AcadosModel; it reads `{file}` beside it and needs casadi
and acados_template alone. {told}

    import numpy as np
    from acados_template import AcadosOcp, AcadosOcpSolver
    from {name}_model import DT, P, U_HIGH, U_LOW, export_model

    N = 40
    ocp = AcadosOcp()
    ocp.model = export_model()
    ocp.solver_options.N_horizon = N
    ocp.solver_options.tf = N * DT
    ocp.solver_options.integrator_type = "{integrator}"
    ocp.solver_options.hessian_approx = "GAUSS_NEWTON"
    ocp.solver_options.nlp_solver_type = "SQP_RTI"
{parameters}
    nx, nu = ocp.model.x.numel(), ocp.model.u.numel()
    ocp.cost.cost_type, ocp.cost.cost_type_e = "LINEAR_LS", "LINEAR_LS"
    ocp.cost.Vx = np.vstack([np.eye(nx), np.zeros((nu, nx))])
    ocp.cost.Vu = np.vstack([np.zeros((nx, nu)), np.eye(nu)])
    ocp.cost.Vx_e = np.eye(nx)
    ocp.cost.W, ocp.cost.W_e = np.eye(nx + nu), np.eye(nx)  # your weights
    ocp.cost.yref, ocp.cost.yref_e = np.zeros(nx + nu), np.zeros(nx)  # your target

    bounded = np.flatnonzero(np.isfinite(U_LOW) | np.isfinite(U_HIGH))
    ocp.constraints.idxbu = bounded
    ocp.constraints.lbu = np.maximum(U_LOW, -1e10)[bounded]  # 1e10 stands for no bound
    ocp.constraints.ubu = np.minimum(U_HIGH, 1e10)[bounded]
    ocp.constraints.x0 = np.zeros(nx)  # set before each solve

    solver = AcadosOcpSolver(ocp)

Bounds of states are X_LOW and X_HIGH, used likewise with idxbx, lbx, ubx. A signal may be
bounded on one side: the other is then ±1e10, which acados takes for none (ACADOS_INFTY). Angles
are unwrapped: the target is the nearest turn.
"""


def write(model: HybridModel, folder: Path, name: str, digest: str) -> RoundTrip:
    """Write NAME_model.py, the Function file it reads, and a README; run it and compare."""
    model = in_float64(model)
    system = model.system
    try:
        function, kind = model.ode_function(), "ode"
    except ValueError:  # held, on the next state, or with memory
        function, kind = model.step_function(), "step"
    file = f"{name}_{kind}.casadi"
    function.save(str(folder / file))
    continuous = kind == "ode"
    states = (*system.states, *system.memory)
    path = folder / f"{name}_model.py"
    known = [s.name for s in system.exogenous]
    text = MODEL.format(
        name=name,
        digest=digest,
        kind="continuous" if continuous else "discrete",
        meaning="ẋ" if continuous else "x at the end of a step",
        file=file,
        dt=model.dt,
        states=[s.name for s in states],
        inputs=[s.name for s in system.inputs],
        parameters=[*model.fit_parameters, *known],
        x_low=_bounds(states, "low"),
        x_high=_bounds(states, "high"),
        u_low=_bounds(system.inputs, "low"),
        u_high=_bounds(system.inputs, "high"),
        values=[*model.physical().tolist(), *(0.0 for _ in known)],
        nx=model.nx,
        nu=system.nu,
        np=len(model.fit_parameters),
        nd=system.nd,
        assign=CONTINUOUS if continuous else DISCRETE,
    )
    path.write_text(text, encoding="utf-8")
    told = (
        "It gives ẋ, so the step is yours to choose; the model was trained at DT."
        if continuous
        else "It gives the discrete step: the shooting interval must be DT."
    )
    recipe = README.format(
        name=name,
        file=file,
        told=told,
        integrator="ERK" if continuous else "DISCRETE",
        parameters="    ocp.parameter_values = np.array(P)\n"
        if model.fit_parameters or known
        else "",
    )
    (folder / "README.md").write_text(recipe, encoding="utf-8")
    return _check(model, path, continuous)


def _check(model: HybridModel, path: Path, continuous: bool) -> RoundTrip:
    """Run the model file and compare its expressions with ẋ or x⁺ in torch."""
    points = evaluate(model, "float64")
    x, u, p, f = runpy.run_path(str(path))["expressions"]()
    made = ca.Function("made", [x, u, p], [f])
    wanted, gap = derivatives(model, points) if continuous else points.x_next, 0.0
    for k in range(len(points)):
        x_k, u_k, p_k, d_k = points.arguments(k)
        gap = max(gap, difference(made(x_k, u_k, [*p_k, *d_k]).full()[:, 0], wanted[k]))
    quantity = "f_expl_expr" if continuous else "disc_dyn_expr"
    how = "expressions of the model file, without acados_template"
    return RoundTrip({quantity: gap}, TOLERANCE["float64"], len(points), how, points.finite)


def _bounds(signals: tuple[Signal, ...], side: str) -> str:
    return f"[{', '.join(repr(float(getattr(s, side))) for s in signals)}]"
