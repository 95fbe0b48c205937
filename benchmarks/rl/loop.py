"""The same loop with a hybrid ensemble and with a network ensemble: real steps to the same return.

Two tasks in PyBullet: the cart-pole of `hybridmodel demo`, swung up, and its quadrotor, flown to a
point. Reward of a step is 1 − ℓ/ℓ₀, not below 0; an episode that ends early earns nothing more.
The loop is `hybridmodel.rl.learn` with CEM, the same planner and the same fit for both models; the
hybrid one begins with what its physics says, which is also evaluated as it is, at no real steps;
the network begins with a random episode. Real steps are all that the plant made but those of
separate evaluation episodes, whose starts are the same for both.
Two figures of a seed, both of real steps to a mean return of evaluation episodes, hybrid over
network: to the best return that the network ever has, and to 90 % of the hybrid's own, where a
network that never has it counts with all its steps. The hybrid has it from when on it keeps it, the
network when it first has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.figures import Row
from hybridmodel import (
    CEM,
    Cost,
    HybridModel,
    OptimalControlProblem,
    Policy,
    Quadratic,
    RandomSteps,
    envs,
    placement,
    receding_horizon,
)
from hybridmodel.rl.learning import learn, trial
from hybridmodel.rl.reward import Reward
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.tasks import quadrotor
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.task import Task as Machine
from physics import Trivial
from residuals import Ensemble

MEMBERS, TRIALS, TRIAL_STEPS = 5, 3, 150


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done with a machine of the demonstrations.

    cost, worst   ℓ and ℓ₀; start  generator ↦ x₀; horizon, knots, every  of the planner
    steps         of an episode; episodes  of the network's loop and of the hybrid's
    """

    machine: Machine
    cost: Cost
    worst: float
    start: Callable[[np.random.Generator], np.ndarray]
    horizon: int
    knots: int
    every: int
    steps: int
    episodes: Mapping[str, int]

    def plant(self) -> envs.Environment:
        machine, reward = self.machine, Reward(self.machine.system, self.cost)
        return envs.make(
            machine.system,
            dt=machine.dt,
            hidden=machine.hidden,
            reward=lambda x, u, k: max(0.0, 1 + reward.of_plant(x, u, k) / self.worst),
            episode_steps=TRIAL_STEPS,
        )

    def control(self, model: HybridModel) -> Policy:
        problem = OptimalControlProblem(model, self.cost, horizon=self.horizon)
        planner = CEM(
            problem, samples=400, elites=40, iterations=4, knots=self.knots, precision="float32"
        )
        return receding_horizon(planner, every=self.every)

    def model(self, kind: str, seed: int) -> HybridModel:
        machine, recipe = self.machine, self.machine.recipe
        if kind == "network":
            return HybridModel(
                Trivial.like(machine.system),
                Ensemble((64, 64), count=MEMBERS, seed=seed),
                dt=machine.dt,
                placement=placement.next_state,
                features=recipe.features,
            )
        return HybridModel(
            machine.system,
            Ensemble((32, 32), count=MEMBERS, seed=seed),
            dt=machine.dt,
            placement=recipe.placement,
            fit_parameters=recipe.fit_parameters,
            features=recipe.features,
            hold=True,
        )


def _cart_pole() -> Task:
    system = CARTPOLE.system
    state = {"position": 0.5, "angle": 2.0, "velocity": 0.05, "rate": 0.05}
    last = {"position": 5.0, "angle": 20.0, "velocity": 1.0, "rate": 1.0}
    goal = {"angle": math.pi}
    return Task(
        machine=CARTPOLE,
        cost=Quadratic(system, state=state, terminal=last, input={"force": 0.005}, target=goal),
        worst=8.0,  # what hanging costs
        start=lambda generator: 0.1 * generator.uniform(-1, 1, 4),
        horizon=40,
        knots=10,
        every=2,
        steps=100,
        episodes={"hybrid": 4, "network": 16},
    )


def _quadrotor() -> Task:
    machine = quadrotor.task()
    system, at = machine.system, np.array((0.0, 0.0, 1.5, *machine.system.neutral[3:]))
    each = {"velocity": 0.05, "rate": 0.02}
    state = dict.fromkeys("xyz", 1.0) | {f"{n}_{a}": w for n, w in each.items() for a in "xyz"}
    state |= {"attitude": 0.1}
    last = {name: 10 * weight for name, weight in state.items()}
    hold = {s.name: 0.02 for s in system.inputs}
    goal = {"z": 1.5} | dict(zip((s.name for s in system.inputs), system.hover, strict=True))

    def start(generator: np.random.Generator) -> np.ndarray:
        away = generator.standard_normal(3)
        x = at.copy()
        x[:3] += away / np.linalg.norm(away)  # 1 m from the goal
        return x

    return Task(
        machine=machine,
        cost=Quadratic(system, state=state, terminal=last, input=hold, target=goal),
        worst=1.0,  # what being 1 m away costs
        start=start,
        horizon=25,
        knots=5,
        every=2,
        steps=75,
        episodes={"hybrid": 4, "network": 20},
    )


