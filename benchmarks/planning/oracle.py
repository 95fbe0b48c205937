"""Planners where the answer is known: linear-quadratic problems, and the way back to a solution.

    J* = x₀ᵀ P₀ x₀,   P_k = Q + Aᵀ P_{k+1} (A − B K_k),   K_k = (R + Bᵀ P_{k+1} B)⁻¹ Bᵀ P_{k+1} A

A, B of the model's own step, ten random systems, bounds inactive. Random shooting: in n dimensions
the expected gap of the best of N candidates falls as N^{−2/n}. Nonlinear problems are the swing-ups
of `hybridmodel demo` from random states near rest. Gradient planners start from IPOPT's solution
off by 10 %, each number by a normal factor: multiple shooting from such inputs and states. Planners
that roll inputs out would start at another optimum, since uₖ (1 + 0.1 ξₖ) alone does not even stay
upright; they get the inputs of a rollout in which TVLQR corrects these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.figures import Row
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
    Quadratic,
    RandomShooting,
    tvlqr,
)
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.pendulum import PENDULUM
from hybridmodel.tasks.swing_up import SwingUp
from physics import Linear

Make = Callable[[OptimalControlProblem], Planner]
H = 10
DT = 0.1
SLACK = 3.0  # bounds, as a multiple of the largest optimal input
STARTS = 5  # of IPOPT by CEM: swing-ups have many local optima, the best one is the solution
AMOUNT = 0.1  # by which the inputs of a solution are off
DRAWS = 200  # of random shooting
COUNTS = (100, 400, 1600, 6400)

EXACT: Mapping[str, tuple[Make, float]] = {  # planner, relative error in cost
    "MultipleShooting": (lambda p: MultipleShooting(p, tolerance=1e-10), 1e-6),
    "SQP": (lambda p: SQP(p, tolerance=1e-10), 1e-6),
    "ILQR": (lambda p: ILQR(p), 1e-6),
    "GradientDescent, 1000 steps": (
        lambda p: GradientDescent(p, iterations=1000, rate=0.05, starts=1),
        1e-6,
    ),
    "CEM, 20 iterations": (lambda p: CEM(p, samples=400, elites=40, iterations=20), 1e-3),
    "ICEM, 20 iterations": (
        lambda p: ICEM(p, samples=400, elites=20, iterations=20, colour=0.0, decay=1.1),
        1e-3,
    ),
    "MPPI, annealed, 20 iterations": (lambda p: MPPI(p, samples=400, iterations=20), 1e-3),
}
RETURNING: Mapping[str, Make] = {
    "MultipleShooting": lambda p: MultipleShooting(p, tolerance=1e-8),
    "SQP": lambda p: SQP(p),
    "ILQR, second order": lambda p: ILQR(p, second_order=True),
    "GradientDescent, 2000 steps": lambda p: GradientDescent(
        p, iterations=2000, rate=0.01, starts=1
    ),
}
ROLLING = ("ILQR, second order", "GradientDescent, 2000 steps")
NONLINEAR = {"pendulum": PENDULUM, "cart-pole": CARTPOLE}


@dataclass(frozen=True)
class Regulator:
    """A linear-quadratic problem from x0 (nx,) with its optimal cost."""

    problem: OptimalControlProblem
    x0: np.ndarray
    optimum: float


def rows(quick: bool) -> Iterator[Row]:
    """All figures; over ten seeds, three where it is quick."""
    seeds = 3 if quick else 10
    yield from optima(seeds)
    yield from random_shooting(DRAWS // 4 if quick else DRAWS)
    for name in NONLINEAR:
        yield from returns(name, seeds)


def optima(seeds: int) -> Iterator[Row]:
    """Every planner against the Riccati recursion, one random system a seed."""
    known = [regulator(seed) for seed in range(seeds)]
    for name, (make, most) in EXACT.items():
        errors = []
        for seed, case in enumerate(known):
            plan = make(case.problem).plan(case.x0, seed=seed)
            errors.append(abs(plan.cost / case.optimum - 1) if plan.usable else np.inf)
        yield _worst(f"LQR, H = {H}, {name}: cost above the optimum", errors, f"≤ {most:g}")


def random_shooting(draws: int) -> Iterator[Row]:
    """The exponent at which the mean gap falls with N, in two dimensions: −1."""
    case, gaps = regulator(0, horizon=2), []
    for count in COUNTS:
        planner = RandomShooting(case.problem, samples=count, spread=0.5)
        costs = [planner.plan(case.x0, seed=seed).cost for seed in range(draws)]
        gaps.append(float(np.mean(costs)) / case.optimum - 1)
        yield Row(f"LQR, two inputs, best of {count} at random: mean gap", gaps[-1], seeds=draws)
    slope = float(np.polyfit(np.log(COUNTS), np.log(gaps), 1)[0])
    what = f"LQR, random shooting: |exponent of N / (−2/n) − 1|, N = {COUNTS[0]} … {COUNTS[-1]}"
    yield Row(what, abs(slope / -1.0 - 1), "", "≤ 0.15", draws)


def returns(name: str, seeds: int) -> Iterator[Row]:
    """Gradient planners from a solution with inputs that are off."""
    task = NONLINEAR[name]
    control = task.control
    assert isinstance(control, SwingUp)
    problem = control.problem(task, HybridModel(task.system, dt=task.dt))
    ipopt = MultipleShooting(problem, tolerance=1e-8, iterations=500)
    search = CEM(problem, samples=300, elites=30, iterations=10, knots=12)
    planners = {kind: make(problem) for kind, make in RETURNING.items()}
    errors: dict[str, list[float]] = {kind: [] for kind in planners}
    for seed in range(seeds):
        generator = np.random.default_rng((3, seed))
        x0 = generator.uniform(-0.3, 0.3, task.system.nx)
        firsts = (search.plan(x0, seed=STARTS * seed + i) for i in range(STARTS))
        solution = min((ipopt.plan(x0, warm_start=f) for f in firsts), key=lambda p: p.cost)
        off, rolled = _perturbed(solution, problem, generator)
        for kind, planner in planners.items():
            near = rolled if kind in ROLLING else off
            plan = planner.plan(x0, warm_start=near, seed=seed)
            errors[kind].append(plan.cost / solution.cost - 1 if plan.usable else np.inf)
        errors.setdefault("at the start of a rollout", []).append(rolled.cost / solution.cost - 1)
    what = f"{name}, from IPOPT's solution off by {AMOUNT:.0%}"
    for kind, found in errors.items():
        bar = "≤ 0.0001" if kind in planners else ""
        yield _worst(f"{what}, {kind}: cost above the solution", found, bar)


def regulator(seed: int, horizon: int = H) -> Regulator:
    """A random system of 2 to 4 states and one input, stable or not, with random weights."""
    generator = np.random.default_rng((1, seed))
    n = 2 + seed % 3
    flow = (generator.normal(size=(n, n)) / np.sqrt(n)).tolist()
    drive = generator.normal(size=(n, 1)).tolist()
    Q, R = generator.uniform(0.1, 1.0, n), float(generator.uniform(0.02, 0.2))
    x0 = generator.normal(size=n)
    system = Linear(A=tuple(map(tuple, flow)), B=tuple(map(tuple, drive)))
    names = [signal.name for signal in system.states]
    cost = Quadratic(
        system,
        state=dict(zip(names, Q, strict=True)),
        input={system.inputs[0].name: R},
        terminal=dict(zip(names, 5 * Q, strict=True)),
    )
    model = HybridModel(system, dt=DT)
    zeros = (torch.zeros(size, dtype=torch.float64) for size in (n, 1))
    A, B = (matrix.numpy() for matrix in model.linearize(*zeros))
    optimum, u = riccati(A, B, np.diag(Q), np.array([[R]]), np.diag(5 * Q), x0, horizon)
    bound = SLACK * float(np.abs(u).max())
    bounds = [-bound], [bound]
    problem = OptimalControlProblem(model, cost, horizon=horizon, input_bounds=bounds)
    return Regulator(problem, x0, optimum)


def riccati(
    A: np.ndarray,
    B: np.ndarray,
    Q: np.ndarray,
    R: np.ndarray,
    last: np.ndarray,
    x0: np.ndarray,
    horizon: int,
) -> tuple[float, np.ndarray]:
    """Optimal cost and inputs (H, nu) from x0 (nx,) with terminal weight `last`."""
    P, gains = last, []
    for _ in range(horizon):
        gains.append(np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A))
        P = Q + A.T @ P @ (A - B @ gains[-1])
    x, u = x0, []
    for K in reversed(gains):
        u.append(-K @ x)
        x = A @ x + B @ u[-1]
    return float(x0 @ P @ x0), np.array(u)


def _perturbed(
    plan: Plan, problem: OptimalControlProblem, generator: np.random.Generator
) -> tuple[Plan, Plan]:
    """Inputs and states off by 10 %, and a rollout of such inputs corrected by TVLQR."""
    cost, model, x0 = problem.cost, problem.model, plan.x[0]
    assert isinstance(cost, Quadratic)
    low, high = problem.input_low, problem.input_high
    u = plan.u * (1 + AMOUNT * generator.standard_normal(plan.u.shape))
    x = plan.x * (1 + AMOUNT * generator.standard_normal(plan.x.shape))
    x[0] = x0
    off = replace(plan, u=np.clip(u, low, high), x=x, multipliers={}, gains=None)
    weights = np.diag(cost.state), np.diag(cost.input)
    gains = tvlqr(problem, plan, *weights, final=np.diag(cost.final)).gains
    assert gains is not None
    at, inputs = x0, []
    for k, K in enumerate(gains):
        inputs.append(np.clip(u[k] + K @ (at - plan.x[k]), low, high))
        with torch.no_grad():
            at = model(torch.from_numpy(at), torch.from_numpy(inputs[-1])).numpy()
    total, states, _ = problem.evaluate(x0, np.array(inputs))
    rolled = replace(off, u=np.array(inputs), x=states, cost=total)
    return replace(off, cost=np.nan), rolled


def _worst(figure: str, errors: list[float], bar: str) -> Row:
    """The largest of the errors; their range is told beside it."""
    return Row(figure, max(errors), "", bar, len(errors), (min(errors), max(errors)))
