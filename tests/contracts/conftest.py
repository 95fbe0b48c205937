"""The zoo: every kind of system, residual, placement, stepping and planner, one line each.

A test that takes `case` (or `planning`, where the planner matters) runs on rows of these tables
in which every pair of entries of two tables meets at least once; `pytest -m slow` runs it on the
full product of models instead, where planners take turns.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import SimpleNamespace

import casadi as ca
import numpy as np
import pytest
import torch
from torch import nn

import residuals
from hybridmodel import (
    CEM,
    ICEM,
    ILQR,
    MPPI,
    SQP,
    GradientDescent,
    HybridModel,
    MultipleShooting,
    OptimalControlProblem,
    Plan,
    Planner,
    Portfolio,
    Quadratic,
    RandomShooting,
    RefinedCEM,
)
from hybridmodel import placement as placements
from hybridmodel.features import default_features, feature_signals, seen_by
from hybridmodel.placement import Placement
from hybridmodel.rollouts import Backend
from physics import (
    CartPole,
    DoublePendulum,
    DynamicBicycle,
    InputDelay,
    InputLag,
    KinematicBicycle,
    Linear,
    Parameter,
    Pendulum,
    PlanarQuadrotor,
    Quadrotor,
    RigidBody,
    Signal,
    System,
    Trivial,
    TwoTanks,
    from_casadi,
)
from physics.integrators import Integrator, discrete, euler, rk4, semi_implicit_euler
from physics.rigid_body import urdf
from residuals import GRU, MLP, Ensemble, Supported, Window

ANGLE = (Signal("angle", "rad", angle=True), Signal("rate", "rad/s", rate_of="angle"))


@dataclass(frozen=True, kw_only=True)
class Towed(System):
    """A pendulum on a pivot that is pulled sideways by a known acceleration a in still wind w."""

    length: float = Parameter(0.5, "m", "positive")
    drag: float = Parameter(0.3, "1/s", (0.0, 2.0))
    states: tuple[Signal, ...] = ANGLE
    inputs: tuple[Signal, ...] = (Signal("torque", "N·m/kg", -2.0, 2.0),)
    exogenous: tuple[Signal, ...] = (Signal("pull", "m/s²"), Signal("wind", "rad/s"))

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        pull = 9.81 * ca.sin(x[0]) + d[0] * ca.cos(x[0])
        return ca.vertcat(x[1], u[0] - pull / p.length - p.drag * (x[1] - d[1]))


@dataclass(frozen=True, kw_only=True)
class Encoder(System):
    """A mass on a spring, of which a sensor reads the position and the force in the spring."""

    stiffness: float = Parameter(4.0, "N/m", "positive")
    offset: float = Parameter(0.0, "m")
    states: tuple[Signal, ...] = (
        Signal("position", "m"),
        Signal("velocity", "m/s", rate_of="position"),
    )
    inputs: tuple[Signal, ...] = (Signal("force", "N", -3.0, 3.0),)

    @property
    def outputs(self) -> tuple[Signal, ...]:
        return (Signal("reading", "m"), Signal("load", "N"), Signal("effort", "N"))

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[1], u[0] - p.stiffness * x[0])

    def output(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[0] + p.offset, p.stiffness * x[0], u[0])


def _sled() -> ca.Function:
    """A sled that is pushed up a slope against drag: one scalar input each, as do-mpc has it."""
    position, velocity, push, mass, drag, slope = (ca.SX.sym(s) for s in "qvumcs")
    rate = (push - drag * velocity * ca.fabs(velocity)) / mass - 9.81 * ca.sin(slope)
    names = ["position", "velocity", "push", "mass", "drag", "slope"]
    symbols = [position, velocity, push, mass, drag, slope]
    return ca.Function("sled", symbols, [ca.vertcat(velocity, rate)], names, ["xdot"])


def _fan() -> ca.Function:
    """A fan whose drag is a table of its speed: MX that has no scalar form."""
    x, u, p = ca.MX.sym("x", 2), ca.MX.sym("u"), ca.MX.sym("p", 2)
    knots = np.linspace(-8.0, 8.0, 17)
    drag = ca.interpolant("drag", "bspline", [knots.tolist()], np.arctan(knots).tolist())
    return ca.Function("fan", [x, u, p], [ca.vertcat(x[1], (u - p[1] * drag(x[1])) / p[0])])


def _tank() -> ca.Function:
    """x⁺ of two tanks in a row, at the next reading."""
    x, u, p = ca.SX.sym("x", 2), ca.SX.sym("u", 1), ca.SX.sym("p", 2)
    flow = ca.vertcat(p[0] * ca.tanh(x[0]), p[1] * ca.tanh(x[1]))
    return ca.Function("tank", [x, u, p], [x + ca.vertcat(u - flow[0], flow[0] - flow[1])])


ARM = """<robot name="arm">
  <link name="base"><inertial><origin xyz="0.1 0 0"/><mass value="2"/>
    <inertia ixx="0.02" iyy="0.03" izz="0.04" ixy="0.001" ixz="0" iyz="0"/></inertial></link>
  <link name="rod"><inertial><origin xyz="0 0.05 -0.2"/><mass value="0.7"/>
    <inertia ixx="0.01" iyy="0.012" izz="0.005" ixy="0" ixz="0.001" iyz="0"/></inertial></link>
  <joint name="turn" type="continuous"><parent link="base"/><child link="rod"/>
    <origin xyz="0.2 0 0.1" rpy="0.3 0 0"/><axis xyz="0 1 0"/>
    <dynamics damping="0.05" friction="0.02"/>
    <limit effort="4" velocity="10"/></joint>
