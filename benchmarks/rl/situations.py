"""New situations at test time: an arm in PyBullet that only replans, beside a policy of before.

    old        reach a point with the tip, as the policy was trained for
    obstacle   a disc that the tip must not enter, on the way that the planner took before
    limit      the motors' torques are cut to 70 %
    payload    the second link is 0.3 kg heavier

Both use one hybrid, fitted on 24 s of excitations of the old situation. The policy is a network
(state, goal) ↦ u, trained through the hybrid by gradients on the planner's own cost. The planner
(CEM) is told the obstacle and the limit; of the payload it is told nothing, told the mass, or it
follows the mass while it runs. Success: the tip within 8 cm of the goal over the last 0.4 s of 3 s,
and never in the disc. Goals are drawn such that the motors of the situation can hold them; nothing
else selects them: neither is asked beforehand whether it reaches a goal without the disc.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import casadi as ca
import numpy as np
import torch

import hybridmodel as hm
from benchmarks.figures import Row
from benchmarks.rl.arm import (
    RADIUS,
    STEPS,
    TASK,
    Acting,
    Instance,
    Network,
    Reaching,
    cost_of,
    holds,
    judged,
    tip,
    tips,
    train,
)
from benchmarks.rl.fitted import excited, fitted
from hybridmodel.model import HybridModel
from hybridmodel.online import ParameterFilter
from hybridmodel.statistics import interquartile_mean, interval

LIMIT, LOAD = 0.7, 0.3  # share of the torques, kg
INSTANCES = 6  # of each situation, drawn by the seed
HORIZON, EVERY = 40, 4  # steps of a plan, and from plan to plan
SITUATIONS = ("old", "obstacle", "limit", "payload")
CONTROLLERS = {
    "planner": SITUATIONS,
    "planner told": ("payload",),
    "planner adapting": ("payload",),
    "policy": SITUATIONS,
}


def cells(quick: bool) -> list[dict[str, Any]]:
    return [
        {"controller": controller, "seed": seed, "quick": quick}
        for seed in range(1 if quick else 5)
        for controller in CONTROLLERS
    ]


def cell(arguments: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a controller in each of its situations."""
    torch.set_num_threads(1)
    controller, seed, quick = arguments["controller"], arguments["seed"], arguments["quick"]
    return {each: _tried(each, controller, seed, quick) for each in CONTROLLERS[controller]}


def _tried(situation: str, controller: str, seed: int, quick: bool) -> dict[str, Any]:
    model = _hybrid(seed, quick)
    instances = drawn(situation, seed, 4 if quick else INSTANCES, model)
    reached, costs, away = [], [], []
    for number, instance in enumerate(instances):
        if controller == "policy":
            share = LIMIT if situation == "limit" else 1.0
            policy: Any = Acting(_trained(seed, quick), instance.goal, share)
        else:
            policy = planning(model, situation, instance, controller)
        log = run(situation, policy, 1000 * seed + number)
        success, distance = judged(log, instance)
        reached.append(success)
        away.append(distance)
        costs.append(cost_of(log, instance.goal))
    return {
        "success": 100 * float(np.mean(reached)),
        "cost": float(np.mean(costs)),
        "distance mm": 1e3 * float(np.median(away)),
        "instances": len(instances),
    }


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    for situation in SITUATIONS:
        for controller in CONTROLLERS:
            found = [
                n[situation] for c, n in results if c["controller"] == controller and situation in n
            ]
            for name, unit in (("success", "%"), ("cost", ""), ("distance mm", "mm")):
                values = [n[name] for n in found]
                if values:
                    yield Row(
                        f"situations, {situation}, {controller}: {name}",
                        interquartile_mean(values),
                        unit,
                        seeds=len(values),
                        spread=interval(values),
                    )


