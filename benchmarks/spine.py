"""The figures of the whole story: agreement, parity, oracles, prediction, control, time.

python -m benchmarks.spine [--quick] [--seeds 10] [--data DIR] --json FILE
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import casadi as ca
import numpy as np
import torch

import hybridmodel as hm
from benchmarks.figures import Row, publish
from hybridmodel import envs, physics, placement, residuals
from hybridmodel.demo.record import read_summary

SYSTEMS = {
    "linear": physics.Linear(),
    "pendulum": physics.Pendulum(),
    "cart-pole": physics.CartPole(),
    "double pendulum": physics.DoublePendulum(),
    "acrobot": physics.DoublePendulum.acrobot(),
    "delayed pendulum": physics.InputDelay(system=physics.Pendulum(), steps=2),
}


def agreement(quick: bool) -> Iterator[Row]:
    """torch against CasADi over every system × residual × placement × hold."""
    worst = {"value": 0.0, "jacobian": 0.0, "hessian": 0.0}
    untrained, cases = 0.0, 0
    for system, place in itertools.product(SYSTEMS.values(), placement.ALL):
        if place is placement.acceleration and not system.velocity_rows:
            continue  # a general linear system has no accelerations to correct
        for residual, hold in itertools.product((None, *_networks()), (False, True)):
            model = hm.HybridModel(
                system,
                residual(system, place) if residual else None,
                dt=0.02,
                placement=place,
                fit_parameters=tuple(system.parameters)[:2],
                hold=hold,
            )
            bare = hm.HybridModel(system, dt=0.02, fit_parameters=model.fit_parameters)
            generator = torch.Generator().manual_seed(cases)
            x = torch.randn(50, system.nx, generator=generator, dtype=torch.float64)
            u = torch.randn(50, system.nu, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                untrained = max(untrained, float((model(x, u) - bare(x, u)).abs().max()))
                for weight in model.parameters():
                    if weight is not model.theta:
                        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
                        weight += 0.3 * noise
            found = hm.check_agreement(model, points=2 if quick else 5)
            worst = {name: max(value, getattr(found, name)) for name, value in worst.items()}
            cases += 1
    bars = {"value": "≤ 1e-12", "jacobian": "≤ 1e-10", "hessian": "≤ 1e-8"}
    for name, value in worst.items():
        yield Row(f"torch against CasADi, {name}, worst of {cases} models", value, "", bars[name])
    yield Row(f"untrained hybrid against physics, worst of {cases} models", untrained, "", "= 0")


def _networks() -> tuple[Callable, ...]:
    def module(system: physics.System, place: placement.Placement) -> torch.nn.Module:
        angles = len(system.angle_rows)
        nz = len(system.states) + angles + system.nu
        return torch.nn.Sequential(
            torch.nn.Linear(nz, 8), torch.nn.SiLU(), torch.nn.Linear(8, len(place.signals(system)))
        )

    return (
        lambda system, place: residuals.MLP((32, 32)),
        lambda system, place: residuals.MLP((16,), limit=0.5),
        module,
    )


def parity(quick: bool) -> Iterator[Row]:
    """PyBullet against the System, all hidden effects off."""
    count = 200 if quick else 1000
    for name in ("pendulum", "cart-pole", "double pendulum"):
        system = SYSTEMS[name]
        plant = envs.make(system, dt=0.04)
        gap = float(envs.acceleration_gap(plant, count=count).max())
        plant.close()
        yield Row(
            f"{name}: engine's acceleration against System, {count} states", gap, "", "≤ 1e-8"
        )
        errors = []
        x0 = np.where([s.angle for s in system.states], 0.5, 0.0)
        u = np.full((25, system.nu), 0.03 * system.inputs[0].high)
        for substeps in (40, 80, 160):
            plant = envs.make(system, dt=0.04, substeps=substeps)
            errors.append(float(envs.rollout_gap(plant, x0, u).max()))
            plant.close()
        yield Row(f"{name}: 1 s rollout at the engine's 0.25 ms step", errors[-1], "rad, m")
        ratio = min(errors[0] / errors[1], errors[1] / errors[2])
        yield Row(f"{name}: its error when the engine's step doubles", ratio, "×", "≥ 1.9")


def oracle(quick: bool) -> Iterator[Row]:
    """Planners against the discrete Riccati recursion on a linear system, bounds inactive."""
    wide = tuple(physics.Signal("u0", low=-20.0, high=20.0) for _ in range(1))
    system = physics.Linear(A=((0.0, 1.0), (-1.0, -0.2)), B=((0.0,), (1.0,)), inputs=wide)
    model = hm.HybridModel(system, dt=0.1)
    cost = hm.Quadratic(
        system, state={"x0": 1.0, "x1": 0.1}, input={"u0": 0.1}, terminal={"x0": 10.0, "x1": 1.0}
    )
    problem = hm.OptimalControlProblem(model, cost, horizon=20)
    x0 = np.array([1.0, -0.5])
    A, B = _linear(model.step_function())
    P = np.diag([10.0, 1.0])
    for _ in range(20):
        K = np.linalg.solve(0.1 + B.T @ P @ B, B.T @ P @ A)
        P = np.diag([1.0, 0.1]) + A.T @ P @ (A - B @ K)
    best = float(x0 @ P @ x0)
    planners = {
        "IPOPT": (hm.MultipleShooting(problem, tolerance=1e-10), "≤ 1e-6"),
        "descent through torch": (hm.GradientDescent(problem, iterations=400), "≤ 1e-4"),
        "CEM, 20 iterations": (
            hm.CEM(problem, samples=1000, elites=50, iterations=20),
            "≤ 1e-3",
        ),
    }
    for name, (planner, bar) in planners.items():
        gaps = [planner.plan(x0, seed=s).cost / best - 1 for s in range(1 if quick else 5)]
        yield Row(
            f"{name}: cost above the LQR optimum", max(gaps), "relative", bar, seeds=len(gaps)
        )


def _linear(F: ca.Function) -> tuple[np.ndarray, np.ndarray]:
    x, u = ca.MX.sym("x", 2), ca.MX.sym("u", 1)
    ahead = F(x, u, [], [])
    jacobians = ca.Function("J", [x, u], [ca.jacobian(ahead, x), ca.jacobian(ahead, u)])
    A, B = jacobians(0, 0)
    return A.full(), B.full()


def demo_time(quick: bool, runs: Path) -> Iterator[Row]:
    """The cart-pole demonstration by its own command, report included."""
    if not quick:
        wall, code = _timed([*_DEMO, "cartpole", "--out", str(runs / "single")])
        yield Row("demo cartpole", wall, "s", "≤ 120")
        yield Row("demo cartpole: exit code", code, "", "= 0")
    wall, code = _timed([*_DEMO, "cartpole", "--quick", "--out", str(runs / "quick")])
    yield Row("demo cartpole --quick", wall, "s", "≤ 30")
    yield Row("demo cartpole --quick: exit code", code, "", "= 0")


def demo_seeds(quick: bool, runs: Path, seeds: int) -> Iterator[Row]:
    """Prediction and control of the cart-pole demonstration over seeds."""
    short = ["--quick"] if quick else []
    _timed([*_DEMO, "cartpole", "--seeds", str(seeds), *short, "--out", str(runs / "seeds")])
    summary = read_summary(runs / "seeds")
    by_seed = list(summary["seeds"].values())
    n = len(by_seed)
    for row, bar in {"physics": "≤ 0.2", "network": "≤ 0.5", "identified": "≤ 0.6"}.items():
        ratios = [s["prediction"]["hybrid"]["50"] / s["prediction"][row]["50"] for s in by_seed]
        yield Row(
            f"prediction at 50 steps, hybrid / {row}",
            float(np.median(ratios)),
            "median",
            bar,
            n,
            _spread(ratios),
        )
    yield Row("data behind it", summary["seconds_of_data"], "s", "≤ 60")
    for planner in ("gradient", "cem"):
        runs = [s["control"][planner] for s in by_seed]
        held = sum(run["hybrid"]["success"] for run in runs)
        yield Row(f"{planner}: hybrid swings up and holds", held, f"of {n}", f"≥ {n}", n)
        medians = {row: float(np.median([run[row]["cost"] for run in runs])) for row in runs[0]}
        for row in ("physics", "identified"):
            yield Row(
                f"{planner}: median cost, hybrid / {row}",
                medians["hybrid"] / medians[row],
                "×",
                "≤ 1",
                n,
            )
        for row, median in medians.items():
            costs = [run[row]["cost"] for run in runs]
            share = float(np.mean([run[row]["success"] for run in runs]))
            label = f"{planner}: {row}, cost (holds in {share:.0%})"
            yield Row(label, median, "median", "", n, _spread(costs))


def same_bits(quick: bool) -> Iterator[Row]:
    """Fit, plan and closed loop of one seed in two fresh processes."""
    command = [sys.executable, "-m", "benchmarks.spine", "--digest"]
    digests = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)}
    yield Row(
        "different results of fit, plan and loop in two fresh processes",
        len(digests) - 1,
        "",
        "= 0",
    )


def digest() -> str:
    """SHA-256 over the bits of one small fit, its plans and its closed loops."""
    from hybridmodel.demo.pipeline import run_task
    from hybridmodel.tasks.named import CARTPOLE

    outcome = run_task(CARTPOLE.quick(), seed=3)
    found = hashlib.sha256()
    for model in outcome.models.values():
        for tensor in model.state_dict().values():
            found.update(tensor.numpy().tobytes())
        found.update(repr(model.system).encode())
    for run in outcome.runs.values():
        assert run.trajectory.x is not None
        found.update(run.trajectory.x.tobytes())
        for _, plan in run.plans:
            found.update(plan.u.tobytes() + plan.x.tobytes())
    return found.hexdigest()


def hardware(data: Path, quick: bool) -> Iterator[Row]:
    """The measured double pendulum, by its own demo script."""
    path = Path(__file__).parents[1] / "demos" / "real_double_pendulum.py"
    spec = importlib.util.spec_from_file_location("real_double_pendulum", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    demo = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = demo
    spec.loader.exec_module(demo)
    for row in demo.rows(data, quick=quick):
        bar = "" if row["bar"] is None else f"≤ {row['bar']!r}"
        yield Row(f"real double pendulum, {row['figure']}", row["value"], row["unit"], bar)


_DEMO = [sys.executable, "-m", "hybridmodel", "demo"]


def _timed(command: list[str]) -> tuple[float, int]:
    started = time.perf_counter()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    return time.perf_counter() - started, code


def _spread(values: list[float]) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.spine")
    parser.add_argument("--quick", action="store_true", help="one seed of the short demo")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--data", type=Path, help="folder of measured double-pendulum logs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help="parts, comma-separated; other rows of the file stay")
    parser.add_argument("--runs", type=Path, default=Path("runs/spine"), help="run folders")
    parser.add_argument("--digest", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digest:
        print(digest())
        return 0
    torch.set_num_threads(1)
    quick, runs = options.quick, options.runs
    parts = {
        "time": lambda: demo_time(quick, runs),
        "seeds": lambda: demo_seeds(quick, runs, 1 if quick else options.seeds),
        "agreement": lambda: agreement(quick),
        "parity": lambda: parity(quick),
        "oracle": lambda: oracle(quick),
        "bits": lambda: same_bits(quick),
    }
    if options.data is not None:
        parts["hardware"] = lambda: hardware(options.data, quick)
    chosen = options.only.split(",") if options.only else list(parts)
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only takes {','.join(parts)}; got {unknown[0]!r}")
    rows = []
    for name in chosen:
        for row in parts[name]():
            rows.append(row)
            print(f"{row.figure}: {row.value:.4g} {row.unit} {row.bar}", flush=True)
    return 0 if publish("spine", rows, options.json, keep=bool(options.only)) else 1


if __name__ == "__main__":
    sys.exit(main())