</robot>"""

SYSTEMS: Mapping[str, System] = {
    "linear": Linear(
        A=((0.0, 1.0, 0.0), (-2.0, -0.1, 0.5), (0.0, 0.0, -1.0)),
        B=((0.0, 0.1), (1.0, 0.0), (0.0, 3.0)),
        states=(Signal("q"), Signal("v", rate_of="q"), Signal("lag")),
    ),
    "cart": Linear(  # one state, one input
        A=((-0.5,),), B=((2.0,),), states=(Signal("speed", "m/s", rate_of="position"),)
    ),
    "pendulum": Pendulum(),
    "cartpole": CartPole(),
    "double_pendulum": DoublePendulum(),
    "acrobot": DoublePendulum.acrobot(),
    "pendubot": DoublePendulum.pendubot(),
    "delayed": InputDelay(system=CartPole(), steps=2),
    "trivial": Trivial.like(CartPole()),
    "quadrotor": Quadrotor(),
    "lagged": InputLag(system=PlanarQuadrotor()),
    "planar_quadrotor": PlanarQuadrotor(),
    "floating": Trivial.like(Quadrotor()),
    "robot": RigidBody.from_description(urdf.parse(ARM), smoothing=0.1),
    "floating_robot": RigidBody.from_description(urdf.parse(ARM), floating=True, smoothing=0.1),
    "tanks": TwoTanks(),
    "kinematic_bicycle": KinematicBicycle(),
    "dynamic_bicycle": DynamicBicycle(),
    "towed": Towed(),
    "encoder": Encoder(),
    "delayed_towed": InputDelay(system=Towed(), steps=2),
    "sled": from_casadi(
        _sled(),
        states=(Signal("position", "m"), Signal("velocity", "m/s", rate_of="position")),
        inputs=("push",),
        exogenous=("slope",),
        parameters={"mass": Parameter(2.0, "kg", "positive"), "drag": 0.3},
    ),
    "fan": from_casadi(
        _fan(), states=ANGLE, inputs=("torque",), parameters={"inertia": 0.7, "drag": 0.4}
    ),
    "tank": from_casadi(
        _tank(),
        states=("upper", "lower"),
        parameters={"upper_drain": 0.2, "lower_drain": Parameter(0.1, "m/s", "positive")},
        dt=0.02,
    ),
}
VARIANTS = (  # of what other rows have too: in the full product
    "double_pendulum",
    "pendubot",
    "delayed",
    "towed",
    "planar_quadrotor",
    "kinematic_bicycle",
    "floating_robot",
)
RESIDUALS: Mapping[str, Callable[[int, int], nn.Module | None]] = {  # (nz, nr) ↦ residual
    "physics": lambda nz, nr: None,
    "mlp": lambda nz, nr: MLP((6, 5)),
    "relu": lambda nz, nr: MLP((6,), activation="relu", limit=0.7),
    "silu": lambda nz, nr: MLP((5,), activation="silu", limit=[0.3 + i for i in range(nr)]),
    "affine": lambda nz, nr: MLP(()),
    "module": lambda nz, nr: nn.Sequential(nn.Linear(nz, 5), nn.GELU(), nn.Linear(5, nr)),
    "ensemble": lambda nz, nr: Ensemble((5,), count=2),
    "supported": lambda nz, nr: Supported(MLP((5,)), centres=3),
    "linear": lambda nz, nr: residuals.Linear(basis="polynomial", degree=1),
    "window": lambda nz, nr: Window((5,), steps=2),
    "gru": lambda nz, nr: GRU(3, hidden=(5,), warmup=2),
}
PLACEMENTS: Mapping[str, Callable[[System], Placement]] = {
    **{
        placement.name: lambda system, p=placement: _fitting(p, system)
        for placement in placements.ALL
    },
    "one_row": lambda system: _fitting(placements.derivative, system).on(system.states[-1].name),
}


def _fitting(placement: Placement, system: System) -> Placement:
    """The placement, or the next state where the system has nothing that it could correct."""
    if placement is placements.acceleration and not system.velocity_rows:
        placement = placements.derivative  # a system without mechanics
    try:
        placement.signals(system)
    except ValueError:
        return placements.next_state
    return placement


HOLDS: Mapping[str, bool] = {"stages": False, "held": True}
STEPPINGS: Mapping[str, tuple[Integrator, int]] = {
    "rk4": (rk4, 1),
    "euler3": (euler, 3),
    "semi2": (semi_implicit_euler, 2),
}
FEW: Mapping[str, int] = {"samples": 30, "iterations": 3}
PLANNERS: Mapping[str, Callable[[OptimalControlProblem], Planner]] = {
    "cem": lambda problem: CEM(problem, elites=6, **FEW),
    "icem": lambda problem: ICEM(problem, elites=6, **FEW),
    "mppi": lambda problem: MPPI(problem, knots=3, **FEW),
    "random": lambda problem: RandomShooting(problem, samples=30),
    "refined": lambda problem: RefinedCEM(problem, samples=12, elites=4, iterations=2),
    "descent": lambda problem: GradientDescent(problem, iterations=8, starts=2),
    "shooting": lambda problem: MultipleShooting(problem, iterations=60),
    "sqp": lambda problem: SQP(problem, iterations=60),
    "ilqr": lambda problem: ILQR(problem, iterations=60),
    "portfolio": lambda problem: Portfolio(
        RandomShooting(problem, samples=30), CEM(problem, elites=6, **FEW)
    ),
}
DERIVING = ("sqp", "ilqr")
QUICK = ("cem", "icem", "mppi", "random", "portfolio")  # to make: they derive and compile nothing
ONCE = {name: system for name, system in SYSTEMS.items() if name not in VARIANTS}
AXES = (ONCE, RESIDUALS, PLACEMENTS, HOLDS, STEPPINGS, PLANNERS)


@dataclass(frozen=True)
class Case:
    """One row: a name from each table, and the model and planner that they make."""

    system_name: str
    residual_name: str
    placement_name: str
    hold_name: str
    stepping_name: str
    planner_name: str
    other_name: str = "cem"  # the planner whose plan is a warm start

    def __str__(self) -> str:
        return "-".join(vars(self)[f"{axis}_name"] for axis in self.axes)

    axes = ("system", "residual", "placement", "hold", "stepping", "planner")

    @property
    def system(self) -> System:
        return SYSTEMS[self.system_name]

    @property
    def placement(self) -> Placement:
        return PLACEMENTS[self.placement_name](self.system)

    @property
    def stepping(self) -> tuple[Integrator, int]:
        """A discrete system has its own, whatever the name."""
        return STEPPINGS[self.stepping_name] if self.system.dt is None else (discrete, 1)

    @property
    def recipe(self) -> nn.Module | None:
        """A new residual without training."""
        system, sees = self.system, self.placement.sees or default_features
        nz = len(feature_signals(seen_by(system), sees(system)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return RESIDUALS[self.residual_name](nz, len(self.placement.signals(self.system)))

    def build(self, residual: nn.Module | None, backend: Backend = "auto") -> HybridModel:
        integrator, substeps = self.stepping
        return HybridModel(
            self.system,
            residual,
            dt=0.02,
            placement=self.placement,
            fit_parameters=tuple(self.system.parameters)[:2],
            integrator=integrator,
            substeps=substeps,
            hold=HOLDS[self.hold_name],
            backend=backend,
        )

    @property
    def nx(self) -> int:
        """States with the memory of the system and of the residual."""
        return self.untrained.nx

    @cached_property
    def untrained(self) -> HybridModel:
        return self.build(self.recipe)

    @cached_property
    def physics(self) -> HybridModel:
        return self.build(None)

    @cached_property
    def trained(self) -> HybridModel:
        """With random weights, scales and parameters."""
        return self._trained("auto")

    def _trained(self, backend: Backend) -> HybridModel:
        # what multiplies rates or inertias makes any step diverge where it is drawn too large
        strong = self.placement in (
            placements.parameters,
            placements.dissipation,
            placements.gyroscopic,
        )
        return trained(self.build(self.recipe, backend), size=0.05 if strong else 0.4)

    def draw(self, *batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Random x (…, nx), u (…, nu), d (…, nd)."""
        system, generator = self.system, torch.Generator().manual_seed(seed)
        sizes = (self.nx, system.nu, system.nd)
        x, u, d = (
            torch.randn(*batch, size, generator=generator, dtype=torch.float64) for size in sizes
        )
        for row in system.quaternion_rows:
            x[..., row : row + 4] /= x[..., row : row + 4].norm(dim=-1, keepdim=True)
        return x, u, d

    @cached_property
    def problem(self) -> OptimalControlProblem:
        """Four steps towards 0.3 of the first state.

        Of the planners that need derivatives of the step, small models in half the rows have them
        from the kernel, which is seconds of compiling, the others from CasADi.
        """
        system, n = self.system, len(self.system.states)
        by_casadi = self.planner_name in DERIVING and (HOLDS[self.hold_name] or self.nx > 6)
        return OptimalControlProblem(
            self._trained("torch") if by_casadi else self.trained,
            Quadratic(
                system,
                state={s.quaternion or s.name: 1.0 for s in system.states},
                input={s.name: 0.01 for s in system.inputs},
                target={system.states[0].name: 0.3},
            ),
            horizon=4,
            input_bounds=([-1.0] * system.nu, [2.0] * system.nu),
            state_bounds=([-np.inf] * n, [np.inf] * n),
        )

    @cached_property
    def x0(self) -> np.ndarray:
        return 0.1 * np.arange(1.0, self.nx + 1)

    @cached_property
    def plan(self) -> Plan:
        """From x0 with seed 3."""
        return self.planner.plan(self.x0, parameters=self.parameters, seed=3)

    @property
    def parameters(self) -> np.ndarray:
        """π of the problem: one row of exogenous signals."""
        return np.linspace(-0.2, 0.3, self.system.nd)

    @cached_property
    def planner(self) -> Planner:
        return PLANNERS[self.planner_name](self.problem)

    def other_planner(self) -> Planner:
        return PLANNERS[self.other_name](self.problem)


