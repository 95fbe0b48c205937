"""The Hessian of the Lagrangian while IPOPT solves the cart-pole by multiple shooting.

    min  Σ_{k=1…H} (q(x_k) + ρ u_{k−1}²) + 20 q(x_H)   with  x_{k+1} = F(x_k, u_k),  |u| ≤ 10 N

q, ρ and F of `benchmarks.speed.cart_pole`, the network in every stage of RK4, H = 40. All sides
start at x_k = x₀, u = 0 and are asked for the seconds of an evaluation, as CasADi counts them for
IPOPT. The problem has neighbouring local optima, since dry friction turns round with v: a network
in float32 may end in another, which the rows of costs and of differences of u show.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache

import casadi as ca
import numpy as np
import torch

from benchmarks.figures import Row
from benchmarks.speed import cart_pole
from benchmarks.speed.peers import Peers, Rival
from benchmarks.speed.sides import Measured, Side, Sides, Worker, own, ratio, times
from hybridmodel import HybridModel
from hybridmodel.kernel.nodes import nodes_function

H = 40
START = (0.3, 0.0, 0.25, 0.0)
LAST = 20.0  # weight of q(x_H)
PAUSE = 0.02  # s before a visit, in which threads of the side before go to sleep
OURS = "hybridmodel"
WHAT = f"Hessian of the Lagrangian, multiple shooting, H = {H}, network in every stage, f64"
_RIVALS = (
    Rival("L4CasADi", "l4casadi", "impl_l4c", ("batchedJJ-exact",), {"f64": "≥ 4"}),
    Rival("CasADi's MX", "core", "impl_w3", ("MX-exact", "MX-exact-thread"), {"f64": "≥ 8"}),
)
_OPTIONS = {
    "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-8, "max_iter": 150},
    "print_time": False,
    "record_time": True,
}
# A peer's worker tells what IPOPT counted with a set-up alone: a second one solves again, warm.
_KEEPING = """
import importlib, os, runpy, sys
from functools import partial

told = os.dup(1)
os.dup2(2, 1)  # what a module prints when imported goes to the log
script, name = sys.argv[1:]
sys.argv[1:] = [name]
module = importlib.import_module(name)
os.dup2(told, 1)


def kept(held, case, configuration):
    if not held:
        held.append(case(configuration))
    return held[0]


module.CASES = {key: partial(kept, [], case) for key, case in module.CASES.items()}
runpy.run_path(script, run_name="__main__")
"""


@cache
def solving() -> Callable[[], np.ndarray]:
    """A solve a call: u (H,), seconds of a Hessian, iterations, whether it converged."""
    nodes = nodes_function(_model(), H)
    z = ca.MX.sym("z", 5, H)  # by stages, which keeps the matrix of IPOPT banded
    after, force = z[:4, :], z[4, :]
    before = ca.horzcat(ca.DM(START), after[:, :-1])
    steps = nodes(before, force, ca.DM(0, 1), ca.DM(0, H))
    problem = {
        "x": ca.vec(z),
        "f": _objective(after, force),
        "g": ca.vec(steps - after),
    }
    solver = ca.nlpsol("shooting", "ipopt", problem, _OPTIONS)
    free, bound = np.full((4, H), np.inf), np.full((1, H), cart_pole.FORCE)
    high = np.vstack([free, bound]).ravel("F")
    first = np.vstack([np.tile(np.array(START)[:, None], H), np.zeros((1, H))]).ravel("F")

    def call() -> np.ndarray:
        found = solver(x0=first, lbx=-high, ubx=high, lbg=0, ubg=0)
        stats = solver.stats()
        seconds = stats["t_wall_nlp_hess_l"] / stats["n_call_nlp_hess_l"]
        forces = found["x"].full().reshape(H, 5)[:, 4]
        return np.array([*forces, seconds, stats["iter_count"], stats["success"]])

    return call


@dataclass
class _Solves:
    """What a side told, a solve a round."""

    u: np.ndarray  # (H,), the same in all rounds
    iterations: int
    seconds: list[float] = field(default_factory=list)  # of a Hessian


def hessian(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """Ours and the peers' by turns: time, iterations, and how good the plan is."""
    rivals = peers.sides(WHAT, _RIVALS, {"res": "ode", "dtype": "f64"})
    alone = {
        name: replace(side, worker=("-c", _KEEPING, *side.worker))
        for part in rivals.values()
        for name, side in part.items()
    }
    solves = _solved({OURS: own("hessian"), **alone}, peers, sides.rounds)
    measured = {name: Measured(seconds=told.seconds) for name, told in solves.items()}
    for rival, part in rivals.items():
        if ran := [name for name in part if name in solves]:
            value, spread = ratio(measured, OURS, ran)
            bar = rival.bars["f64"]
            yield Row(f"{WHAT}: {rival.name} / ours", value, "×", bar, spread=spread)
    for name, told in solves.items():
        side = "ours" if name == OURS else name
        value, (low, high) = times(told.seconds)
        yield Row(f"{WHAT}: {side}", 1e3 * value, "ms", spread=(1e3 * low, 1e3 * high))
        yield Row(f"{WHAT}: iterations of {side}", told.iterations)
        yield Row(f"{WHAT}: cost of the plan, {side}", _cost(told.u))
        if name != OURS:
            apart = float(np.abs(told.u - solves[OURS].u).max())
            yield Row(f"{WHAT}: largest difference of u from ours, {side}", apart, "N")


