"""The tasks of `hybridmodel demo`, as data: plant, hidden effects, logs, cost, planners."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from hybridmodel import placement
from hybridmodel.baselines import Recipe
from hybridmodel.collection import Policy
from hybridmodel.costs import Quadratic
from hybridmodel.envs import HiddenEffects
from hybridmodel.excitation import Centered, Multisine, RandomSteps
from physics import CartPole, DoublePendulum, Pendulum, Signal, System
from physics.double_pendulum import ELBOW, SHOULDER


@dataclass(frozen=True, kw_only=True)
class Logging:
    """How the logs are made.

    `excited` logs of `steps` by multisines and random steps in turn, then `attempts` by the
    swing-up controller on physics identified from those, with an excitation added: data where
    the task will need it. `held_out` more excited ones are for the errors alone: the free run
    of a balanced pole would show how fast it falls, not how good a model is.
    Starts are drawn within ± `start` (nx,) of rest; `gains` (nu, ny) pulls the outputs to 0
    so that the plant stays inside its limits.
    """

    excited: int
    attempts: int
    held_out: int
    steps: int
    amplitude: float
    band: tuple[float, float]
    start: tuple[float, ...]
    dither: float = 0.2
    gains: tuple[tuple[float, ...], ...] = ()

    def excitation(self, system: System, index: int) -> Policy:
        """The excitation of the index-th log."""
        if index % 2:
            wave = RandomSteps(system.inputs, amplitude=self.amplitude)
        else:
            wave = Multisine(system.inputs, band=self.band, amplitude=self.amplitude)
        return Centered(wave, self.gains) if self.gains else wave


@dataclass(frozen=True, kw_only=True)
class Control:
    """The swing-up: cost weights, horizon, planners' budgets, and what counts as success.

    Success: the last `hold_seconds` of `seconds` within `tolerance` [rad] of the target.
    """

    state: dict[str, float]
    input: dict[str, float]
    terminal: dict[str, float]
    target: dict[str, float]
    state_bounds: tuple[tuple[float, ...], tuple[float, ...]]
    horizon: int
    seconds: float = 6.0
    hold_seconds: float = 2.0
    tolerance: float = 0.3
    every: int = 4
    samples: int = 300
    elites: int = 30
    iterations: int = 5
    knots: int = 12
    shooting_iterations: int = 50


@dataclass(frozen=True, kw_only=True)
class Task:
    """One demonstration."""

    name: str
    title: str
    system: System
    hidden: HiddenEffects
    story: str
    dt: float
    logging: Logging
    recipe: Recipe
    control: Control

    def cost(self) -> Quadratic:
        c = self.control
        return Quadratic(
            self.system, state=c.state, input=c.input, terminal=c.terminal, target=c.target
        )

    def target(self) -> np.ndarray:
        """(nx,) the state to hold."""
        return np.array([self.control.target.get(s.name, 0.0) for s in self.system.states])

    def quick(self) -> Task:
        """A shorter version: fewer logs, epochs, samples, plans and seconds."""
        return replace(
            self,
            logging=replace(self.logging, excited=8, attempts=4, held_out=3),
            recipe=replace(self.recipe, epochs=(8, 12, 24), sweep=(1e-2,), starts=1),
            control=replace(
                self.control,
                seconds=2.8,
                hold_seconds=0.4,
                samples=150,
                elites=15,
                iterations=4,
                shooting_iterations=25,
                every=self.control.every + 2,
            ),
        )


CARTPOLE = Task(
    name="cartpole",
    title="Cart-pole swing-up",
    system=CartPole(),
    hidden=HiddenEffects(
        parameters={"pole_mass": 0.3},
        coulomb=(1.0, 0.02),
        ripple=0.5,
        ripple_waves=3.0,
        input_gain=0.8,
        dead_zone=0.4,
        observation_noise=(1e-3, 2e-3, 5e-3, 1e-2),
    ),
    story="a pole half as heavy again, a motor with 80 % of its force and a dead zone, dry "
    "friction in rail and pivot that varies with position, noisy sensors",
    dt=0.04,
    logging=Logging(
        excited=12,
        attempts=8,
        held_out=8,
        steps=75,
        amplitude=0.9,
        band=(0.2, 2.5),
        start=(0.4, 1.5, 0.0, 3.0),
        gains=((12.0, 0.0, 4.0, 0.0),),
    ),
    recipe=Recipe(
        fit_parameters=(
            "pole_mass",
            "pole_length",
            "cart_damping",
            "pole_damping",
            "motor_gain",
        ),
        placement=placement.input,
    ),
    control=Control(
        state={"position": 0.5, "angle": 2.0, "velocity": 0.05, "rate": 0.05},
        input={"force": 0.005},
        terminal={"position": 5.0, "angle": 20.0, "velocity": 1.0, "rate": 1.0},
        target={"angle": math.pi},
        state_bounds=((-2.0, -math.inf, -math.inf, -math.inf), (2.0, math.inf, math.inf, math.inf)),
        horizon=40,
    ),
)

PENDULUM = Task(
    name="pendulum",
    title="Pendulum swing-up with a weak motor",
    system=Pendulum(inputs=(Signal("torque", "N·m", -3.0, 3.0),)),
    hidden=HiddenEffects(
        parameters={"mass": 1.15},
        coulomb=(0.25,),
        ripple=0.6,
        ripple_waves=2.0,
        input_gain=0.85,
        dead_zone=0.25,
        observation_noise=(2e-3, 1e-2),
    ),
    story="15 % more mass, a motor with 85 % of its torque and a dead zone, dry friction that "
    "varies with the angle, noisy sensors",
    dt=0.04,
    logging=Logging(
        excited=12,
        attempts=8,
        held_out=8,
        steps=75,
        amplitude=1.0,
        band=(0.2, 2.0),
        start=(1.5, 4.0),
    ),
    recipe=Recipe(
        fit_parameters=("mass", "length", "damping", "motor_gain"), placement=placement.input
    ),
    control=Control(
        state={"angle": 2.0, "rate": 0.05},
        input={"torque": 0.05},
        terminal={"angle": 20.0, "rate": 1.0},
        target={"angle": math.pi},
        state_bounds=((-math.inf, -math.inf), (math.inf, math.inf)),
        horizon=60,
    ),
)

DOUBLE_PENDULUM = Task(
    name="double-pendulum",
    title="Double pendulum swing-up",
    system=DoublePendulum(
        inputs=(replace(SHOULDER, low=-6.0, high=6.0), replace(ELBOW, low=-4.0, high=4.0))
    ),
    hidden=HiddenEffects(
        parameters={"mass2": 0.7},
        coulomb=(0.08, 0.05),
        ripple=0.5,
        ripple_waves=2.0,
        input_gain=0.85,
        dead_zone=0.05,
        observation_noise=(1e-3, 1e-3, 1e-2, 1e-2),
    ),
    story="100 g at the second link, motors with 85 % of their torque and a dead zone, dry "
    "friction in both joints that varies with the angle, noisy sensors",
    dt=0.02,
    logging=Logging(
        excited=12,
        attempts=8,
        held_out=8,
        steps=150,
        amplitude=0.5,
        band=(0.2, 2.5),
        start=(1.0, 1.0, 2.0, 2.0),
        gains=((3.0, 0.0, 0.5, 0.0), (0.0, 2.0, 0.0, 0.3)),
    ),
    recipe=Recipe(
        fit_parameters=("mass2", "center2", "damping1", "damping2", "motor_gain"),
        placement=placement.input,
        horizons=(1, 8, 30),
        epochs=(15, 25, 40),
        stride=2,
    ),
    control=Control(
        state={"shoulder": 2.0, "elbow": 1.0, "shoulder_rate": 0.02, "elbow_rate": 0.02},
        input={"shoulder_torque": 0.01, "elbow_torque": 0.01},
        terminal={"shoulder": 20.0, "elbow": 10.0, "shoulder_rate": 1.0, "elbow_rate": 1.0},
        target={"shoulder": math.pi},
        state_bounds=((-math.inf,) * 4, (math.inf,) * 4),
        horizon=40,
        every=3,
        seconds=4.0,
        samples=500,
        elites=40,
        iterations=6,
        knots=6,
    ),
)

TASKS = {task.name: task for task in (CARTPOLE, PENDULUM, DOUBLE_PENDULUM)}