TASKS: Mapping[str, Callable[[], Task]] = {
    "cart-pole swing-up": _cart_pole,
    "quadrotor to a point": _quadrotor,
}


def cells(quick: bool) -> list[dict[str, Any]]:
    """Both models in both tasks; where it is quick three episodes of the cart-pole, on one seed."""
    kinds = ("hybrid", "network")
    if quick:
        name = next(iter(TASKS))
        return [{"task": name, "model": kind, "seed": 0, "episodes": 3} for kind in kinds]
    return [
        {"task": name, "model": kind, "seed": s}
        for s in range(5)
        for name in TASKS
        for kind in kinds
    ]


def cell(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Real steps and returns after each episode."""
    task, kind, seed = TASKS[arguments["task"]](), arguments["model"], arguments["seed"]
    model, known = task.model(kind, seed), []
    inputs, start = task.machine.system.inputs, task.start
    with closing(task.plant()) as plant:
        if kind == "hybrid":
            policy = task.control(model)
            known = trial(plant, policy, TRIAL_STEPS, TRIALS, start=start, seed=seed)
        found = learn(
            plant,
            model,
            task.control,
            episodes=arguments.get("episodes", task.episodes[kind]),
            steps=task.steps,
            first=None if kind == "hybrid" else RandomSteps(inputs, amplitude=0.9),
            start=start,
            trials=TRIALS,
            trial_steps=TRIAL_STEPS,
            seed=seed,
        )
        history = [{"steps": 0, "trials": known}] * bool(known) + list(found.history)
        return {
            "steps": [row["steps"] for row in history],
            "returns": [float(np.mean(row["trials"])) for row in history],
        }


def rows(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    """Share of the network's real steps, and returns of both."""
    for name in TASKS:
        by_kind = {
            kind: {c["seed"]: n for c, n in found if c["task"] == name and c["model"] == kind}
            for kind in ("hybrid", "network")
        }
        seeds = sorted(by_kind["hybrid"].keys() & by_kind["network"].keys())
        if not seeds:
            continue
        what, count = f"loop, {name}", len(seeds)
        for goal, of in (("the network's best", "network"), ("90 % of the hybrid's", "hybrid")):
            shares = [share(by_kind["hybrid"][s], by_kind["network"][s], of) for s in seeds]
            yield Row(
                f"{what}: real steps, hybrid over network, to {goal} return",
                interquartile_mean(shares),
                "",
                "≤ 0.1",
                count,
                interval(shares),
            )
        for kind, runs in by_kind.items():
            best = [max(runs[s]["returns"]) for s in seeds]
            steps = [runs[s]["steps"][-1] for s in seeds]
            yield Row(
                f"{what}: real steps of all episodes, {kind}", np.median(steps), "", "", count
            )
            yield Row(
                f"{what}: best return, {kind}",
                interquartile_mean(best),
                f"of {TRIAL_STEPS}",
                "",
                count,
                interval(best),
            )


def share(hybrid: Mapping[str, Any], network: Mapping[str, Any], of: str) -> float:
    """Real steps of the hybrid over those of the network, to the best return of one of them."""
    goal = max(network["returns"]) if of == "network" else 0.9 * max(hybrid["returns"])
    ours, theirs = _kept(hybrid, goal), _reached(network, goal)
    return math.inf if ours is None else ours / (theirs or network["steps"][-1])


def _kept(run: Mapping[str, Any], goal: float) -> int | None:
    """Real steps from which on a return is kept, None where it never is."""
    worse = np.flatnonzero(np.array(run["returns"]) < goal)
    after = int(worse[-1]) + 1 if len(worse) else 0
    return run["steps"][after] if after < len(run["steps"]) else None


def _reached(run: Mapping[str, Any], goal: float) -> int | None:
    """Real steps to a return, None where it was never reached."""
    there = np.flatnonzero(np.array(run["returns"]) >= goal)
    return run["steps"][int(there[0])] if len(there) else None
