"""What is swung up: the demonstrations' pendulum and cart-pole, and the underactuated pair.

An inverted double pendulum with one motor parts from its plan e-fold in less than 0.1 s, so that
inputs alone say nothing about states a second ahead. Its horizon is short, 0.4 s, and ends in the
cost-to-go of balancing, V = eᵀ P e near upright, P from the Riccati equation of the model there.
Dry friction and a dead zone are steps, of which a tangent at rest says nothing about motions: the
model's slopes there are those of a regression over small motions. What is learned of the steps
decides how far the machine swings about upright, so that some logs begin there, and the network is
given smooth steps of rates and inputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel import (
    SQP,
    CostToGo,
    HybridModel,
    OptimalControlProblem,
    Quadratic,
    placement,
)
from hybridmodel.baselines import Recipe, hybrid_row, identified_row
from hybridmodel.closed_loop import RecedingHorizon, receding_horizon
from hybridmodel.data import Dataset
from hybridmodel.envs import Environment, HiddenEffects
from hybridmodel.excitation import Dithered, RandomSteps
from hybridmodel.fitting import fit
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import Attempts, SwingUp
from hybridmodel.tasks.task import Logs, Task, split, whole_logs
from physics import DoublePendulum
from physics.double_pendulum import ELBOW, SHOULDER
from residuals import Gated

_SECONDS, _HELD = 6.0, 1.0
HIDDEN, SHARPNESS = (32, 32), (5.0, 20.0)  # of the network that is given steps


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What planners are given on one task.

    samples, elites, iterations, knots, warm_spread   of CEM, ICEM and MPPI
    newton   most iterations of MultipleShooting, SQP and ILQR
    descent  those of GradientDescent
    """

    samples: int
    elites: int
    iterations: int
    knots: int | None
    warm_spread: float
    newton: int = 50
    descent: int = 100


@dataclass(frozen=True, kw_only=True)
class Balanced(SwingUp):
    """A swing-up whose horizon ends in the cost-to-go of balancing; `terminal` is not used.

    motion   deviations of (x, u) about upright, over which the model's slopes are taken
    """

    motion: tuple[float, ...] = (0.05, 0.05, 0.5, 0.5, 0.5)

    def problem(self, task: Task, model: HybridModel) -> OptimalControlProblem:
        flat = Quadratic(task.system, state=self.state, input=self.input, target=self.target)
        cost = CostToGo(model, flat, motion=self.motion)
        return OptimalControlProblem(
            model, cost, horizon=self.horizon, state_bounds=self.state_bounds
        )

    def policy(self, task: Task, model: HybridModel, planner: str, seed: int) -> RecedingHorizon:
        problem = self.problem(task, model)
        first = self._searched(problem, seed)
        return receding_horizon(SQP(problem), every=self.every, first_plan=first)


@dataclass(frozen=True, kw_only=True)
class FromAbove(Attempts):
    """Also `balanced` logs of the controller that begin within ± `near` (nx,) of upright."""

    balanced: int
    near: tuple[float, ...]

    def make(self, task: Task, plant: Environment, seed: int) -> Logs:
        logs = super().make(task, plant, seed)
        control = task.control
        assert isinstance(control, SwingUp)
        top = control.target_state(task.system)
        seen = Dataset([*logs.train, *logs.validation])
        recipe = replace(task.recipe, starts=1)
        known = identified_row(task.system, seen, seen, recipe, seed=seed).model
        controller = control.policy(task, known, "gradient", seed)
        dithered = Dithered(controller, RandomSteps(task.system.inputs, amplitude=self.dither))

        def start(generator: np.random.Generator) -> np.ndarray:
            return top + generator.uniform(-1, 1, len(top)) * np.array(self.near)

        above = whole_logs(task, plant, lambda k: dithered, start, self.balanced, seed=(seed, 2))
        train, validation = split(above)
        return Logs([*logs.train, *train], [*logs.validation, *validation], logs.test)


class Steps(nn.Module):
    """A network on z and on smooth steps tanh(k zᵢ) of some rows i of z.

    sharpness   all k; z comes standardised
    """

    def __init__(self, nz: int, nr: int, rows: Sequence[int], sharpness: Sequence[float]) -> None:
        super().__init__()
        self.rows, self.sharpness = tuple(rows), tuple(sharpness)
        sizes = nz + len(self.rows) * len(self.sharpness), *HIDDEN, nr
        generator = torch.Generator().manual_seed(0)
        layers: list[nn.Module] = []
        for n, m in itertools.pairwise(sizes):
            linear = nn.utils.skip_init(nn.Linear, n, m, dtype=torch.float64)
            assert isinstance(linear, nn.Linear)
            with torch.no_grad():
                bound = (6 / (n + m)) ** 0.5
                linear.weight.uniform_(-bound, bound, generator=generator)
                linear.bias.zero_()
            layers += [linear, nn.Tanh()]
        self.chain = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor) -> Tensor:
        stepping = torch.cat([z[..., i : i + 1] for i in self.rows], -1)
        steps = [torch.tanh(k * stepping) for k in self.sharpness]
        return self.chain(torch.cat([z, *steps], -1))


