"""The figures of the bridges: agreement on random Functions and networks, speed, exports, models.

    python -m benchmarks.bridges [--quick] [--only PART,…] --json FILE

Parts: functions, networks, speed, exported, models. Speed is a ratio of times taken by turns in
one process; CasADi maps over two threads, torch runs on one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import casadi as ca
import numpy as np
import torch

from benchmarks import exported, functions, models, networks
from benchmarks.arm import arm_step
from benchmarks.figures import Row, publish
from benchmarks.timing import compare, ratio
from hybridmodel import HybridModel, physics, to_torch
from hybridmodel.bridges.operations import NAME

BATCH = 4096
WHAT = ("step", "step and gradient")
# a map of CasADi takes and gives DM; batches live in arrays, so what is needed is both ways
RIVALS = {"numpy": "", "DM": " without conversion of its arrays"}
BARS = {"value": "≤ 1e-12", "Jacobian": "≤ 1e-10", "Hessian": "≤ 1e-8"}
LIMITS = [float(bar.split()[1]) for bar in BARS.values()]


def agreement_of_functions(quick: bool) -> Iterator[Row]:
    drawn = list(functions.draw(60 if quick else 300, seed=1))
    worst = np.array([functions.differences(d.function) for d in drawn])
    held = (worst <= LIMITS).all(1)
    codes = {
        NAME[d.function.instruction_id(k)]
        for d in drawn
        for k in range(d.function.n_instructions())
    }
    missing = {*functions.SCALARS} - codes | {*functions.MATRICES} - {
        name for d in drawn for name in d.operations
    }
    yield Row("random Functions in torch", len(drawn), "", "" if quick else "≥ 200")
    yield Row("random Functions: pass", 100 * held.mean(), "%", "= 100")
    yield Row("random Functions: operations never drawn", len(missing), "", "= 0")
    for (name, bar), value in zip(BARS.items(), worst.max(0), strict=True):
        yield Row(f"random Functions: worst relative difference, {name}", value, "", bar)


def agreement_of_networks(quick: bool) -> Iterator[Row]:
    cases = list(networks.cases(20 if quick else 100, seed=1))
    worst = np.array([networks.differences(case) for case in cases])
    held = (worst <= LIMITS).all(1)
    yield Row("random networks in CasADi, baked and with parameters", len(cases), "", "≥ 50")
    yield Row("random networks: pass", 100 * held.mean(), "%", "= 100")
    for (name, bar), value in zip(BARS.items(), worst.max(0), strict=True):
        yield Row(f"random networks: worst relative difference, {name}", value, "", bar)


def speed(quick: bool) -> Iterator[Row]:
    torch.set_num_threads(1)
    arm = arm_step()
    yield Row("7-joint arm step", arm.n_instructions(), "instructions", "≥ 4000")
    start = time.perf_counter()
    to_torch(arm)
    yield Row("7-joint arm step: building its torch form", time.perf_counter() - start, "s", "< 1")
    rounds = 5 if quick else 21
    for what, seconds in _timed(arm, rounds).items():
        for rival, told in RIVALS.items():
            value, low, high = ratio(seconds, "torch", rival)
            name = f"7-joint arm, batch {BATCH}, {what}: time of torch / CasADi's map{told}"
            yield Row(name, value, "×", "≤ 1", spread=(low, high))
    small = _small()
    times = {name: _timed(function, rounds) for name, function in small.items()}
    counts = [function.n_instructions() for function in small.values()]
    for what in WHAT:
        for rival, told in RIVALS.items():
            gains = {name: ratio(times[name][what], rival, "torch") for name in small}
            slowest = min(gains, key=lambda name: gains[name][0])
            value, low, high = gains[slowest]
            name = (
                f"{len(small)} graphs of {min(counts)} to {max(counts)} instructions, batch "
                f"{BATCH}, {what}: least speed-up over CasADi's map{told} ({slowest})"
            )
            yield Row(name, value, "×", "≥ 5", spread=(low, high))


def _small() -> dict[str, ca.Function]:
    """Graphs of under 200 instructions: right-hand sides, and a whole RK4 step."""
    systems = {
        "pendulum": physics.Pendulum(),
        "cart-pole": physics.CartPole(),
        "double pendulum": physics.DoublePendulum(),
    }
    graphs = {
        f"{name}, ẋ": HybridModel(system, dt=0.02).equations.derivative
        for name, system in systems.items()
    }
    step = HybridModel(physics.CartPole(), dt=0.02).step_function().expand()
    return {**graphs, "cart-pole, RK4 step": step}


def _timed(function: ca.Function, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of torch and of CasADi's threaded map: values alone, and with their gradient."""
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(BATCH, function.size1_in(i))) for i in range(function.n_in())]
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    columns = [ca.DM(a.T) for a in arrays]
    module = to_torch(function)
    symbols = [ca.SX.sym(f"a{i}", function.size1_in(i)) for i in range(function.n_in())]
    value = function(*symbols)
    slope = ca.gradient(ca.sum1(value), ca.vertcat(*symbols))
    both = ca.Function("both", symbols, ca.cse([value, slope]))

    def values() -> torch.Tensor:
        with torch.no_grad():
            return module(*tensors)

    def gradient() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(module(*tensors).sum(), tensors, allow_unused=True)

    def alternatives(call: Callable[[], object], rival: ca.Function) -> Mapping[str, Callable]:
        mapped = rival.map(BATCH, "thread", 2)

        def numpy() -> list[np.ndarray]:
            found = mapped.call([ca.DM(a.T) for a in arrays])
            return [np.ascontiguousarray(m.full().T) for m in found]

        return {"torch": call, "DM": lambda: mapped.call(columns), "numpy": numpy}

    runs = (alternatives(values, function), alternatives(gradient, both))
    return {what: compare(run, rounds=rounds) for what, run in zip(WHAT, runs, strict=True)}


def existing_models(quick: bool) -> Iterator[Row]:
    outcomes = []
    for model in models.MODELS:
        outcomes.append(o := models.run(model, quick=quick))
        yield Row(f"fit: {o.name}, validation error after / before", o.after / o.before)
        yield Row(f"plan: {o.name}, cost foretold / of doing nothing", o.cost / o.idle)
        yield Row(f"plant: {o.name}, cost of the plan / of doing nothing", o.applied / o.waited)
    unchanged = sum(not model.changed for model in models.MODELS)
    yield Row("models of others loaded", len(outcomes), "", "≥ 12")
    yield Row("models of others: of which published unchanged", unchanged)
    fitted = sum(o.fitted for o in outcomes)
    yield Row("models of others: error at least halved", fitted, "", "" if quick else "≥ 12")
    planned = sum(o.planned for o in outcomes)
    yield Row("models of others: plan better than nothing on the plant", planned, "", "≥ 12")


PARTS: Mapping[str, Callable[[bool], Iterable[Row]]] = {
    "functions": agreement_of_functions,
    "networks": agreement_of_networks,
    "speed": speed,
    "exported": exported.rows,
    "models": existing_models,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    rows = []
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += PARTS[name](arguments.quick)
    keep = len(chosen) < len(PARTS)
    sys.exit(not publish("Bridges", rows, arguments.json, keep=keep))


if __name__ == "__main__":
    main()
