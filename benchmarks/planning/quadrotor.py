"""A quadrotor's plan with a network in its dynamics, beside the physics alone and other forms.

Back to level hover at the origin from a metre off, rolled, pitched and moving: N = 20 steps of
0.05 s, RK4, 2 × 64 tanh network with random weights in every stage, exact Hessian. A plan is a
cold `plan` by IPOPT to 1e-6; forms of the dynamics differ in how F and its derivatives are
computed, all else is the same. L4CasADi, which is float32 and has an environment of its own, calls
its network for all nodes at once and stops at 1e-5. MPPI draws its candidates once a plan, from the
plan before at the state that this leads to.
"""

from __future__ import annotations

import os
import sysconfig
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Row
from benchmarks.planning.quadrotor_forms import FORMS, START, Formed, N, problem
from benchmarks.speed.peers import Peers
from benchmarks.speed.sides import Side, Worker, times
from hybridmodel import MPPI, SQP, MultipleShooting
from hybridmodel.planners.planner import Plan, Planner, Status

WHAT = f"quadrotor, N = {N}, network in every stage"
OURS = "ours"
ROUNDS, FEW = 15, 3
ITERATIONS = 100  # real-time iterations that are timed
SAMPLES, STEPS = 1000, 30  # of MPPI
_PAUSE = 0.02  # s before a plan, in which threads of the one before go to sleep