def hybrid(
    task: Task, known: HybridModel, train: Dataset, validation: Dataset, seed: int
) -> HybridModel:
    """The hybrid model of a task; of the underactuated pair with `Steps` of rates and inputs."""
    recipe = task.recipe
    if not isinstance(task.control, Balanced):
        return hybrid_row(known, train, validation, recipe, seed=seed).model
    rates_and_inputs = known.system.nv + known.system.nu  # type: ignore[attr-defined]
    nz, nr = 2 * 2 + rates_and_inputs, known.system.nu  # two angles, each its sine and cosine
    steps = Steps(nz, nr, range(nz - rates_and_inputs, nz), SHARPNESS)
    model = HybridModel(
        known.system,
        Gated(steps, nz=nz, nr=nr),
        dt=known.dt,
        placement=recipe.placement,
        fit_parameters=recipe.fit_parameters,
        hold=recipe.hold,
    )
    return fit(
        model,
        train,
        validation,
        horizons=recipe.horizons,
        epochs=recipe.epochs,
        rate=recipe.rate,
        stride=recipe.stride,
        batch_size=128,
        residual_penalty=recipe.residual_penalty,
        seed=seed,
    ).model


def _swing(task: Task) -> Task:
    control = task.control
    assert isinstance(control, SwingUp)
    return replace(task, control=replace(control, seconds=_SECONDS, hold_seconds=_HELD))


ACROBOT = Task(
    name="acrobot",
    title="Acrobot swing-up",
    system=DoublePendulum(inputs=(replace(ELBOW, low=-4.0, high=4.0),)),
    hidden=HiddenEffects(
        parameters={"mass2": 0.7},
        coulomb=(0.02, 0.05),
        ripple=0.5,
        ripple_waves=2.0,
        input_gain=0.85,
        dead_zone=0.05,
        observation_noise=(1e-3, 1e-3, 1e-2, 1e-2),
    ),
    story="100 g at the second link, a motor at the elbow with 85 % of its torque and a dead "
    "zone, dry friction in both joints that varies with the angle, noisy sensors",
    dt=0.02,
    logging=FromAbove(
        excited=12,
        attempts=4,
        balanced=10,
        held_out=1,
        steps=150,
        amplitude=0.5,
        band=(0.2, 2.5),
        start=(1.0, 1.0, 2.0, 2.0),
        near=(0.2, 0.4, 1.0, 2.0),
        gains=((0.0, 2.0, 0.0, 0.3),),
    ),
    recipe=Recipe(
        fit_parameters=("mass2", "center2", "damping1", "damping2", "motor_gain"),
        placement=placement.input,
        horizons=(1, 4, 10),
        epochs=(30, 40, 40),
        starts=2,
    ),
    control=Balanced(
        # angles by far: the softer the balance, the wider it swings about upright with friction
        state={"shoulder": 10.0, "elbow": 5.0, "shoulder_rate": 0.02, "elbow_rate": 0.02},
        input={"elbow_torque": 0.01},
        terminal={},
        target={"shoulder": math.pi},
        state_bounds=((-math.inf,) * 4, (math.inf,) * 4),
        horizon=20,
        every=1,
        seconds=4.0,
        hold_seconds=_HELD,
        knots=10,
    ),
)

PENDUBOT = replace(
    ACROBOT,
    name="pendubot",
    title="Pendubot swing-up",
    system=DoublePendulum(inputs=(replace(SHOULDER, low=-4.0, high=4.0),)),
    hidden=replace(ACROBOT.hidden, coulomb=(0.08, 0.02)),
    story="100 g at the second link, a motor at the shoulder with 85 % of its torque and a dead "
    "zone, dry friction in both joints that varies with the angle, noisy sensors",
    logging=replace(ACROBOT.logging, gains=((3.0, 0.0, 0.5, 0.0),)),
    control=replace(ACROBOT.control, input={"shoulder_torque": 0.01}),
)

TASKS: Mapping[str, tuple[Task, Budget]] = {
    "pendulum": (
        _swing(PENDULUM),
        Budget(samples=300, elites=30, iterations=5, knots=12, warm_spread=0.3),
    ),
    "cart-pole": (
        _swing(CARTPOLE),
        Budget(samples=300, elites=30, iterations=5, knots=12, warm_spread=0.3),
    ),
    "acrobot": (
        ACROBOT,
        Budget(samples=1000, elites=60, iterations=12, knots=None, warm_spread=0.1, descent=40),
    ),
    "pendubot": (
        PENDUBOT,
        Budget(samples=1000, elites=60, iterations=12, knots=None, warm_spread=0.1, descent=40),
    ),
}