def drawn(situation: str, seed: int, count: int, model: HybridModel) -> list[Instance]:
    """Instances whose goal the motors can hold; discs on the planner's way of the old situation."""
    generator = np.random.default_rng((59, SITUATIONS.index(situation), seed))
    share = LIMIT if situation == "limit" else 1.0
    load = LOAD if situation == "payload" else 0.0
    found: list[Instance] = []
    while len(found) < count:
        q = generator.uniform((-1.7, -1.8), (1.7, 1.8))
        goal = tips(np.append(q, (0, 0)))
        far = np.linalg.norm(goal - tips(np.zeros(4))) > 0.3
        if not (far and holds(q, share, load)):
            continue
        if situation != "obstacle":
            found.append(Instance(goal))
            continue
        free = Instance(goal)
        log = run("old", planning(model, "old", free, "planner"), 7)
        way = tips(log.x) if log.x is not None else np.zeros((1, 2))
        near = [p for p in way if min(np.linalg.norm(p - goal), np.linalg.norm(p - way[0])) > 0.13]
        if near:
            middle = near[int(generator.integers(len(near)))]
            found.append(Instance(goal, middle + generator.uniform(-0.02, 0.02, 2)))
    return found


def planning(model: HybridModel, situation: str, instance: Instance, controller: str) -> Any:
    """CEM on the hybrid, told of the situation what its name says."""
    share = LIMIT if situation == "limit" else 1.0
    bounds = [[share * getattr(s, b) for s in TASK.system.inputs] for b in ("low", "high")]
    own = copy.deepcopy(model)
    if controller == "planner told":
        with torch.no_grad():
            row = own.fit_parameters.index("mass2")
            values = own.parameter_values()
            own.theta[row] += math.log((values["mass2"] + LOAD) / values["mass2"])
    obstacle = None
    if instance.disc is not None:
        cx, cz = instance.disc
        wide = (RADIUS + 0.015) ** 2

        def obstacle(x: ca.SX, u: ca.SX, pi: ca.SX) -> ca.SX:
            return 10 * (wide - ca.sumsqr(tip(x) - ca.DM([cx, cz])))

    problem = hm.OptimalControlProblem(
        own,
        Reaching(),
        horizon=HORIZON,
        input_bounds=(bounds[0], bounds[1]),
        inequality=obstacle,
    )
    planner = hm.CEM(problem, samples=300, elites=30, iterations=5, knots=5, warm_spread=0.15)
    loop = hm.receding_horizon(planner, every=EVERY, parameters=instance.goal)
    if controller != "planner adapting":
        return loop
    follower = ParameterFilter(own, ("mass2",), noise=MISSED, deviation=0.5, walk=0.1)
    return hm.adapt(loop, own, learners=(follower,))


MISSED: dict[str, float] = {
    "shoulder": 2e-3,
    "elbow": 2e-3,
    "shoulder_rate": 0.1,
    "elbow_rate": 0.1,
}  # of a step: noisy sensors and what the hybrid misses


def run(situation: str, policy: Any, seed: int) -> hm.Trajectory:
    """One episode from rest in the plant of a situation."""
    hidden = TASK.hidden
    if situation == "payload":
        hidden = replace(hidden, parameters={"mass2": hidden.parameters["mass2"] + LOAD})
    start = np.random.default_rng((61, seed)).uniform(-0.05, 0.05, 4)
    with replace(TASK, hidden=hidden).plant("pybullet") as plant:
        return hm.collect(plant, policy, steps=STEPS, seed=seed, state=start)


@cache
def _hybrid(seed: int, quick: bool) -> HybridModel:
    model = fitted(TASK, excited(TASK, logs=8, seed=seed), "hybrid", seed=seed, quick=quick)
    model.backend = "kernel"  # the training asks for single steps
    return model


@cache
def _trained(seed: int, quick: bool) -> Network:
    network = Network(TASK, seed)
    train(_hybrid(seed, quick), network, steps=15 if quick else 50, seed=seed)
    return network
