"""What is swung up: the demonstrations' pendulum and cart-pole, and the underactuated pair.

An inverted double pendulum with one motor parts from its plan e-fold in less than 0.1 s, so that
inputs alone say nothing about states a second ahead. Its horizon is short, 0.5 s, and ends in the
cost-to-go of balancing, V = eᵀ P e near upright, P from the Riccati equation of the model there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import casadi as ca
import numpy as np
import torch
from scipy.linalg import solve_discrete_are

from hybridmodel import SQP, HybridModel, OptimalControlProblem, Quadratic, placement
from hybridmodel.baselines import Recipe
from hybridmodel.closed_loop import RecedingHorizon, receding_horizon
from hybridmodel.demo.cartpole import CARTPOLE
from hybridmodel.demo.pendulum import PENDULUM
from hybridmodel.demo.swing_up import Attempts, SwingUp
from hybridmodel.demo.task import Task
from hybridmodel.envs import HiddenEffects
from physics import DoublePendulum, System
from physics.double_pendulum import ELBOW, SHOULDER

_SECONDS, _HELD = 6.0, 1.0


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


class Caught(Quadratic):
    """A quadratic cost that ends in the cost-to-go P (nx, nx) of balancing.

        V = Σᵢ Pᵢᵢ eᵢ² + Σ_{i≠j} Pᵢⱼ sᵢ sⱼ,   s = e, of an angle sin e

    e² of an angle is 2 (1 − cos e), as elsewhere: periodic, and eᵀ P e to second order.
    """

    def __init__(self, system: System, P: np.ndarray, **weights: Mapping[str, float]) -> None:
        super().__init__(system, **weights)
        self.P = P

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        e, P = x - ca.DM(self.target), ca.DM(self.P)
        rows = range(len(self.signals))
        s = ca.vertcat(*[ca.sin(e[i]) if self.signals[i].angle else e[i] for i in rows])
        squares = [2 * (1 - ca.cos(e[i])) if self.signals[i].angle else e[i] ** 2 for i in rows]
        own = ca.diag(P)
        return ca.dot(own, ca.vertcat(*squares)) + s.T @ (P - ca.diag(own)) @ s


@dataclass(frozen=True, kw_only=True)
class Balanced(SwingUp):
    """A swing-up whose horizon ends in the cost-to-go of balancing; `terminal` is not used."""

    def problem(self, task: Task, model: HybridModel) -> OptimalControlProblem:
        weights = {"state": self.state, "input": self.input, "target": self.target}
        flat = Quadratic(task.system, **weights)
        at = torch.from_numpy(self.target_state(task.system)), torch.zeros(1, dtype=torch.float64)
        A, B = (matrix.detach().numpy() for matrix in model.linearize(*at))
        P = solve_discrete_are(A, B, np.diag(flat.state), np.diag(flat.input))
        cost = Caught(task.system, P, **weights)
        return OptimalControlProblem(
            model, cost, horizon=self.horizon, state_bounds=self.state_bounds
        )

    def policy(self, task: Task, model: HybridModel, planner: str, seed: int) -> RecedingHorizon:
        problem = self.problem(task, model)
        first = self._searched(problem, seed)
        return receding_horizon(SQP(problem), every=self.every, first_plan=first)


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
    logging=Attempts(
        excited=6,
        attempts=4,
        held_out=1,
        steps=150,
        amplitude=0.5,
        band=(0.2, 2.5),
        start=(1.0, 1.0, 2.0, 2.0),
        gains=((0.0, 2.0, 0.0, 0.3),),
    ),
    recipe=Recipe(
        fit_parameters=("mass2", "center2", "damping1", "damping2", "motor_gain"),
        placement=placement.input,
        horizons=(1, 4, 10),
        epochs=(10, 15, 20),
        stride=4,
        starts=2,
    ),
    control=Balanced(
        state={"shoulder": 2.0, "elbow": 1.0, "shoulder_rate": 0.02, "elbow_rate": 0.02},
        input={"elbow_torque": 0.01},
        terminal={},
        target={"shoulder": math.pi},
        state_bounds=((-math.inf,) * 4, (math.inf,) * 4),
        horizon=25,
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
        Budget(samples=500, elites=40, iterations=6, knots=None, warm_spread=0.1, descent=40),
    ),
    "pendubot": (
        PENDUBOT,
        Budget(samples=500, elites=40, iterations=6, knots=None, warm_spread=0.1, descent=40),
    ),
}
