"""A casadi.Function or DaeBuilder stays the model that it was, or is refused by name."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import (
    Dataset,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Quadratic,
    Trajectory,
    envs,
    fit,
    identify,
    placement,
)
from physics import (
    CartPole,
    FromCasadi,
    InputDelay,
    Parameter,
    Signal,
    System,
    from_casadi,
    integrators,
)
from residuals import MLP

CART = CartPole()
KNOTS = np.linspace(-8.0, 8.0, 17)


def cart_function(names: list[str] | None = None) -> ca.Function:
    """CartPole's own dynamics, f(x, u, p)."""
    x, u, p = ca.SX.sym("x", 4), ca.SX.sym("u"), ca.SX.sym("p", len(CART.parameters))
    xdot = CART.dynamics(x, u, CART.namespace(tuple(CART.parameters), p), ca.SX(0, 1))
    return ca.Function("cart", [x, u, p], [xdot], *([names, ["xdot"]] if names else []))


def cart(f: ca.Function, **keywords) -> FromCasadi:
    given = {"states": CART.states, "inputs": CART.inputs, "parameters": CART.parameters}
    return from_casadi(f, **given | keywords)


def cart_by_name(kind: type = ca.SX) -> ca.Function:
    """The same with one scalar input for each state, input and parameter, in another order."""
    names = [*CART.parameters, *(s.name for s in (*CART.inputs, *reversed(CART.states)))]
    symbols = {name: kind.sym(name) for name in names}
    x = ca.vertcat(*(symbols[s.name] for s in CART.states))
    p = ca.vertcat(*(symbols[name] for name in CART.parameters))
    return ca.Function(
        "cart", [*symbols.values()], [cart_function()(x, symbols["force"], p)], names, ["xdot"]
    )


def points(system: System, count: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(count, n, generator=generator, dtype=torch.float64)
        for n in (system.nx, system.nu, system.nd)
    )


def numbers(function: ca.Function, *given: torch.Tensor) -> np.ndarray:
    return function(*(v.detach().numpy() for v in given)).full()[:, 0]


# -- the same model, however it comes --------------------------------------------------------


def named_vectors() -> ca.Function:
    """MX, whose inputs are named and stand in another order."""
    u, p, x = ca.MX.sym("u"), ca.MX.sym("p", len(CART.parameters)), ca.MX.sym("x", 4)
    return ca.Function("cart", [u, p, x], [cart_function()(x, u, p)], ["u", "p", "x"], ["xdot"])


def with_empty_inputs() -> ca.Function:
    """The integrator's signature, whose z and t are empty; and ẋ as a row."""
    x, u, p = ca.MX.sym("x", 4), ca.MX.sym("u"), ca.MX.sym("p", len(CART.parameters))
    t, z, names = ca.MX.sym("t", 0), ca.MX.sym("z", 0), ["t", "x", "z", "p", "u"]
    return ca.Function(
        "cart", [t, x, z, p, u], [cart_function()(x, u, p).T, x], names, ["ode", "copy"]
    )


@pytest.mark.parametrize(
    ("f", "keywords"),
    [
        (cart_function(), {}),
        (cart_function(["x", "u", "p"]), {}),
        (cart_function(["a", "b", "c"]), {"arguments": ("x", "u", "p")}),
        (cart_function(["a", "b", "c"]), {"arguments": ("x", "force", "p")}),
        (named_vectors(), {}),
        (cart_by_name(), {}),
        (cart_by_name(ca.MX), {}),
        (with_empty_inputs(), {"result": "ode"}),
    ],
)
def test_a_function_of_its_own_dynamics_is_the_cartpole(f: ca.Function, keywords) -> None:
    system = cart(f, **keywords)
    assert system.parameters == CART.parameters
    assert [p.unit for p in system.parameters.values()] == [
        p.unit for p in CART.parameters.values()
    ]
    assert system.symbols is ca.SX
    fitted = ("pole_mass", "cart_damping")
    ours = HybridModel(system, dt=0.02, fit_parameters=fitted)
    known = HybridModel(CART, dt=0.02, fit_parameters=fitted)
    x, u, d = points(CART)
    p = known.physical()
    assert torch.equal(ours(x, u), known(x, u))
    for call in ("step_function", "ode_function"):
        mine, theirs = (getattr(m, call)() for m in (ours, known))
        assert np.allclose(
            numbers(mine, x[0], u[0], p, d[0]), numbers(theirs, x[0], u[0], p, d[0]), 1e-15, 1e-15
        )


def solved(kind: type) -> ca.Function:
    """Two coupled masses, M v̇ = F; as MX by a linear solver that has no scalar form."""
    x, u, p = kind.sym("x", 4), kind.sym("u", 2), kind.sym("p", 1)
    mass = ca.vertcat(ca.horzcat(2 + ca.cos(x[0] - x[1]), p), ca.horzcat(p, 1 + ca.sin(x[1]) ** 2))
    force = u - ca.vertcat(x[0] ** 3, x[1] + ca.tanh(x[3]))
    rate = ca.solve(mass, force) if kind is ca.SX else ca.solve(mass, force, "qr")
    return ca.Function("masses", [x, u, p], [ca.vertcat(x[2:], rate)])