def trained(model: HybridModel, seed: int = 0, size: float = 0.4) -> HybridModel:
    """The same model with weights, scales and parameters drawn at random, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.theta.copy_(0.2 * torch.randn(model.theta.shape, generator=generator))
        if model.residual is not None:
            for weight in model.residual.parameters():
                weight.copy_(size * torch.randn(weight.shape, generator=generator))
            nz, nr = model.residual.nz, model.residual.nr
            mean, spread, scale = (torch.rand(n, generator=generator) for n in (nz, nz, nr))
            model.residual.standardize(mean - 0.5, spread + 0.5, scale + 0.5)
    return model


def pairwise(axes: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows in which each pair of entries of two axes occurs; greedy, always the same."""
    missing = {
        ((i, a), (j, b)): None  # a dict keeps its order, a set does not
        for (i, first), (j, second) in itertools.combinations(enumerate(axes), 2)
        for a in first
        for b in second
    }
    used: Counter[tuple[int, str]] = Counter()
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        for i in sorted(set(range(len(axes))) - row.keys()):
            row[i] = max(
                axes[i],
                key=lambda a, i=i: (len(_met(row | {i: a}) & missing.keys()), -used[i, a]),
            )
        used.update(row.items())
        for pair in _met(row):
            missing.pop(pair, None)
        rows.append(tuple(row[i] for i in range(len(axes))))
    return rows


