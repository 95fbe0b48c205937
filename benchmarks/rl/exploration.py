"""Exploration by disagreement against random excitation: data to the same accuracy.

Two plants in PyBullet that hide things, each with the hybrid ensemble of `benchmarks.rl.loop`. Both
ways collect episodes of one length from one distribution of starts at rest; one plans each next
episode for where the members of the model so far part (`Curiosity`), the other draws `RandomSteps`
of the inputs, on the cart-pole with the pull to the middle of the rail that its logs in
`hybridmodel demo` have. Every fit takes the same number of gradient steps, however much data there
are. Accuracy is the error of free runs of ten steps from states and under inputs drawn
over all that the machine can do, into which the plant is placed; these runs are seen by nobody. A
seed's figure: real steps from which on exploration is as accurate as random excitation is with all
its data, as a share of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.figures import Row
from hybridmodel import (
    CEM,
    HybridModel,
    OptimalControlProblem,
    Policy,
    RandomSteps,
    envs,
    evaluate,
    fit,
    receding_horizon,
)
from hybridmodel.collection import collect
from hybridmodel.data import Dataset
from hybridmodel.excitation import Centered
from hybridmodel.rl.exploration import Curiosity
from hybridmodel.rl.learning import dealt
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import Attempts
from hybridmodel.tasks.task import Task as Machine
from residuals import Ensemble

STEPS, HORIZON, RUNS, AHEAD = 100, 25, 200, 10
UPDATES, BATCH = 300, 256  # gradient steps of each of the two stages of a fit, about
EPISODES, EVERY = {"random": 12, "disagreement": 6}, 4


@dataclass(frozen=True)
class Plant:
    """A machine, where its states are drawn for the test, and where exploration is to stay.

    The test is of |x − middle| ≤ reach; bounds of states are those that its users would name.
    """

    machine: Machine
    middle: tuple[float, ...]
    reach: tuple[float, ...]
    bounds: tuple[tuple[float, ...], tuple[float, ...]]


_TURNS = math.inf
PLANTS: Mapping[str, Plant] = {
    "pendulum": Plant(PENDULUM, (0.0, 0.0), (math.pi, 8.0), ((-_TURNS, -8.0), (_TURNS, 8.0))),
    "cart-pole": Plant(
        CARTPOLE,
        (0.0,) * 4,
        (1.5, math.pi, 3.0, 8.0),
        ((-1.8, -_TURNS, -3.0, -8.0), (1.8, _TURNS, 3.0, 8.0)),
    ),
}


def cells(quick: bool) -> list[dict[str, Any]]:
    """Both ways on both plants, five seeds; where it is quick the pendulum on one."""
    names, seeds = (list(PLANTS)[:1], range(1)) if quick else (list(PLANTS), range(5))
    return [{"plant": name, "way": w, "seed": s} for s in seeds for name in names for w in EPISODES]


def cell(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Real steps and test errors after each episode."""
    case, way, seed = PLANTS[arguments["plant"]], arguments["way"], arguments["seed"]
    machine = case.machine
    start = HybridModel(
        machine.system,
        Ensemble((32, 32), count=5, seed=seed),
        dt=machine.dt,
        placement=machine.recipe.placement,
        fit_parameters=machine.recipe.fit_parameters,
        hold=True,
    )
    with closing(envs.make(machine.system, dt=machine.dt, hidden=machine.hidden)) as plant:
        return explored(case, plant, start, way, seed)


def explored(
    case: Plant, plant: envs.Environment, start: HybridModel, way: str, seed: int
) -> dict[str, Any]:
    """Real steps and test errors of one seed; of random excitation after every fourth episode."""
    machine = case.machine
    test, wave = tested(case, plant), drawn(machine)
    model, logs, steps, errors = start, [], [], []
    for k in range(EPISODES[way]):
        policy = wave if way == "random" or k == 0 else curious(case, model)
        generator = np.random.default_rng((seed, k))
        x0 = np.array(machine.system.neutral) + 0.1 * generator.uniform(-1, 1, machine.system.nx)
        logs.append(collect(plant, policy, steps=STEPS, seed=1000 * seed + k, state=x0))
        if way == "random" and (k + 1) % EVERY:
            continue  # its model decides nothing
        train, validation = dealt(logs, 20)
        epochs = UPDATES // -(-train.steps // BATCH)
        model = fit(
            start,
            train,
            validation,
            horizons=(1, 5),
            epochs=epochs,
            batch_size=BATCH,
            patience=epochs,
            seed=seed,
        ).model
        steps.append(sum(log.steps for log in logs))
        errors.append(evaluate(model, test, horizon=AHEAD, stride=AHEAD).at(AHEAD))
    return {"steps": steps, "errors": errors}


def drawn(machine: Machine) -> Policy:
    """Random excitation; on a rail with a pull to its middle."""
    wave = RandomSteps(machine.system.inputs, amplitude=0.9)
    gains = machine.logging.gains if isinstance(machine.logging, Attempts) else ()
    return Centered(wave, gains) if gains else wave


def curious(case: Plant, model: HybridModel) -> Policy:
    """Plans for doubt alone."""
    problem = OptimalControlProblem(
        model, Curiosity(model), horizon=HORIZON, state_bounds=case.bounds
    )
    planner = CEM(problem, samples=200, elites=20, iterations=3, knots=6, precision="float32")
    return receding_horizon(planner, every=2)


def tested(case: Plant, plant: envs.Environment) -> Dataset:
    """Short runs from drawn states under drawn inputs; those that end early are left out."""
    generator = np.random.default_rng(7)
    wave = RandomSteps(case.machine.system.inputs, amplitude=1.0)
    runs = []
    while len(runs) < RUNS:
        x = np.array(case.middle) + np.array(case.reach) * generator.uniform(
            -1, 1, len(case.middle)
        )
        run = collect(plant, wave, steps=AHEAD, seed=int(generator.integers(2**31)), state=x)
        if run.steps == AHEAD:
            runs.append(run)
    return Dataset(runs)


def rows(found: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    """Share of the data of random excitation, and both errors at the same number of steps."""
    for name in PLANTS:
        runs = {
            way: {c["seed"]: n for c, n in found if (c["plant"], c["way"]) == (name, way)}
            for way in EPISODES
        }
        seeds = sorted(runs["random"].keys() & runs["disagreement"].keys())
        if not seeds:
            continue
        shares = [share(runs["disagreement"][s], runs["random"][s]) for s in seeds]
        what, count = f"exploration, {name}", len(seeds)
        yield Row(
            f"{what}: data of disagreement over random, to random's accuracy",
            interquartile_mean(shares),
            "",
            "≤ 0.333",
            count,
            interval(shares),
        )
        for way, last in (("random", -1), ("random", 0), ("disagreement", EVERY - 1)):
            errors = [runs[way][s]["errors"][last] for s in seeds]
            data = "all its data" if last == -1 else f"{EVERY} episodes"
            yield Row(
                f"{what}: error at {AHEAD} steps after {data}, {way}",
                interquartile_mean(errors),
                "of the range",
                "",
                count,
                interval(errors),
            )


def share(explored: Mapping[str, Any], drawn: Mapping[str, Any]) -> float:
    """Steps of exploration to the last error of random excitation, over those of the latter."""
    worse = np.flatnonzero(np.array(explored["errors"]) > drawn["errors"][-1])
    after = int(worse[-1]) + 1 if len(worse) else 0
    if after == len(explored["steps"]):
        return math.inf
    return explored["steps"][after] / drawn["steps"][-1]