def test_what_has_no_scalar_form_runs_as_mx_and_agrees_with_the_sx_form() -> None:
    keywords = {"states": ("a", "b", "va", "vb"), "parameters": {"coupling": 0.3}}
    scalar, matrix = (from_casadi(solved(kind), **keywords) for kind in (ca.SX, ca.MX))
    assert (scalar.symbols, matrix.symbols) == (ca.SX, ca.MX)
    models = []
    for system in (scalar, matrix):
        model = HybridModel(
            InputDelay(system=system, steps=1),
            MLP((5,), seed=1),
            placement=placement.derivative.on("va"),
            dt=0.05,
            fit_parameters=("coupling",),
        )
        with torch.no_grad():
            for weight in model.residual.parameters():
                weight.add_(0.1)
            model.theta.fill_(0.2)
        models.append(model)
    x, u, d = points(models[0].system)
    a, b = models
    assert a.equations.derivative.is_a("SXFunction")
    assert b.equations.derivative.is_a("MXFunction")
    assert b.equations.finish.is_a("SXFunction")  # nothing stays MX that need not
    assert torch.allclose(a(x, u), b(x, u), rtol=1e-12, atol=1e-13)
    for ours, theirs in zip(a.linearize(x, u), b.linearize(x, u), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    p = a.physical()
    here = [v[0] for v in (x, u)]
    mine, theirs = (numbers(m.step_function(), *here, p, d[0]) for m in models)
    assert np.allclose(mine, theirs, rtol=1e-12, atol=1e-13)
    assert np.allclose(theirs, b(*here).detach(), rtol=1e-12, atol=1e-13)


def test_states_and_inputs_are_read_from_the_sizes() -> None:
    x, u, d = ca.SX.sym("x", 2), ca.SX.sym("u", 3), ca.SX.sym("d")
    f = ca.Function("f", [x, u, d], [x * ca.sum1(u) + d], ["x", "u", "d"], ["xdot"])
    system = from_casadi(f)
    for kind, names in {"states": "x0 x1", "inputs": "u0 u1 u2", "exogenous": "d0"}.items():
        assert [s.name for s in getattr(system, kind)] == names.split()
    unnamed = ca.Function("f", [x, u], [x * ca.sum1(u)])
    assert (from_casadi(unnamed).nx, from_casadi(unnamed).nu) == (2, 3)
    alone = from_casadi(ca.Function("f", [x], [-x]))
    assert (alone.nx, alone.nu, alone.nd) == (2, 0, 0)


def test_a_name_of_a_vector_may_be_a_signal_where_sizes_tell_them_apart() -> None:
    x, y, theta, v = (ca.SX.sym(name) for name in ("x", "y", "theta", "v"))
    rates = ca.vertcat(v * ca.cos(theta), v * ca.sin(theta), 0.1)
    names = ("x", "y", "theta")
    scalar = ca.Function("car", [theta, v], [rates], ["theta", "v"], ["xdot"])
    whole = ca.Function("car", [ca.vertcat(x, y, theta), v], [rates], ["x", "v"], ["xdot"])
    for f in (scalar, whole):
        system = from_casadi(f, states=names, inputs=("v",))
        xdot = system.dynamics(ca.DM([1, 2, 0.5]), ca.DM([3]), SimpleNamespace(), ca.DM(0, 1))
        assert np.allclose(ca.DM(xdot).full()[:, 0], [3 * np.cos(0.5), 3 * np.sin(0.5), 0.1])


@pytest.mark.parametrize("given", ["function", "another output"])
def test_the_output_is_h(given: str) -> None:
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p", 2)
    y = ca.vertcat(p[1] * x[0], x[1] + u, p[0])
    f = ca.Function("f", [x, u, p], [p[0] * x - u, y], ["x", "u", "p"], ["xdot", "y"])
    h = ca.Function("h", [p, x, u], [y], ["p", "x", "u"], ["y"])
    system = from_casadi(
        f,
        states=("a", "b"),
        inputs=("push",),
        parameters={"gain": 2.0, "scale": 3.0},
        result="xdot",
        output=h if given == "function" else "y",
        outputs=("m", Signal("n", "V"), "o"),
    )
    assert [s.unit for s in system.outputs] == ["", "V", ""]
    model = HybridModel(system, dt=0.1)
    x, u, _ = points(system)
    wanted = torch.stack([3 * x[:, 0], x[:, 1] + u[:, 0], torch.full((6,), 2.0)], 1)
    assert torch.allclose(model.output(x, u), wanted, rtol=1e-15)
    assert from_casadi(f, parameters={"a": 1.0, "b": 1.0}, result="xdot").outputs[0].name == "x0"


def test_a_parameter_only_the_output_takes_counts() -> None:
    x = ca.SX.sym("x", 1)
    f = ca.Function("f", [x], [-x])
    h = ca.Function("h", [x, ca.SX.sym("bias")], [x], ["x", "bias"], ["y"])
    system = from_casadi(f, parameters={"bias": 0.1}, output=h)
    assert [s.name for s in system.outputs] == ["y0"]
    with pytest.raises(ValueError, match=r"parameters: no input takes 'bias'"):
        from_casadi(f, parameters={"bias": 0.1})


# -- a System like any other -----------------------------------------------------------------


def table() -> ca.Function:
    """A fan whose drag is an interpolated table: MX without scalar form."""
    x, u, p = ca.MX.sym("x", 2), ca.MX.sym("u"), ca.MX.sym("p", 1)
    drag = ca.interpolant("drag", "bspline", [KNOTS.tolist()], np.arctan(KNOTS).tolist())
    return ca.Function("fan", [x, u, p], [ca.vertcat(x[1], u - p * drag(x[1]))])


FAN = {
    "states": (Signal("angle", "rad", angle=True), Signal("rate", "rad/s", rate_of="angle")),
    "inputs": (Signal("torque", "N·m", -3.0, 3.0),),
    "parameters": {"drag": Parameter(0.6, "N·m", "positive")},
}


@pytest.mark.parametrize(
    "made", [lambda: cart(cart_function()), lambda: from_casadi(table(), **FAN)]
)
def test_it_compares_hashes_pickles_and_takes_parameters(made) -> None:
    system, name = made(), next(iter(made().parameters))
    assert system == made()
    assert hash(system) == hash(made())
    for twin in (pickle.loads(pickle.dumps(system)), copy.deepcopy(system)):
        assert twin == system
        x, u, _ = points(system)
        assert torch.equal(HybridModel(twin, dt=0.1)(x, u), HybridModel(system, dt=0.1)(x, u))
    other = system.with_parameters(**{name: 0.25})
    assert other != system
    assert other.parameters[name].unit == system.parameters[name].unit
    assert other.parameters | {name: 0} == system.parameters | {name: 0}
    assert not torch.equal(HybridModel(other, dt=0.1)(x, u), HybridModel(system, dt=0.1)(x, u))
    fitted = HybridModel(system, dt=0.1, fit_parameters=(name,))
    p = torch.tensor([0.25], dtype=torch.float64)
    assert torch.allclose(fitted(x, u, p=p), HybridModel(other, dt=0.1)(x, u), rtol=1e-14)
    for told in ("FromCasadi(", f"{name!r}: ", "inputs=['"):
        assert told in repr(system)
    for values in ({"colour": 1.0}, {name: -1.0}):
        with pytest.raises(ValueError, match=r"no parameter 'colour'|not inside its domain"):
            system.with_parameters(**values)


def test_other_functions_make_other_systems() -> None:
    x = ca.SX.sym("x", 2)
    one, two = (from_casadi(ca.Function("f", [x], [k * ca.sin(x)])) for k in (1.0, 1.0 + 1e-15))
    assert one != two
    assert from_casadi(ca.Function("f", [x], [ca.sin(x)]), dt=0.1) != one


def test_the_digest_is_the_same_in_every_process_and_after_derivatives() -> None:
    code = (
        "import casadi as ca, numpy as np\nfrom physics.binding import digest\n"
        "x, k = ca.MX.sym('x', 2), np.linspace(-8.0, 8.0, 17)\n"
        "t = ca.interpolant('t', 'bspline', [k.tolist()], np.arctan(k).tolist())\n"
        "f = ca.Function('f', [x], [ca.vertcat(x[1], -t(x[0]))])\n"
        "first = digest(f)\nf.jacobian(), t.jacobian().jacobian()\n"
        "assert digest(f) == first\nprint(first)"
    )
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert told[0].stdout == told[1].stdout
    assert len(told[0].stdout.strip()) == 64


# -- what it is for --------------------------------------------------------------------------


def logs(model: HybridModel, count: int, seed: int, steps: int = 40) -> Dataset:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        u = np.repeat(rng.uniform(-2, 2, (steps // 4, model.system.nu)), 4, axis=0)
        x0 = torch.tensor(rng.uniform(-1, 1, model.system.nx))
        with torch.no_grad():
            x = model.rollout(x0, torch.tensor(u)).numpy()
        made.append(Trajectory(t=model.dt * np.arange(steps + 1), u=u, y=x))
    return Dataset(made)


def tank(**keywords) -> FromCasadi:
    """x⁺ of two tanks in a row."""
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u", 1), ca.SX.sym("p", 2)
    flow = ca.vertcat(p[0] * ca.tanh(x[0]), p[1] * ca.tanh(x[1]))
    f = ca.Function("tank", [x, u, p], [x + ca.vertcat(u - flow[0], flow[0] - flow[1])])
    given = {
        "states": ("upper", "lower"),
        "inputs": (Signal("pump", "m", -0.5, 1.0),),
        "parameters": {"upper_drain": Parameter(0.2, "m", "positive"), "lower_drain": 0.1},
        "dt": 0.5,
    }
    return from_casadi(f, **given | keywords)


@pytest.mark.parametrize(
    ("system", "name"),
    [(from_casadi(table(), **FAN), "drag"), (tank(), "upper_drain")],
    ids=["table", "discrete"],
)
def test_it_is_identified_fitted_and_planned_with(system: FromCasadi, name: str) -> None:
    dt = system.dt or 0.05
    train, validation = (logs(HybridModel(system, dt=dt), n, seed=n) for n in (3, 2))
    wrong = system.with_parameters(**{name: 1.5 * system.parameters[name]})
    found = identify(
        HybridModel(wrong, dt=dt, fit_parameters=(name,)),
        train,
        validation,
        horizon=10,
        starts=1,
        stride=5,
    )
    assert found.model.system.parameters[name] == pytest.approx(system.parameters[name], rel=1e-3)
    model = HybridModel(
        wrong,
        MLP((6,)),
        dt=dt,
        placement=placement.next_state if system.dt else placement.acceleration,
    )
    result = fit(model, train, validation, horizons=(1, 3), epochs=8, stride=4, rate=2e-2)
    assert result.validation < 0.8 * result.physics
    problem = OptimalControlProblem(
        result.model,
        Quadratic(
            system,
            state={s.name: 1.0 for s in system.states},
            input={s.name: 1e-3 for s in system.inputs},
            target={system.states[0].name: 0.4},
        ),
        horizon=12,
    )
    planner = MultipleShooting(problem, samples=0)
    rest = np.zeros((12, 1))
    plan = planner.plan(np.zeros(2))
    assert plan.status.name == "CONVERGED"
    assert plan.cost < 0.95 * problem.evaluate(np.zeros(2), rest)[0]
    cost, x, violation = problem.evaluate(np.zeros(2), plan.u)
    assert (cost, violation) == (plan.cost, 0.0)
    assert np.array_equal(x, plan.x)


class Spring(ca.Callback):
    """ẋ = (v, u − k sin q) in Python, which CasADi differentiates by differences."""

    def __init__(self) -> None:
        ca.Callback.__init__(self)
        self.construct("spring", {"enable_fd": True})

    def get_n_in(self) -> int:
        return 3

    def get_n_out(self) -> int:
        return 1

    def get_name_in(self, i: int) -> str:
        return ("x", "u", "p")[i]

    def get_sparsity_in(self, i: int) -> ca.Sparsity:
        return ca.Sparsity.dense((2, 1, 1)[i], 1)

    def get_sparsity_out(self, i: int) -> ca.Sparsity:
        return ca.Sparsity.dense(2, 1)

    def eval(self, given: list[ca.DM]) -> list[ca.DM]:  # type: ignore[override]
        x, u, p = given
        return [ca.vertcat(x[1], u - p * ca.sin(x[0]))]


def spring() -> FromCasadi:
    return from_casadi(Spring(), states=("q", "v"), inputs=("push",), parameters={"k": 2.0})


def test_a_callback_is_called_through_and_lives_as_long_as_the_system() -> None:
    system = spring()
    gc.collect()
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p")
    known = ca.Function("spring", [x, u, p], [ca.vertcat(x[1], u - p * ca.sin(x[0]))])
    twin = from_casadi(known, states=("q", "v"), inputs=("push",), parameters={"k": 2.0})
    ours, theirs = (HybridModel(s, dt=0.1, fit_parameters=("k",)) for s in (system, twin))
    x, u, d = points(system)
    assert system.symbols is ca.MX
    assert torch.allclose(ours(x, u), theirs(x, u), rtol=1e-14)
    here = (x[0], u[0], ours.physical(), d[0])
    assert np.allclose(
        numbers(ours.step_function(), *here), theirs(x[0], u[0]).detach(), rtol=1e-14
    )
    slopes, known_slopes = (m.linearize(x[:2], u[:2]) for m in (ours, theirs))
    for mine, yours in zip(slopes, known_slopes, strict=True):
        assert torch.allclose(mine, yours, rtol=1e-5, atol=1e-7)  # CasADi's differences
    with pytest.raises(TypeError, match=r"spring is a casadi.Callback, .* build the system in eac"):
        pickle.dumps(system)
    assert copy.deepcopy(system) == system


def test_a_plant_is_the_system_itself() -> None:
    system = tank()
    plant = envs.make(system, engine="ode", dt=0.5)
    plant.reset(options={"state": [0.3, 0.2]})
    u = np.random.default_rng(0).uniform(-0.5, 1.0, (5, 1))
    states = np.array([plant.step(u_k)[4]["x"] for u_k in u])
    start = torch.tensor([0.3, 0.2], dtype=torch.float64)
    wanted = HybridModel(system).rollout(start, torch.tensor(u))[1:]
    assert np.allclose(states, wanted.detach(), rtol=1e-15)
    gap = envs.rollout_gap(plant, np.array([0.3, 0.2]), u)
    assert gap.max() < 1e-15
    for wrong, message in (
        ({"dt": 0.1}, r"dt: FromCasadi is discrete, .* every 0.5 s; got 0.1"),
        ({"dt": 0.5, "substeps": 3}, r"substeps: FromCasadi is discrete, .* no parts; got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.make(system, engine="ode", **wrong)
    with pytest.raises(ValueError, match=r"FromCasadi is discrete, .*: it has no acceleration"):
        plant.acceleration([0.3, 0.2], [0.0])
    fan = from_casadi(table(), **FAN)
    turning = envs.make(fan, engine="ode", dt=0.05, hidden=envs.HiddenEffects(input_gain=0.8))
    assert envs.rollout_gap(turning, np.zeros(2), np.ones((4, 1)), turning.truth).max() < 1e-9


# -- what is refused -------------------------------------------------------------------------

X, U, P = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("p", 2)
XDOT = ca.vertcat(X[1], U - P[0] * X[0] - P[1] * X[1])
BY_NAME = ca.Function("f", [X, U, P], [XDOT], ["x", "u", "p"], ["xdot"])
BY_ORDER = ca.Function("f", [X, U, P], [XDOT])
TWO = ca.Function("f", [X, U], [X * U, X], ["x", "u"], ["xdot", "y"])
OTHER = ca.Function("f", [X, U, P], [XDOT], ["state", "force", "k"], ["xdot"])
CLASH = ca.Function("f", [X[0], U], [X[0] * U], ["x", "u"], ["xdot"])
GOOD = {"states": ("a", "b"), "inputs": ("f",), "parameters": {"k": 1.0, "c": 0.1}}
SIGNATURE = r"f:\(x\[2\],u,p\[2\]\)->\(xdot\[2\]\) SXFunction"


@pytest.mark.parametrize(
    ("f", "change", "message"),
    [
        (lambda x: x, {}, "wanted a casadi.Function, got function; make one"),
        (
            ca.Function("f", [X], [X * U], ["x"], ["xdot"], {"allow_free": True}),
            {},
            r"f:.* holds free symbols \['u'\]: make them inputs",
        ),
        (BY_NAME, {"states": ("a",)}, f"states: 1 names .*'xdot' of {SIGNATURE} has 2 rows"),
        (BY_NAME, {"states": "ab"}, "states must be a sequence of names or Signals, got 'ab'"),
        (BY_NAME, {"inputs": (1,)}, r"inputs must be a sequence of names or Signals, got \(1,\)"),
        (
            BY_NAME,
            {"inputs": ("f", "g")},
            rf"input 'u' of {SIGNATURE} has 1 rows, and inputs are 2",
        ),
        (
            BY_NAME,
            {"parameters": {"k": 1.0}},
            rf"input 'p' of {SIGNATURE} has 2 rows, and .* 1 nam",
        ),
        (BY_NAME, {"parameters": None}, r"has 2 rows, and parameters are 0 names \[\]"),
        (BY_NAME, {"parameters": {"k": 1.0, "c": "x"}}, r"parameters\['c'\] must be a number or"),
        (BY_NAME, {"parameters": {"k": np.nan, "c": 1}}, r"parameters\['k'\] must be .* domain"),
        (
            BY_NAME,
            {"exogenous": ("wind",)},
            r"exogenous: no input takes 'wind' of \['wind'\]; .* f:",
        ),
        (
            BY_NAME,
            {"parameters": {"a": 1.0, "c": 1.0}},
            "names must differ, and 'a' stands twice among",
        ),
        (BY_NAME, {"inputs": ("a",)}, "names must differ, and 'a' stands twice among"),
        (BY_NAME, {"outputs": ("y",)}, "outputs names y, and no output is given: pass output=h"),
        (BY_NAME, {"states": 2}, "states must be a sequence of names or Signals, got 2"),
        (BY_NAME, {"states": ("a", "")}, r"states: a name is empty in \('a', ''\)"),
        (BY_NAME, {"parameters": {"k": "1", "c": 0.1}}, r"parameters\['k'\] must be .* got '1'"),
        (BY_NAME, {"parameters": {"k": True, "c": 0.1}}, r"parameters\['k'\] must be .* got True"),
        (BY_NAME, {"parameters": {"": 1.0, "c": 0.1}}, "parameters: '' cannot be the name of one"),
        (BY_NAME, {"parameters": {"__class__": 1.0, "c": 0.1}}, "'__class__' cannot be the name"),
        (BY_NAME, {"parameters": [1.0, 0.1]}, r"parameters must be a dict, .* got \[1.0, 0.1\]"),
        (BY_NAME, {"dt": "0.1"}, "FromCasadi: dt must be seconds > 0, got '0.1'"),
        (BY_NAME, {"dt": True}, "FromCasadi: dt must be seconds > 0, got True"),
        (BY_NAME, {"dt": np.nan}, "FromCasadi: dt must be seconds > 0, got nan"),
        (
            ca.Function("f", [U, X, P], [XDOT]),
            {},
            r"input 'i0' of f:\(i0,i1\[2\],i2\[2\]\).* has 1 rows, and states are 2 names",
        ),
        (BY_NAME, {"dt": -0.1}, "FromCasadi: dt must be seconds > 0, got -0.1"),
        (BY_NAME, {"result": "xplus"}, rf"result: {SIGNATURE} has no output 'xplus', it has"),
        (
            BY_NAME,
            {"arguments": ("x", "u")},
            rf"arguments must name what each of the 3 .*{SIGNATURE}",
        ),
        (BY_NAME, {"arguments": "xup"}, "arguments must name what each of the 3 inputs"),
        (BY_NAME, {"arguments": ("x", "x", "p")}, "input 'u' of .* has 1 rows, and states are 2"),
        (BY_NAME, {"arguments": ("x", "a", "p")}, "input 'u' of .* takes 'a', which input 'x' tak"),
        (
            BY_NAME,
            {"arguments": ("x", "f", "c")},
            "input 'p' of .* has 2 rows, and 'c' is a scalar",
        ),
        (
            BY_ORDER,
            {"parameters": None, "inputs": ("f",)},
            "3 inputs without names, wanted at most 2",
        ),
        (BY_ORDER, {"inputs": ()}, r"3 inputs without names, .* states, parameters in this order"),
        (BY_ORDER, {"exogenous": ("wind",)}, "exogenous: no input takes 'wind'"),
        (OTHER, {}, r"input 'state' of f:.* takes 'state', which is none of x, u, p, d, no signal"),
        (OTHER, {}, r"arguments=\('x', 'u', …\)"),
        (TWO, {"parameters": None}, r"result must name the output of f:.*, one of \['xdot', 'y'\]"),
        (
            TWO,
            {"parameters": None, "result": "xdot", "output": "z"},
            r"output: f:.* has no output 'z'",
        ),
        (
            TWO,
            {"parameters": None, "result": "xdot", "output": "y", "outputs": ("m",)},
            r"outputs: 1 names \['m'\], and 'y' of f:.* has 2 rows",
        ),
        (TWO, {"parameters": None, "result": "xdot", "output": TWO}, "output must name the output"),
        (
            CLASH,
            {"states": ("u",), "inputs": ("x",), "parameters": None},
            r"may take states \['u'\] or the scalar 'x': rename it",
        ),
        (
            ca.Function("f", [X, ca.SX.sym("M", 2, 2)], [X], ["x", "u"], ["xdot"]),
            {},
            r"input 'u' of f:.* is a matrix \(2, 2\), wanted a vector",
        ),
        (
            ca.Function("f", [X], [X @ X.T], ["x"], ["xdot"]),
            {},
            r"result: 'xdot' of f:.* is a matrix \(2, 2\), wanted a column",
        ),
    ],
)
def test_what_does_not_fit_is_named(f, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_casadi(f, **GOOD | change)


def test_the_good_one_is_taken() -> None:
    assert from_casadi(BY_NAME, **GOOD) == from_casadi(BY_NAME, **GOOD, arguments=("x", "u", "p"))


def test_names_may_come_from_a_generator() -> None:
    given = GOOD | {"states": (name for name in "ab"), "inputs": (name for name in "f")}
    assert from_casadi(BY_NAME, **given) == from_casadi(BY_NAME, **GOOD)


def test_inputs_without_names_of_equal_size_are_in_the_usual_order() -> None:
    a, b, c, e = (ca.SX.sym(name) for name in "abce")
    f = ca.Function("f", [a, b, c, e], [a + 2 * b + 3 * c + 4 * e])
    system = from_casadi(
        f, states=("a",), inputs=("b",), parameters={"c": 100.0}, exogenous=("e",), dt=1.0
    )
    model = HybridModel(system)
    assert float(model.step_function()(1, 10, [], 1000)) == 1 + 20 + 300 + 4000


NAMES = [*(field.name for field in dataclasses.fields(FromCasadi)), "self", "memory", "parameters"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dt", [None, 0.5])
def test_a_parameter_may_have_any_name(name: str, dt: float | None) -> None:
    x, h = ca.SX.sym("x", 2), ca.SX.sym(name)
    f = ca.Function("f", [x, h], [x + h * ca.vertcat(x[1], 1)], ["x", name], ["next"])
    system = from_casadi(f, states=("a", "b"), parameters={name: 0.5}, dt=dt)
    changed = system.with_parameters(**{name: 2.0})
    assert (changed.parameters, changed.dt) == ({name: 2.0}, dt)
    assert changed.states == system.states
    assert changed == from_casadi(f, states=("a", "b"), parameters={name: 2.0}, dt=dt)
    assert changed.with_parameters(**{name: 0.5}) == system
    model = HybridModel(system, dt=0.5, fit_parameters=(name,))
    x, u, _ = points(system)
    p = torch.tensor([2.0], dtype=torch.float64)
    assert torch.allclose(model(x, u, p=p), HybridModel(changed, dt=0.5)(x, u), rtol=1e-14)


def test_a_step_given_as_a_numpy_number_is_a_plain_float() -> None:
    x = ca.SX.sym("x", 2)
    for dt in (np.float64(0.5), np.float32(0.5), 1):
        system = from_casadi(ca.Function("f", [x], [x / 2]), dt=dt)  # type: ignore[arg-type]
        assert type(system.dt) is float
        assert system.dt == dt


def root_finder() -> ca.Function:
    z, a, x = ca.SX.sym("z"), ca.SX.sym("a"), ca.MX.sym("x")
    r = ca.rootfinder("r", "newton", {"x": z, "p": a, "g": z + z**3 - a})
    return ca.Function("f", [x], [-r(0.0, x)])


def integrated() -> ca.Function:
    x, a = ca.SX.sym("x"), ca.MX.sym("a")
    flow = ca.integrator("flow", "rk", {"x": x, "ode": -(x**3)}, 0, 0.1)
    return ca.Function("f", [a], [flow(x0=a)["xf"]])


@pytest.mark.parametrize("made", [root_finder, integrated])
def test_a_digest_is_silent_where_casadi_writes_no_code(
    made, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = from_casadi(made(), dt=0.1), from_casadi(made(), dt=0.1)
    assert one == two
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


# -- DaeBuilder and FMU ----------------------------------------------------------------------


def van_der_pol() -> ca.DaeBuilder:
    dae = ca.DaeBuilder("vdp")
    q = dae.add("q", {"start": 1.0, "unit": "m", "min": -4.0, "max": 4.0})
    v, w = dae.add("v", {"unit": "m/s"}), dae.add("w")
    u = dae.add("u", "input", {"min": -1.0, "max": 2.0, "unit": "N"})
    mu = dae.add("mu", "parameter", "tunable", {"start": 1.5, "min": 0.0, "unit": "1/s"})
    k = dae.add("k", "parameter", "tunable", {"start": 2.0, "min": 1.0, "max": 4.0})
    fixed = dae.add("fixed", "parameter", "fixed", {"start": 3.0})
    dae.eq(w, q**2)
    dae.eq(dae.der(q), v)
    dae.eq(dae.der(v), mu * (1 - w) * v - k * q + fixed * u)
    dae.eq(dae.add("y", "output", {"unit": "m2"}), w)
    return dae


def assert_is_van_der_pol(system: FromCasadi, tolerance: float = 1e-14) -> None:
    x, u, _ = points(system)
    q, v = x.T
    rate = torch.stack([v, 1.5 * (1 - q**2) * v - 2 * q + 3 * u[:, 0]], 1)
    model = HybridModel(system, dt=0.05, integrator=integrators.euler)
    assert torch.allclose(model(x, u), x + 0.05 * rate, rtol=tolerance, atol=tolerance)
    assert torch.allclose(model.output(x, u)[:, 0], q**2, rtol=tolerance)
    here = numbers(model.step_function(), x[0], u[0], x[0, :0], x[0, :0])
    assert np.allclose(here, model(x[0], u[0]).detach(), rtol=tolerance, atol=tolerance)


def test_a_dae_builder_gives_names_units_bounds_and_values() -> None:
    dae = van_der_pol()
    told = str(dae)
    system = from_casadi(dae)
    assert str(dae) == told  # not changed
    assert system.states == (Signal("q", "m", -4.0, 4.0), Signal("v", "m/s"))
    assert system.inputs == (Signal("u", "N", -1.0, 2.0),)
    assert system.outputs == (Signal("y", "m2"),)
    assert system.exogenous == ()
    known = {n: (float(p), p.unit, p.domain) for n, p in system.parameters.items()}
    assert known == {
        "mu": (1.5, "1/s", "positive"),
        "k": (2.0, "", (1.0, 4.0)),
        "fixed": (3.0, "", "real"),
    }
    assert system.symbols is ca.SX
    assert_is_van_der_pol(system)
    turned = from_casadi(dae, states=("q", Signal("v", "m/s", rate_of="q")), parameters={"k": 3.0})
    assert turned.velocity_rows == (1,)
    assert turned.states[0] == system.states[0]
    assert turned == from_casadi(
        van_der_pol(), states=turned.states, parameters={"k": Parameter(3.0, "", (1.0, 4.0))}
    )


@pytest.mark.parametrize("kind", ["fixed", "tunable"])
@pytest.mark.parametrize("told", ["set", "set_start", "parameters"])
def test_parameters_of_both_kinds_have_the_value_they_were_given(kind: str, told: str) -> None:
    dae = ca.DaeBuilder("tank")
    level, area = dae.add("level"), dae.add("area", "parameter", kind)
    pump = dae.add("pump", "parameter", kind, {"dimension": [2]})
    dae.eq(dae.der(level), (pump[0] - pump[1] * level) / area)
    given = {"area": 2.0, "pump_0": 3.0, "pump_1": 0.0}
    if told != "parameters":
        getattr(dae, told)("area", 2.0)
        dae.set_start("pump", [3.0, 0.0])  # `set` takes no vectors
    before = str(dae), dae.p(), dae.c()
    system = from_casadi(dae, parameters=given if told == "parameters" else None)
    assert (str(dae), dae.p(), dae.c()) == before
    assert dae.variability("area") == kind
    assert system.parameters == given
    model = HybridModel(system, dt=0.1, fit_parameters=("area", "pump_0"))
    assert float(model.ode_function()(1, [], [2, 3], [])) == 1.5
    assert float(model.ode_function()(1, [], [4, 2], [])) == 0.5


def test_time_is_an_exogenous_signal_and_linear_algebraic_variables_go() -> None:
    dae = ca.DaeBuilder("mixed")
    t = dae.add("t", "independent")
    x, z = dae.add("x", {"dimension": [2]}), dae.add("z", {"dimension": [2]})
    p = dae.add("p", "parameter", "tunable", {"start": 2.0})
    dae.eq(dae.der(x), z - x)
    dae.eq(0, ca.vertcat(p * z[0] + z[1] - ca.sin(t), z[1] * (1 + x[0] ** 2) - x[1]))
    system = from_casadi(dae)
    assert [s.name for s in system.states] == ["x_0", "x_1"]
    assert system.exogenous == (Signal("t", "s"),)
    model = HybridModel(system, dt=0.1, integrator=integrators.euler)
    x, u, d = points(system)
    second = x[:, 1] / (1 + x[:, 0] ** 2)
    z = torch.stack([(torch.sin(d[:, 0]) - second) / 2, second], 1)
    assert torch.allclose(model(x, u, d), x + 0.1 * (z - x), rtol=1e-13, atol=1e-14)


def cubic() -> ca.DaeBuilder:
    dae = ca.DaeBuilder("cubic")
    x, z = dae.add("x"), dae.add("z")
    dae.eq(dae.der(x), -z)
    dae.eq(0, z**3 + z - x)
    return dae


def bouncing() -> ca.DaeBuilder:
    dae = ca.DaeBuilder("ball")
    h, v = dae.add("h"), dae.add("v")
    dae.eq(dae.der(h), v)
    dae.eq(dae.der(v), -9.81)
    dae.when(h < 0, [dae.reinit("v", -0.8 * v)])
    return dae


def at_its_bound() -> ca.DaeBuilder:
    dae = ca.DaeBuilder("edge")
    bounds = {"min": 0.0, "max": 1.0, "start": 0.0}
    x, k = dae.add("x"), dae.add("k", "parameter", "tunable", bounds)
    dae.eq(dae.der(x), -k * x)
    return dae


def unset(kind: tuple[str, ...]) -> ca.DaeBuilder:
    dae = ca.DaeBuilder("unset")
    x, k = dae.add("x"), dae.add("k", *kind)
    dae.eq(dae.der(x), -k * x)
    return dae


@pytest.mark.parametrize(
    ("builder", "keywords", "message"),
    [
        (cubic, {}, r"DaeBuilder 'cubic' is a DAE whose algebraic variables \['z'\] no linear"),
        (bouncing, {}, r"DaeBuilder 'ball' has 1 events \(when\)"),
        (lambda: ca.DaeBuilder("empty"), {}, "DaeBuilder 'empty' has no states"),
        (at_its_bound, {}, r"parameter 'k' of the DaeBuilder: .* give it as parameters=\{'k': Par"),
        (
            lambda: unset(("parameter",)),
            {},
            r"parameter 'k' of .*'unset' has no value: pass .*dae\.set\('k'",
        ),
        (lambda: unset(("parameter", "tunable")), {}, r"parameter 'k' of .*'unset' has no value"),
        (
            lambda: unset(("local", "constant")),
            {},
            r"constant 'k' of .* has no value: dae.set\('k'",
        ),
        (van_der_pol, {"parameters": {"k": "3"}}, r"parameters\['k'\] must be a number"),
        (van_der_pol, {"parameters": {"m": 1}}, r"no 'm', it has \['mu', 'k', 'fixed'\]"),
        (
            van_der_pol,
            {"parameters": {"k": 9}},
            r"parameter 'k' of the DaeBuilder: value 9.0 is not",
        ),
        (van_der_pol, {"states": ("v", "q")}, r"states of the DaeBuilder are \['q', 'v'\] in this"),
        (van_der_pol, {"dt": 0.1}, "dt is for a casadi.Function, a DaeBuilder says it itself"),
        (van_der_pol, {"result": "ode"}, "result is for a casadi.Function"),
    ],
)
def test_a_dae_builder_that_is_no_ode_is_refused(builder, keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_casadi(builder(), **keywords)
    assert from_casadi(at_its_bound(), parameters={"k": Parameter(0.0)}).parameters == {"k": 0.0}


FMI_HEADER = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#define FMI3_Export __attribute__((visibility("default")))
#define fmi3True true
#define fmi3False false
typedef void *fmi3Instance, *fmi3InstanceEnvironment, *fmi3FMUState;
typedef uint32_t fmi3ValueReference, fmi3UInt32;
typedef float fmi3Float32;
typedef double fmi3Float64;
typedef int8_t fmi3Int8;
typedef int16_t fmi3Int16;
typedef int32_t fmi3Int32;
typedef int64_t fmi3Int64;
typedef uint8_t fmi3UInt8, fmi3Byte;
typedef uint16_t fmi3UInt16;
typedef uint64_t fmi3UInt64;
typedef bool fmi3Boolean, fmi3Clock;
typedef const char *fmi3String;
typedef const uint8_t *fmi3Binary;
typedef enum { fmi3OK, fmi3Warning, fmi3Discard, fmi3Error, fmi3Fatal } fmi3Status;
typedef int fmi3DependencyKind, fmi3IntervalQualifier;
typedef void (*fmi3LogMessageCallback)(fmi3InstanceEnvironment, fmi3Status, fmi3String, fmi3String);
typedef void (*fmi3ClockUpdateCallback)(fmi3InstanceEnvironment);
typedef void (*fmi3IntermediateUpdateCallback)(void);
typedef void (*fmi3LockPreemptionCallback)(void);
typedef void (*fmi3UnlockPreemptionCallback)(void);
"""  # the types of the FMI 3.0 standard that CasADi's export names


@pytest.mark.skipif(shutil.which("gcc") is None, reason="an FMU is machine code: needs gcc")
def test_an_fmu_is_the_model_that_was_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # CasADi writes into the working directory
    (tmp_path / "fmi3Functions.h").write_text(FMI_HEADER, encoding="utf-8")
    dae = van_der_pol()
    files = dae.export_fmu({"no_warning": True, "with_serialization": False})
    files = dae.compile_fmu(files, {"include_dirs": [str(tmp_path)]})
    dae.pack_fmu(files, {"path": str(tmp_path / "vdp.fmu")})
    loaded = ca.DaeBuilder("vdp", str(tmp_path / "vdp.fmu"))
    assert not loaded.symbolic()
    system, known = from_casadi(loaded), from_casadi(dae)
    assert system.symbols is ca.MX
    for kind in ("states", "inputs", "outputs", "exogenous"):
        assert getattr(system, kind) == getattr(known, kind)
    assert system.parameters == {}  # constants of the FMU
    assert_is_van_der_pol(system)
    ours, theirs = (HybridModel(s, dt=0.05) for s in (system, known))
    x, u, _ = points(system)
    for mine, yours in zip(ours.linearize(x, u), theirs.linearize(x, u), strict=True):
        assert torch.allclose(mine, yours, rtol=1e-9, atol=1e-9)  # the FMU's own derivatives
    derivatives = []
    for model in (ours, theirs):  # all that a planner asks CasADi for, in both directions
        F = model.step_function()
        w, at = ca.MX.sym("w", 2), [ca.MX.sym(F.name_in(i), F.size1_in(i)) for i in range(4)]
        ahead, v = F(*at), ca.vertcat(at[0], at[1])
        parts = [
            ca.jacobian(ahead, v),
            ca.jtimes(ahead, v, ca.DM.eye(2), True),
            ca.hessian(ca.dot(w, ahead), v)[0],
        ]
        D = ca.Function("D", [*at, w], parts)
        derivatives.append(D(x[0].numpy(), u[0].numpy(), [], [], [0.3, -0.7]))
    for mine, yours in zip(*derivatives, strict=True):
        assert np.allclose(mine.full(), yours.full(), rtol=1e-6, atol=1e-8)
    twin = pickle.loads(pickle.dumps(system))
    assert torch.equal(HybridModel(twin, dt=0.05)(x, u), ours(x, u))
    stiff, exact = (from_casadi(m, parameters={"k": 3.0}) for m in (loaded, dae))
    stiff, exact = (HybridModel(s, dt=0.05) for s in (stiff, exact))
    assert torch.allclose(stiff(x, u), exact(x, u), rtol=1e-14)
    assert torch.equal(HybridModel(from_casadi(loaded), dt=0.05)(x, u), ours(x, u))  # unchanged
    start = np.array([1.0, 0.0])
    plans = [
        MultipleShooting(
            OptimalControlProblem(
                model,
                Quadratic(model.system, state={"q": 1.0, "v": 1.0}, input={"u": 0.1}),
                horizon=8,
            ),
            samples=0,
        ).plan(start)
        for model in (ours, theirs)
    ]
    assert plans[0].status.name == "CONVERGED"
    assert np.allclose(plans[0].u, plans[1].u, atol=1e-5)
    f = loaded.create("f", ["x", "u", "p"], ["ode"])
    with pytest.raises(ValueError, match=r"f:.* is made of an FMU: pass its DaeBuilder instead"):
        from_casadi(f, inputs=("u",), parameters={"mu": 1.0, "k": 1.0})