def rows(quick: bool, peers: Peers | None = None) -> Iterator[Row]:
    rounds = FEW if quick else ROUNDS
    start = time.perf_counter()
    hybrid = MultipleShooting(problem(hybrid=True), samples=0)
    yield Row(f"{WHAT}: building the planner", time.perf_counter() - start, "s", "< 5")
    sides: dict[str, Planner] = {OURS: hybrid}
    for form in ("matrix", "kernel"):
        nominal = MultipleShooting(problem(hybrid=False), samples=0, form=form)
        sides[f"physics alone, {form}"] = nominal
    for form, make in FORMS.items():
        start = time.perf_counter()
        sides[form] = Formed(hybrid.problem, make(hybrid.problem.model))
        yield Row(f"{WHAT}: building it with {form}", time.perf_counter() - start, "s")
    seconds, plans = _timed(sides, rounds)
    yield from _compared(seconds, plans)
    if peers is not None:
        yield from _through_l4casadi(hybrid, peers)
    yield from _sampled(ITERATIONS // 5 if quick else ITERATIONS)
    with ProcessPoolExecutor(1, get_context("spawn"), _on_one_core) as pool:
        told = pool.submit(iterations, ITERATIONS).result()
    value, (low, high) = times(told)
    figure = f"{WHAT}: real-time iterations of SQP on one core"
    yield Row(figure, 1 / value, "Hz", "≥ 100", spread=(1 / high, 1 / low))


def _compared(seconds: Mapping[str, np.ndarray], plans: Mapping[str, Plan]) -> Iterator[Row]:
    ours = seconds[OURS]
    nominal = {name: found for name, found in seconds.items() if name.startswith("physics")}
    value, spread = times(ours / np.min([*nominal.values()], axis=0))
    figure = f"{WHAT}: plan / that of the physics alone in its faster form"
    yield Row(figure, value, "×", "≤ 2.5", spread=spread)
    for name, found in nominal.items():
        value, spread = times(ours / found * plans[name].iterations / plans[OURS].iterations)
        yield Row(f"{WHAT}: iteration / that of the {name}", value, "×", spread=spread)
    value, spread = times(np.min([seconds[form] for form in FORMS], axis=0) / ours)
    yield Row(f"{WHAT}: fastest of the other forms / ours", value, "×", "≥ 1", spread=spread)
    for name, plan in plans.items():
        value, (low, high) = times(seconds[name])
        figure = f"{WHAT}: a plan, {name}"
        yield Row(figure, 1e3 * value, "ms", spread=(1e3 * low, 1e3 * high))
        yield Row(f"{figure}, iterations", plan.iterations)
        yield Row(f"{figure}, cost", plan.cost)


def _timed(
    sides: Mapping[str, Planner], rounds: int
) -> tuple[dict[str, np.ndarray], dict[str, Plan]]:
    """Seconds by round, and a plan of each side; a round visits all of them in shuffled order."""
    generator = np.random.default_rng(0)
    plans = {name: planner.plan(START) for name, planner in sides.items()}
    for name, plan in plans.items():
        if plan.status is not Status.CONVERGED:
            raise RuntimeError(f"{WHAT}: {name} ended as {plan.status.value}")
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in generator.permutation(list(sides)):
            time.sleep(_PAUSE)
            seconds[name].append(sides[name].plan(START).seconds)
    return {name: np.array(found) for name, found in seconds.items()}, plans


# -- L4CasADi ------------------------------------------------------------------------------------

# the project's own worker, in L4CasADi's environment; what that lacks comes from this one
_WORKER = """
import sys

sys.path += sys.argv[1:]
from benchmarks.planning import quadrotor_forms
from benchmarks.speed import cases

cases.CASES = {"plan": quadrotor_forms.l4casadi_plan}
from benchmarks.speed import worker

worker.main()
"""


def _through_l4casadi(ours: Planner, peers: Peers) -> Iterator[Row]:
    what = f"{WHAT}: L4CasADi"
    python = peers.environments and peers.environments / "l4casadi" / "bin" / "python"
    if python is None or not python.exists():
        peers.left_out.append(f"{what} (no environment l4casadi in --venvs)")
        return
    arguments = "-c", _WORKER, sysconfig.get_path("purelib")
    side = Side(python, arguments, Path(__file__).parents[2], "plan")
    told: list[tuple[float, float]] = []
    try:
        worker = Worker(side)
        try:
            request = {"key": "plan", "case": side.case, "cfg": {}}
            converged, iterations, cost = worker.ask(cmd="setup", **request)["head"]
            for _ in range(FEW):
                time.sleep(_PAUSE)
                [seconds] = worker.ask(cmd="time", key="plan", warm=0, n=1)["t"]
                time.sleep(_PAUSE)
                told.append((seconds, ours.plan(START).seconds))
        finally:
            worker.close()
    except (RuntimeError, OSError) as error:
        peers.left_out.append(f"{what} ({error})")
        return
    if not converged:
        peers.left_out.append(f"{what} (IPOPT did not converge)")
        return
    theirs, own = np.array(told).T
    value, spread = times(theirs / own)
    yield Row(f"{what} / ours", value, "×", "≥ 1", spread=spread)
    value, (low, high) = times(theirs)
    yield Row(f"{WHAT}: a plan, L4CasADi", 1e3 * value, "ms", spread=(1e3 * low, 1e3 * high))
    yield Row(f"{WHAT}: a plan, L4CasADi, iterations", iterations)
    yield Row(f"{WHAT}: a plan, L4CasADi, cost", cost)


# -- sampling ------------------------------------------------------------------------------------


def _sampled(count: int) -> Iterator[Row]:
    """Plans a second of MPPI, one iteration each."""
    for where, hold in {"in every stage": False, "held over a step": True}.items():
        of = problem(hybrid=True, hold=hold, horizon=STEPS)
        planner = MPPI(of, samples=SAMPLES, iterations=1, precision="float32")
        plan, found = planner.plan(START), []
        for seed in range(count):
            time.sleep(_PAUSE)
            plan = planner.plan(plan.x[1], warm_start=plan.shift(), seed=seed)
            if not plan.usable:
                raise RuntimeError(f"MPPI on the quadrotor ended as {plan.status.value}")
            found.append(plan.seconds)
        value, (low, high) = times(found)
        threads = torch.get_num_threads()
        figure = f"quadrotor, MPPI {SAMPLES} × {STEPS}, f32, network {where}, {threads} threads"
        yield Row(f"{figure}: plans", 1 / value, "Hz", "≥ 100", spread=(1 / high, 1 / low))


# -- real time -----------------------------------------------------------------------------------


def _on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    torch.set_num_threads(1)


def iterations(count: int) -> list[float]:
    """Seconds of real-time iterations, each from the state that the last plan leads to, off by
    noise of 1 %."""
    generator = np.random.default_rng(0)
    sqp = SQP(problem(hybrid=True), rti=True)
    plan, found = sqp.plan(START), []
    for _ in range(count):
        x0 = plan.x[1] + 0.01 * generator.normal(size=len(START)) * np.abs(START)
        plan = sqp.plan(x0, warm_start=plan.shift())
        if not plan.usable:
            raise RuntimeError(f"{WHAT}: a real-time iteration ended as {plan.status.value}")
        found.append(plan.seconds)
    return found
