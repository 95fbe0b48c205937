"""Following a reference: logs of led motions, a planner that looks ahead, distances that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from hybridmodel.closed_loop import RecedingHorizon, receding_horizon
from hybridmodel.collection import Policy
from hybridmodel.costs import Quadratic, Tracking
from hybridmodel.data import Trajectory
from hybridmodel.envs import Environment
from hybridmodel.excitation import Dithered, FourierMotion, RandomSteps
from hybridmodel.model import HybridModel
from hybridmodel.planners import CEM, SQP, MultipleShooting, Plan, Planner, Status
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.tasks.observing import beginning, observer
from hybridmodel.tasks.task import (
    Control,
    Figure,
    Logging,
    Logs,
    Score,
    Task,
    named,
    paid,
    split,
    whole_logs,
)
from physics import System

AXES: tuple[str, ...] = ("x", "y", "z")
Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Motions(Logging):
    """Logs of random motions that a controller on the nominal physics leads the plant through.

    follower   the controller, made from system and motion
    logs       of `steps`, for fitting
    center, reach, period, harmonics   of the motion, see `FourierMotion`
    start      x₀ (nx,), at rest in the motion's centre
    dither     random steps added to the inputs [share of their bounds]
    """

    follower: Callable[[Any, FourierMotion], Policy]
    logs: int
    center: tuple[float, ...]
    reach: tuple[float, ...]
    period: float
    harmonics: int
    start: tuple[float, ...]
    dither: float = 0.0
    dither_seconds: tuple[float, float] = (0.04, 0.2)
    quick_logs: int = 4

    def excitation(self, system: System) -> Policy:
        """The policy of all logs; each draws its own motion."""
        motion = FourierMotion(
            self.center, self.reach, period=self.period, harmonics=self.harmonics
        )
        led = self.follower(system, motion)
        if not self.dither:
            return led
        steps = RandomSteps(system.inputs, amplitude=self.dither, hold=self.dither_seconds)
        return Dithered(led, steps)

    def make(self, task: Task, plant: Environment, seed: int) -> Logs:
        policy, start = self.excitation(task.system), np.array(self.start)
        count = self.logs + self.held_out
        logs = whole_logs(
            task, plant, lambda k: policy, lambda generator: start, count, seed=(seed, 0)
        )
        train, validation = split(logs[: self.logs])
        return Logs(train, validation, logs[self.logs :])

    def quick(self) -> Self:
        return replace(self, logs=self.quick_logs, held_out=1)


@dataclass(frozen=True, kw_only=True)
class Lemniscate:
    """A figure eight, y(t) = c + a sin θ + b sin 2θ, passed through once every `period` [s].

    c `center`, a `long`, b `wide` [m]; θ̇ rises from 0 to 2π/period within `rise` [s].
    """

    center: Point
    long: Point
    wide: Point
    period: float
    rise: float = 1.0

    def __call__(self, t: float | np.ndarray) -> np.ndarray:
        """y (…, 3) at times t (…) [s]."""
        t = np.asarray(t, dtype=float)
        ramp = np.minimum(t, self.rise)
        theta = 2 * np.pi / self.period * (ramp**2 / (2 * self.rise) + t - ramp)
        once, twice = np.sin(theta)[..., None], np.sin(2 * theta)[..., None]
        return np.array(self.center) + once * np.array(self.long) + twice * np.array(self.wide)


@dataclass(frozen=True, kw_only=True)
class Following(Control):
    """A point of the plant follows a reference.

        ℓ = w |y(x) − y_r(t)|² + ℓ₀(x, u)

    follows      x ↦ y (3,) [m], in CasADi and for numbers alike
    what         its name
    reference    t ↦ y_r (3,)
    weight       w [1/m²]
    state, input, target   of ℓ₀, see `Quadratic`; inputs are weighed about those that hold x₀
    at           x₀ (nx,);  `holding` u (nu,) keeps it there, as far as the nominal physics knows
    final        how much more the last step of a plan counts
    settle       the first seconds, which do not count
    tolerance    success: no further from the reference than this, ever [m]
    shooting_iterations, shooting_tolerance   of `MultipleShooting`
    exact_curvature   whether its Hessian holds that of the dynamics; plans that start near the
                 optimum seldom need it
    sqp_iterations, sqp_tolerance, sqp_rti   of `SQP`
    samples, elites, iterations, knots, warm_spread   of `CEM`, which always has a plan to start
                 from: at first to hold still
    """

    follows: Callable[[Any], Any]
    what: str
    reference: Lemniscate
    weight: float
    state: dict[str, float]
    input: dict[str, float]
    at: tuple[float, ...]
    holding: tuple[float, ...]
    target: dict[str, float] = field(default_factory=dict)
    final: float = 1.0
    settle: float = 1.5
    tolerance: float = 0.1
    planners: tuple[str, ...] = ("gradient",)
    shooting_iterations: int = 25
    shooting_tolerance: float = 1e-2
    exact_curvature: bool = False
    sqp_iterations: int = 30
    sqp_tolerance: float = 1e-3
    sqp_rti: bool = False
    samples: int = 200
    elites: int = 20
    iterations: int = 4
    knots: int | None = None
    warm_spread: float = 0.2
    quick_seconds: float = 4.0

    @property
    def goal(self) -> str:
        return f"keeps its {self.what} within {1e3 * self.tolerance:g} mm of the reference"

    @property
    def success(self) -> str:
        return (
            f"the {self.what} is never further than {1e3 * self.tolerance:g} mm from where it "
            f"should be, from {self.settle:g} s to {self.seconds:g} s"
        )

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("error", "rms", "misses by", "mm", 1e3),
            Figure("worst", "worst", "at worst misses by", "mm", 1e3),
        )

    def start(self, system: System) -> np.ndarray:
        return np.array(self.at)

    def rest_input(self, system: System) -> np.ndarray:
        return np.array(self.holding)

    def problem(self, task: Task, model: HybridModel) -> OptimalControlProblem:
        held = dict(zip((s.name for s in task.system.inputs), self.holding, strict=True))
        beside = Quadratic(
            model.system, state=self.state, input=self.input, target={**held, **self.target}
        )
        weights = dict.fromkeys(AXES, self.weight)
        cost = Tracking(self.follows, weights, beside=beside, final=self.final)
        return OptimalControlProblem(model, cost, horizon=self.horizon)

    def policy(self, task: Task, model: HybridModel, planner: str, seed: int) -> RecedingHorizon:
        makers: Mapping[str, Callable[[OptimalControlProblem], Planner]] = {
            "cem": self._cem,
            "gradient": self._shooting,
            "sqp": self._sqp,
        }
        make, problem = named("planner", planner, makers), self.problem(task, model)
        x0 = beginning(model, self.start(task.system))
        u = np.tile(self.holding, (self.horizon, 1))

        def ahead(t: float) -> np.ndarray:
            return self.reference(t + task.dt * np.arange(self.horizon + 1))

        cost, x, _ = problem.evaluate(x0, u, ahead(0.0))
        return receding_horizon(
            make(problem),
            every=self.every,
            estimator=observer(model),
            parameters=ahead,
            safe_input=np.array(self.holding),
            first_plan=Plan(u=u, x=x, cost=cost, status=Status.BUDGET),
        )

    def _shooting(self, problem: OptimalControlProblem) -> MultipleShooting:
        return MultipleShooting(
            problem,
            iterations=self.shooting_iterations,
            tolerance=self.shooting_tolerance,
            samples=0,
            curvature="exact" if self.exact_curvature else "cost",
        )

    def _sqp(self, problem: OptimalControlProblem) -> SQP:
        return SQP(
            problem,
            iterations=self.sqp_iterations,
            tolerance=self.sqp_tolerance,
            rti=self.sqp_rti,
        )

    def _cem(self, problem: OptimalControlProblem) -> CEM:
        return CEM(
            problem,
            samples=self.samples,
            elites=self.elites,
            iterations=self.iterations,
            knots=self.knots,
            warm_spread=self.warm_spread,
        )

    def path(self, states: np.ndarray) -> np.ndarray:
        """y (T, 3) along states (T, nx)."""
        return np.array([np.array(self.follows(x), dtype=float).ravel() for x in states])

    def errors(self, trajectory: Trajectory) -> np.ndarray:
        """y − y_r (T, 3) along the true states."""
        assert trajectory.x is not None
        return self.path(trajectory.x) - self.reference(trajectory.t - trajectory.t[0])

    def score(self, task: Task, problem: OptimalControlProblem, trajectory: Trajectory) -> Score:
        assert trajectory.x is not None
        steps = round(self.seconds / task.dt)
        t = task.dt * np.arange(steps + 1)
        reached = self.path(trajectory.x)
        # a run that left the plant's limits stays where it was
        reached = reached[np.minimum(np.arange(steps + 1), len(reached) - 1)]
        distance = np.linalg.norm(reached - self.reference(t), axis=1)[t >= self.settle]
        worst = float(distance.max())
        return Score(
            cost=paid(problem, trajectory, steps, self.reference(t)),
            success=trajectory.steps == steps and worst <= self.tolerance,
            figures={"error": float(np.sqrt(np.mean(distance**2))), "worst": worst},
        )

    def quick(self) -> Self:
        return replace(self, seconds=self.quick_seconds)
