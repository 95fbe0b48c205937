"""Optimal control of the cart-pole by gradients, beside the same problem in other tools.

    min  Σ_{k=1…H} (q(x_k) + ρ u_{k−1}²) + 20 q(x_H)   with  x_{k+1} = F(x_k, u_k),  |u| ≤ 10 N

q, ρ and F of `benchmarks.speed.cart_pole`, the network in every stage of RK4, H = 40; start and
weights of `benchmarks.speed.curvature`. A cold start is x_k = x₀, u = 0. Time is that of a whole
plan from x₀ on: of ours a call of `plan`, which also rolls its inputs out and checks them, of
peers IPOPT's solve alone. Ours stop at 1e-8 as CasADi's MX does; L4CasADi, which is float32,
stops at 1e-5. Peers have a process each; all take two threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import casadi as ca
import numpy as np

from benchmarks.figures import Row
from benchmarks.speed import cart_pole
from benchmarks.speed.curvature import LAST, PAUSE, START, H
from benchmarks.speed.peers import Peers, Rival
from benchmarks.speed.sides import Side, Sides, Worker, times
from hybridmodel import SQP, MultipleShooting, OptimalControlProblem
from hybridmodel.planners import Plan, Planner, Status

WHAT = f"cart-pole, H = {H}, network in every stage"
TOLERANCE = 1e-8
STARTS = 12
DISTURBANCES = 20
_SHARE = 0.02  # of a state's range over the plan
_REPEATS = 3  # of a call of a few milliseconds
_MX = Rival("CasADi's MX", "core", "impl_w3", ("MX-exact", "MX-exact-thread"))
_L4 = Rival("L4CasADi", "l4casadi", "impl_l4c", ("batchedJJ-exact", "naive-exact"))


class Balancing(cart_pole.Swinging):
    """J of the module's head: states count after each step, the last one 20 times more."""

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return (1 + LAST) * self._state(x) - self._state(ca.SX(ca.DM(START)))

    def _state(self, x: ca.SX) -> ca.SX:
        none = ca.SX(0, 1)
        return self.stage(x, ca.SX(1, 1), none, none)


def problem() -> OptimalControlProblem:
    return OptimalControlProblem(cart_pole.model(hold=False), Balancing(), horizon=H)


