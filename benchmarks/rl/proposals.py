"""Proposals in a task of seven inputs: a KUKA iiwa follows a figure eight by CEM with few samples.

    none      from the shifted plan alone
    torque    computed torque on the nominal physics toward the joint path
    solved    the one-step inverse through the hybrid, toward the joint path
    learned   p(u | s, s′) fitted on the hybrid's logs, toward the joint path

The plant (PyBullet) carries 2 kg and has friction that the nominal physics does not know. All plan
on the same hybrid, of the demonstration's quick recipe, with the same number of samples, and begin
with the torques that hold the arm. The deviation of the samples differs: 3 % of half a range
without a policy, which has to find all by itself, and 2 % about what a policy proposes.
The joint path is the reference's inverse kinematics, found before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Row
from hybridmodel.baselines import hybrid_row, identified_row
from hybridmodel.bridges.casadi_to_torch import to_torch
from hybridmodel.closed_loop import receding_horizon
from hybridmodel.collection import collect
from hybridmodel.data import Dataset
from hybridmodel.model import HybridModel
from hybridmodel.planners import CEM, Plan, Status
from hybridmodel.rl.inverse import fit_inverse
from hybridmodel.rl.proposals import ahead, proposal
from hybridmodel.rl.solved_inverse import ModelInverse
from hybridmodel.statistics import interquartile_mean, interval
from hybridmodel.tasks.following import Following
from hybridmodel.tasks.kuka import task as kuka
from hybridmodel.tasks.task import Task

KINDS = ("none", "torque", "solved", "learned")
SECONDS, SETTLE = 2.5, 1.0  # s of a loop, and of these what does not count
SAMPLES = (32, 128)
SPREAD = {"none": 0.03, "torque": 0.02, "solved": 0.02, "learned": 0.02}  # share of half a range
_BANDWIDTH = 20.0  # rad/s


def cells(quick: bool) -> list[dict[str, Any]]:
    return [
        {"proposal": kind, "samples": samples, "seed": seed, "quick": quick}
        for samples in (SAMPLES[:1] if quick else SAMPLES)
        for kind in KINDS
        for seed in range(1 if quick else 5)
    ]


def cell(arguments: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    kind, seed = arguments["proposal"], arguments["seed"]
    task, (train, model) = kuka(), _fitted(seed)
    control = task.control
    assert isinstance(control, Following)
    policy = _policy(kind, task, model, train, seed)
    problem = control.problem(task, model)
    planner = CEM(
        problem,
        samples=arguments["samples"],
        elites=arguments["samples"] // 6,
        iterations=3,
        knots=5,
        spread=SPREAD[kind],
        warm_spread=SPREAD[kind],
        policy=policy,
        policy_share=0.15,
    )
    x0, u = control.start(task.system), np.tile(control.holding, (control.horizon, 1))

    def reference(t: float) -> np.ndarray:
        return control.reference(t + task.dt * np.arange(control.horizon + 1))

    cost, x, _ = problem.evaluate(x0, u, reference(0.0))
    loop = receding_horizon(
        planner,
        every=control.every,
        parameters=reference,
        safe_input=np.array(control.holding),
        first_plan=Plan(u=u, x=x, cost=cost, status=Status.BUDGET),
    )
    steps = round(SECONDS / task.dt)
    with task.plant("pybullet") as plant:
        log = collect(plant, loop, steps=steps, seed=seed, state=x0)
    # a run that left the plant's limits stays where it was, and pays for that
    score = replace(control, seconds=SECONDS, settle=SETTLE).score(task, problem, log)
    seconds = [plan.seconds for _, plan in loop.plans]
    return {
        "cost": score.cost,
        "rms mm": 1e3 * score.figures["error"],
        "worst mm": 1e3 * score.figures["worst"],
        "ms per plan": 1e3 * float(np.median(seconds)),
        "completed": 100.0 * (log.steps == steps),
    }


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    units = {"cost": "", "rms mm": "mm", "worst mm": "mm", "ms per plan": "ms", "completed": "%"}
    for samples in SAMPLES:
        for kind in KINDS:
            found = [n for c, n in results if (c["samples"], c["proposal"]) == (samples, kind)]
            for name, unit in units.items():
                values = [n[name] for n in found]
                if values:
                    yield Row(
                        f"proposals, {samples} samples, {kind}: {name}",
                        interquartile_mean(values),
                        unit,
                        seeds=len(values),
                        spread=interval(values),
                    )


@cache
def _fitted(seed: int) -> tuple[Dataset, HybridModel]:
    """Logs of led motions, and the hybrid on them; the cells of a seed share both."""
    task = kuka().quick()
    with task.plant("pybullet") as plant:
        logs = task.logging.make(task, plant, seed)
    train, validation = Dataset(logs.train), Dataset(logs.validation)
    identified = identified_row(task.system, train, validation, task.recipe, seed=seed).model
    model = hybrid_row(identified, train, validation, task.recipe, seed=seed).model
    model.backend = "kernel"
    return train, model


def _policy(
    kind: str, task: Task, model: HybridModel, data: Dataset, seed: int
) -> Callable[[Tensor], Tensor] | None:
    if kind == "none":
        return None
    path = _joint_path(task)
    system, n = task.system, task.system.nu
    near = {s.name: 1.0 for s in system.states[:n]} | {s.name: 0.05 for s in system.states[n:]}
    goal = ahead(system, path, steps=1, weights=near)
    if kind == "learned":
        return proposal(fit_inverse(system, data, epochs=60, seed=seed), goal)
    if kind == "solved":
        # what an error of position costs is what it takes to remove it in about 50 ms
        weights = {s.name: 400.0 for s in system.states[:n]} | {
            s.name: 1.0 for s in system.states[n:]
        }
        inverse = ModelInverse(model, steps=1, weights=weights, effort=1e-7, iterations=2)
        return proposal(inverse, goal)
    return _computed_torque(task, path, ahead(system, path, steps=0, weights=near))


def _computed_torque(
    task: Task, path: Tensor, here: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """u = M(q)(q̈_r + 2ω (q̇_r − q̇) + ω² (q_r − q)) + b, at the point of the path next to x."""
    system: Any = task.system
    n, p = system.nu, system.namespace()
    q, v, a = (ca.SX.sym(name, n) for name in ("q", "v", "a"))
    torque = system.mass_matrix(q, p) @ a + system.bias(q, v, p)
    law = to_torch(ca.Function("torque", [q, v, a], [torque]))
    speeding = torch.gradient(path[:, n:], spacing=task.dt, dim=0)[0]
    rows = torch.cat([path, speeding], 1)

    def policy(x: Tensor) -> Tensor:
        wanted = here(x)
        nearest = (wanted[:, None] - path).abs().sum(-1).argmin(-1)
        q, v = x[:, :n], x[:, n : 2 * n]
        q_r, v_r, a_r = rows[nearest].split(n, dim=1)
        pull = 2 * _BANDWIDTH * (v_r - v) + _BANDWIDTH**2 * (q_r - q)
        return law(q, v, a_r + pull)

    return policy


def _joint_path(task: Task) -> Tensor:
    """(T, 14) joints and rates whose flange follows the reference, near the home posture."""
    control, n = task.control, task.system.nu
    assert isinstance(control, Following)
    x = ca.SX.sym("x", task.system.nx)
    place = ca.Function("place", [x], [control.follows(x), ca.jacobian(control.follows(x), x)])
    steps = round((SECONDS + control.horizon * task.dt) / task.dt) + 1
    home = np.array(control.at[:n])
    q, found = home.copy(), []
    for wanted in control.reference(task.dt * np.arange(steps + 1)):
        for _ in range(5):
            y, J = (np.array(v) for v in place(np.append(q, np.zeros(n))))
            J = J[:, :n]
            inverse = J.T @ np.linalg.inv(J @ J.T + 1e-6 * np.eye(3))
            rest = (np.eye(n) - inverse @ J) @ (home - q)
            q = q + inverse @ (wanted - y.ravel()) + 0.2 * rest
        found.append(q)
    joints = torch.tensor(np.array(found))
    return torch.cat([joints, torch.gradient(joints, spacing=task.dt, dim=0)[0]], 1)[:-1]