def _solved(sides: Mapping[str, Side], peers: Peers, rounds: int) -> dict[str, _Solves]:
    """Each side in a worker of its own, visited once a round in shuffled order."""
    generator = np.random.default_rng(0)
    solves: dict[str, _Solves] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}

        def visit(name: str) -> None:
            time.sleep(PAUSE)
            try:
                if name not in workers:
                    workers[name] = Worker(sides[name])
                    stack.callback(workers[name].close)
                told, seconds = _told(workers[name], sides[name])
            except (RuntimeError, OSError) as error:
                if name == OURS:
                    raise RuntimeError(f"{WHAT}: our own side failed: {error}") from error
                peers.left_out.append(f"{WHAT}: {name} ({error})")
                solves.pop(name, None)
                return
            solves.setdefault(name, told).seconds.append(seconds)
            peers.versions.update(workers[name].versions if name != OURS else {})

        for name in sides:
            visit(name)
        for told in solves.values():
            told.seconds.clear()  # what warms up does not count
        for _ in range(rounds):
            for name in generator.permutation(list(solves)):
                visit(str(name))
    return solves


def _told(worker: Worker, side: Side) -> tuple[_Solves, float]:
    """A side's answer; a peer has the rest in words of its own."""
    configuration = dict(side.configuration)
    answer = worker.ask(cmd="setup", key="hessian", case=side.case, cfg=configuration)
    head = answer["head"]
    if "extra" in answer:
        extra = answer["extra"]
        seconds = 1e-3 * float(extra["hess_l"].removesuffix("ms"))
        iterations, converged = extra["iters"], extra["ok"]
    else:
        seconds, iterations, converged = head[H:]
    if not converged:
        raise RuntimeError(f"IPOPT did not converge in {iterations:g} iterations")
    return _Solves(np.array(head[:H]), int(iterations)), seconds


def _cost(u: np.ndarray) -> float:
    """Of a plan (H,), over the states that the model goes through with it."""
    u = u.clip(-cart_pole.FORCE, cart_pole.FORCE)
    x0, forces = torch.tensor([START], dtype=torch.float64), torch.from_numpy(u)[None, :, None]
    with torch.no_grad():
        x = _model().rollout(x0, forces)[0, 1:].numpy()
    return float(ca.evalf(_objective(ca.MX(ca.DM(x.T)), ca.MX(ca.DM(u[None])))))


@cache
def _model() -> HybridModel:
    """Held as long as the process, since the nodes live no longer than their model."""
    return cart_pole.model(hold=False)


def _objective(after: ca.MX, force: ca.MX) -> ca.MX:
    """Of x₁ … x_H (4, H) and u₀ … u_{H−1} (1, H)."""
    x, u = ca.SX.sym("x", 4), ca.SX.sym("u")
    value = cart_pole.Swinging().stage(x, u, ca.SX(0), ca.SX(0, 1))
    stage = ca.Function("stage", [x, u], [value])
    return ca.sum2(stage.map(H)(after, force)) + LAST * stage(after[:, -1], 0)