def rows(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    of = problem()
    ours: dict[str, Planner] = {
        "SQP": SQP(of, tolerance=TOLERANCE),
        "IPOPT on the kernel": MultipleShooting(of, tolerance=TOLERANCE, samples=0, form="kernel"),
        "IPOPT on MX": MultipleShooting(of, tolerance=TOLERANCE, samples=0, form="matrix"),
    }
    yield from _rivalry(of, ours, sides, peers)
    sqp = ours["SQP"]
    assert isinstance(sqp, SQP)
    yield from _starts(sqp)
    yield from _replans(sqp)


# -- beside others -------------------------------------------------------------------------------


@dataclass
class _Solves:
    """What a side told, and how long it took each round."""

    u: np.ndarray  # (H,)
    iterations: int
    seconds: list[float] = field(default_factory=list)


def _rivalry(
    of: OptimalControlProblem, ours: Mapping[str, Planner], sides: Sides, peers: Peers
) -> Iterator[Row]:
    found = peers.sides(WHAT, (_MX, _L4), {"res": "ode", "dtype": "f64"})
    others = {name: side for part in found.values() for name, side in part.items()}
    solves = _timed(ours, others, peers, sides.rounds)
    ran = {rival: [name for name in part if name in solves] for rival, part in found.items()}
    mx, l4 = (ran.get(rival, []) for rival in (_MX, _L4))
    for faster, slower, told, bar in (
        ("SQP", ["IPOPT on MX"], "our IPOPT on MX", "≥ 12"),
        ("SQP", mx, "IPOPT on CasADi's MX", "≥ 12"),
        ("SQP", l4, "IPOPT on L4CasADi", "≥ 5"),
        ("IPOPT on the kernel", l4, "IPOPT on L4CasADi", "≥ 3"),
        ("IPOPT on the kernel", ["IPOPT on MX"], "our IPOPT on MX", ""),
    ):
        if slower:
            best = np.min([solves[name].seconds for name in slower], axis=0)
            value, spread = times(best / np.array(solves[faster].seconds))
            yield Row(f"{WHAT}: {told} / our {faster}", value, "×", bar, spread=spread)
    for name, told in solves.items():
        value, (low, high) = times(told.seconds)
        figure = f"{WHAT}: {'our ' if name in ours else ''}{name}"
        yield Row(f"{figure}, a plan from cold", 1e3 * value, "ms", spread=(1e3 * low, 1e3 * high))
        yield Row(f"{figure}, iterations", told.iterations)
        u = told.u.clip(-cart_pole.FORCE, cart_pole.FORCE)[:, None]
        yield Row(f"{figure}, cost of its plan rolled out", of.evaluate(np.array(START), u)[0])


def _timed(
    ours: Mapping[str, Planner], others: Mapping[str, Side], peers: Peers, rounds: int
) -> dict[str, _Solves]:
    """Every side solves once a round, in shuffled order; one that fails is left out."""
    generator = np.random.default_rng(0)
    solves: dict[str, _Solves] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, planner in ours.items():
            plan = planner.plan(np.array(START))  # what is compiled is, then
            if plan.status is not Status.CONVERGED:
                raise RuntimeError(f"{WHAT}: {name} ended as {plan.status.value}")
            solves[name] = _Solves(plan.u[:, 0], plan.iterations)
        for name, side in others.items():
            try:
                worker = Worker(side)
                stack.callback(worker.close)
                workers[name] = worker
                solves[name] = _set_up(worker, name, side)
                peers.versions.update(worker.versions)
            except (RuntimeError, OSError) as error:
                peers.left_out.append(f"{WHAT}: {name} ({error})")
        for _ in range(rounds):
            for name in generator.permutation(list(solves)):
                time.sleep(PAUSE)
                if name in ours:
                    seconds = ours[name].plan(np.array(START)).seconds
                else:
                    seconds = workers[name].ask(cmd="time", key=name, warm=0, n=1)["t"][0]
                solves[name].seconds.append(seconds)
    return solves


def _set_up(worker: Worker, name: str, side: Side) -> _Solves:
    configuration = dict(side.configuration)
    answer = worker.ask(cmd="setup", key=name, case=side.case, cfg=configuration)
    extra = answer["extra"]
    if not extra["ok"]:
        raise RuntimeError(f"IPOPT did not converge in {extra['iters']} iterations")
    return _Solves(np.array(answer["head"][:H]), extra["iters"])


# -- robustness ----------------------------------------------------------------------------------


def _starts(sqp: SQP) -> Iterator[Row]:
    """Cold from random states, each with one attempt; and from random inputs, rolled out."""
    generator = np.random.default_rng(0)
    spread = np.array([0.5, 1.0, np.pi, 1.0])
    states = [generator.uniform(-spread, spread) for _ in range(STARTS)]
    plans = [sqp.plan(x0) for x0 in states]
    yield _count(plans, "converged from random states at rest")
    guesses = []
    for _ in range(STARTS):
        u = generator.uniform(-cart_pole.FORCE, cart_pole.FORCE, (H, 1))
        cost, x, _ = sqp.problem.evaluate(np.array(START), u)
        guesses.append(Plan(u=u, x=x, cost=cost, status=Status.BUDGET))
    plans = [sqp.plan(np.array(START), warm_start=guess) for guess in guesses]
    yield _count(plans, "converged from random inputs")


def _count(plans: Sequence[Plan], what: str) -> Row:
    count = sum(plan.status is Status.CONVERGED for plan in plans)
    figure = f"{WHAT}: {what}, our SQP, of {STARTS}"
    return Row(figure, count, "", f"≥ {STARTS}", seeds=STARTS)


# -- again from nearby ---------------------------------------------------------------------------


def _replans(sqp: SQP) -> Iterator[Row]:
    """A plan of before, at a state that is off by 2 % of each state's range over it."""
    generator = np.random.default_rng(1)
    before = sqp.plan(np.array(START))
    shifted = before.shift()
    ratios: dict[tuple[str, str], list[float]] = {}
    excess = []
    for _ in range(DISTURBANCES):
        off = _SHARE * np.ptp(before.x, axis=0) * generator.choice([-1.0, 1.0], before.x.shape[1])
        for when, guess in {"": before, " one step later": shifted}.items():
            x0 = guess.x[0] + off
            cold = _seconds(lambda x0=x0: sqp.plan(x0))
            taken = {
                "warm": _seconds(lambda x0=x0, guess=guess: _converged(sqp, x0, guess)),
                "preparation": _seconds(lambda guess=guess: sqp.prepare(guess)),
                "feedback": _seconds(lambda x0=x0: sqp.feedback(x0)),
            }
            taken["real-time iteration"] = taken["preparation"] + taken["feedback"]
            for part, seconds in taken.items():
                ratios.setdefault((part, when), []).append(seconds / cold)
            if guess is before:
                exact = sqp.plan(x0, warm_start=guess).cost
                excess.append(sqp.feedback(x0).cost / exact - 1)
    bars = {"warm": "≤ 0.25", "real-time iteration": "≤ 0.1", "feedback": "≤ 0.1"}
    for (part, when), found in ratios.items():
        value, spread = times(found)
        figure = f"{WHAT}: our SQP, 2 % off{when}, {part} / cold"
        bar = bars.get(part, "")
        yield Row(figure, value, "×", bar, seeds=DISTURBANCES, spread=spread)
    figure = f"{WHAT}: our SQP, 2 % off, cost of a real-time iteration above the optimum"
    yield Row(figure, float(np.median(excess)), seeds=DISTURBANCES)


def _converged(sqp: SQP, x0: np.ndarray, guess: Plan) -> None:
    if sqp.plan(x0, warm_start=guess).status is not Status.CONVERGED:
        raise RuntimeError(f"{WHAT}: a warm replan did not converge from {x0}")


def _seconds(call: Callable[[], object]) -> float:
    """The median of a few runs."""
    found = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found))