def _met(row: Mapping[int, str]) -> set[tuple[tuple[int, str], tuple[int, str]]]:
    return set(itertools.combinations(sorted(row.items()), 2))


@cache
def pairs() -> list[Case]:
    """Rows with each pair of entries, in which each planner starts from a plan of each planner."""
    met: Counter[str] = Counter()
    cases = []
    for row in pairwise([tuple(axis) for axis in AXES]):
        names = [*PLANNERS, *QUICK * len(SYSTEMS)]
        cases.append(Case(*row, names[met[row[-1]]]))
        met[row[-1]] += 1
    return cases


def product(planners: Sequence[str], turns: int) -> list[Case]:
    """Every model, each with so many of the planners, which take turns."""
    names = itertools.cycle(planners)
    return [
        Case(*row, next(names))
        for row in itertools.product(SYSTEMS, *AXES[1:-1])
        for _ in range(turns)
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    expression = metafunc.config.getoption("markexpr")
    full = "slow" in expression and "not slow" not in expression
    marks = [pytest.mark.slow] if full else []
    # what no planner has a part in need not be run with each of them
    for argument, planners in {"case": ("cem",), "planning": tuple(PLANNERS)}.items():
        if argument in metafunc.fixturenames:
            rows = product(planners, min(3, len(planners))) if full else pairs()
            cases = [pytest.param(case, id=str(case), marks=marks) for case in rows]
            metafunc.parametrize(argument, cases)
    if "system_name" in metafunc.fixturenames:
        metafunc.parametrize("system_name", SYSTEMS)
    if "stepping_name" in metafunc.fixturenames:
        metafunc.parametrize("stepping_name", STEPPINGS)


def _case(item: pytest.Item | None) -> Case | None:
    """The row that a test runs on."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("case") or parameters.get("planning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All laws of one row together, so that its model, kernel and plan are made once."""
    met: dict[str, int] = {}
    rows = [(met.setdefault(str(_case(item)), len(met)), i) for i, item in enumerate(items)]
    items[:] = [items[i] for _, i in sorted(rows)]


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Thousands of models do not fit into memory, one row's do."""
    case = _case(item)
    if case is not None and case is not _case(nextitem):
        for name in ("untrained", "physics", "trained", "problem", "planner", "plan"):
            vars(case).pop(name, None)


@pytest.fixture
def zoo() -> SimpleNamespace:
    """The tables themselves, for laws about them."""
    return SimpleNamespace(
        systems=SYSTEMS, steppings=STEPPINGS, axes=AXES, pairwise=pairwise, trained=trained
    )
