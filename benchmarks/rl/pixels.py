"""Swing-ups from 64 × 64 images alone: the hybrid model against a pure latent one.

Plants are PyBullet's, with what the demonstrations hide (mass, motor gain, dead zone, dry friction
that varies), seen by TinyRenderer. Episodes of excitation begin anywhere (angles uniform over the
circle, carts over most of the rail), then the method's own attempts follow. The hybrid model's
encoder is trained without labels, but four images of the cart tell where ±0.5 m and ±1 m are, for
no physics does; its residual, a force at the input, is fitted on the states that the encoder and
the model agree on. Its task is a cost in its coordinates.
The pure latent model has features and networks of the same size, as many images, and the reward of
every step. A run holds where, from hanging at rest, the angle is within 0.3 rad of upright over the
last second of 8 s in all three evaluation episodes, which are not counted as data; every other
step of the plant is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.figures import Row
from hybridmodel import CEM, HybridModel, OptimalControlProblem, Quadratic, receding_horizon
from hybridmodel import placement as placements
from hybridmodel.envs import BulletCartPole, BulletPendulum, HiddenEffects
from hybridmodel.envs.bullet.plant import BulletPlant
from hybridmodel.envs.pixels import Pixels
from hybridmodel.excitation import Dithered, RandomSteps
from hybridmodel.rl.latent import (
    Frames,
    FreePolicy,
    Latent,
    PixelPolicy,
    Seeing,
    fit_encoder,
    fit_latent,
    watch,
)
from hybridmodel.tasks.cartpole import CARTPOLE
from hybridmodel.tasks.pendulum import PENDULUM
from physics import CartPole, Mechanical, Pendulum, Signal
from residuals import MLP

DT, EPISODE, LAST, TOLERANCE, TRIALS = 0.04, 200, 25, 0.3, 3
BAR = 5000  # real steps


@dataclass(frozen=True, kw_only=True)
class Case:
    """One plant, how it is excited, and the cost of its task."""

    system: Mechanical
    plant: type[BulletPlant]
    hidden: HiddenEffects
    start: tuple[float, ...]  # of excitation, uniform in ±
    amplitude: float
    episodes: tuple[int, int]  # of excitation: how many, of how many steps
    attempts: tuple[int, int, int]  # rounds, episodes in each, steps
    fit_parameters: tuple[str, ...]
    residual_epochs: int
    process_noise: tuple[float, ...]
    state: Mapping[str, float]
    input: Mapping[str, float]
    terminal: Mapping[str, float]
    horizon: int
    bound: float = math.inf  # of the first state
    known: tuple[float, ...] = ()  # first states of images whose coordinates are told


CASES = {
    "pendulum": Case(
        system=Pendulum(inputs=PENDULUM.system.inputs),
        plant=BulletPendulum,
        hidden=PENDULUM.hidden,
        start=(math.pi, 1.0),
        amplitude=1.0,
        episodes=(24, 60),
        attempts=(1, 4, 100),
        fit_parameters=("damping", "motor_gain"),
        residual_epochs=15,
        process_noise=(1e-3, 0.05),
        state={"angle": 2.0, "rate": 0.05},
        input={"torque": 0.05},
        terminal={"angle": 20.0, "rate": 1.0},
        horizon=50,
    ),
    "cart-pole": Case(
        system=CartPole(
            pole_length=0.5,
            pole_inertia=0.2 / 12,
            states=(Signal("position", "m", -1.6, 1.6), *CartPole().states[1:]),
        ),
        plant=BulletCartPole,
        hidden=CARTPOLE.hidden,
        start=(1.0, math.pi, 0.3, 1.0),
        amplitude=0.6,
        episodes=(60, 40),
        attempts=(3, 5, 100),
        fit_parameters=("pole_mass", "cart_damping", "pole_damping", "motor_gain"),
        residual_epochs=15,
        process_noise=(1e-3, 1e-3, 0.03, 0.02),
        state={"position": 0.5, "angle": 2.0, "velocity": 0.05, "rate": 0.05},
        input={"force": 0.005},
        terminal={"position": 5.0, "angle": 20.0, "velocity": 1.0, "rate": 1.0},
        horizon=45,
        bound=1.0,  # beyond, the camera loses the pole
        known=(-1.0, -0.5, 0.5, 1.0),
    ),
}
METHODS = ("hybrid", "latent")


def cells(quick: bool) -> list[dict[str, Any]]:
    """Ten seeds of the pendulum with the hybrid model, five of all else; one where it is quick."""
    if quick:
        return [{"task": "pendulum", "method": "hybrid", "seed": 0}]
    return [
        {"task": task, "method": method, "seed": seed}
        for task in CASES
        for method in METHODS
        for seed in range(10 if (task, method) == ("pendulum", "hybrid") else 5)
    ]


def cell(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Data, fit, attempts and evaluation of one seed."""
    torch.set_num_threads(1)
    case, method, seed = CASES[arguments["task"]], arguments["method"], int(arguments["seed"])
    pixels = camera(case)
    try:
        return learned(case, method, seed, pixels)
    finally:
        pixels.close()


def camera(case: Case) -> Pixels:
    """The plant as it is seen; a pixel is the mean of 2 × 2 that TinyRenderer draws."""
    plant = case.plant(
        case.system, dt=DT, hidden=case.hidden, render_mode="rgb_array", size=(128, 128)
    )
    return Pixels(plant, size=64)


def learned(case: Case, method: str, seed: int, pixels: Pixels) -> dict[str, Any]:
    """The loop of one method; numbers of its last model."""
    draw = np.random.default_rng((7, seed))
    count, length = case.episodes
    paid = reward(case)
    frames: list[Frames] = []
    for k in range(count):
        excitation = RandomSteps(case.system.inputs, amplitude=case.amplitude, hold=(0.1, 0.6))
        state = draw.uniform(-1, 1, case.system.nx) * np.array(case.start)
        run: dict[str, Any] = {
            "steps": length,
            "seed": 10_000 * seed + k,
            "state": state,
            "reward": paid,
        }
        frames.append(watch(pixels, excitation, **run))
    steps, seconds, latent = len(case.known), 0.0, None
    policy: Seeing | FreePolicy | None = None
    rounds, each, long = case.attempts
    for turn in range(rounds + 1):
        began = time.perf_counter()
        if method == "hybrid":
            latent = fitted(case, frames, latent, seed, pixels)
            policy = seeing(case, latent)
        else:
            model = fit_latent(frames, case.system.inputs, seed=seed)
            policy = FreePolicy(model, horizon=35, last=10.0)
        seconds += time.perf_counter() - began
        if turn < rounds:
            dithered = Dithered(policy, RandomSteps(case.system.inputs, amplitude=0.3))
            for k in range(each):
                number = 10_000 * seed + 1000 * (turn + 1) + k
                frames.append(watch(pixels, dithered, steps=long, seed=number, reward=paid))
    assert policy is not None  # there is always a last fit
    steps += sum(f.steps for f in frames)
    result = {"steps": steps, "fit_seconds": seconds} | evaluated(case, pixels, policy, seed)
    if latent is not None:
        result |= errors(case, latent, frames)
    return result


def reward(case: Case) -> Callable[[np.ndarray, np.ndarray], float]:
    """−ℓ(x, u), of the true state."""
    names, inputs = [s.name for s in case.system.states], [s.name for s in case.system.inputs]
    q = np.array([case.state.get(name, 0.0) for name in names])
    r = np.array([case.input.get(name, 0.0) for name in inputs])
    row = case.system.angle_rows[0]

    def paid(x: np.ndarray, u: np.ndarray) -> float:
        off = x.copy()
        off[row] = math.remainder(x[row] - math.pi, 2 * math.pi)
        return -float(q @ off**2 + r @ u**2)

    return paid


def fitted(
    case: Case, frames: list[Frames], warm: Latent | None, seed: int, pixels: Pixels
) -> Latent:
    """Encoder and hybrid model, going on from those before."""
    residual = MLP((32, 32), seed=seed) if case.residual_epochs else None
    model = HybridModel(
        case.system,
        residual,
        dt=DT,
        placement=placements.input,
        hold=True,
        fit_parameters=case.fit_parameters,
    )
    known = None
    if case.known:
        states = [np.eye(case.system.nx)[0] * value for value in case.known]
        images = [pixels.reset(options={"state": x})[0] for x in states]
        known = np.array(images), np.array(states)[:, : case.system.nq]
    return fit_encoder(
        model,
        frames,
        process_noise=case.process_noise,
        known=known,
        warm=warm,
        rounds=8 if warm is None else 5,
        residual_epochs=case.residual_epochs,
        seed=seed,
    )


def seeing(case: Case, latent: Latent) -> Seeing:
    """CEM on the hybrid model, from images."""
    target = {case.system.states[case.system.angle_rows[0]].name: math.pi}
    cost = Quadratic(
        case.system,
        state=dict(case.state),
        input=dict(case.input),
        terminal=dict(case.terminal),
        target=target,
    )
    free = [math.inf] * (case.system.nx - 1)
    problem = OptimalControlProblem(
        latent.model,
        cost,
        horizon=case.horizon,
        state_bounds=((-case.bound, *(-b for b in free)), (case.bound, *free)),
    )
    planner = CEM(problem, samples=300, elites=30, iterations=5, knots=12)
    return Seeing(latent, receding_horizon(planner, every=2, estimator=latent.estimator()))


def evaluated(case: Case, pixels: Pixels, policy: PixelPolicy, seed: int) -> dict[str, float]:
    """Whether the loop holds, the largest angle error of the last second, milliseconds a step."""
    row, off, began, count = case.system.angle_rows[0], [], time.perf_counter(), 0
    for k in range(TRIALS):
        run = watch(pixels, policy, steps=EPISODE, seed=10_000 * seed + 9000 + k)
        assert run.x is not None
        last = np.abs((run.x[-LAST:, row] - math.pi + math.pi) % (2 * math.pi) - math.pi)
        off.append(float(last.max()) if run.steps == EPISODE else math.pi)
        count += run.steps
    held = [e < TOLERANCE for e in off]
    return {
        "holds": float(all(held)),
        "share": float(np.mean(held)),
        "off": float(np.median(off)),
        "ms": 1e3 * (time.perf_counter() - began) / count,
    }


def errors(case: Case, latent: Latent, frames: list[Frames]) -> dict[str, float]:
    """Root mean square and median of what the encoder is off on the images of the fit."""
    q = np.concatenate([latent.measured(f.images)[:, : case.system.nq] for f in frames])
    x = np.concatenate([f.x for f in frames if f.x is not None])[:, : case.system.nq]
    off = latent.encoder.wrapped(torch.from_numpy(q - x)).abs().numpy()
    names = [s.name for s in case.system.states]
    medians = {f"median {names[i]}": float(np.median(off[:, i])) for i in range(off.shape[1])}
    rms = {f"rms {names[i]}": float(np.sqrt((off[:, i] ** 2).mean())) for i in range(off.shape[1])}
    return medians | rms


def rows(results: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[Row]:
    """Of each task and method: seeds and episodes that hold, steps, seconds, encoded errors."""
    for task in CASES:
        for method in METHODS:
            found = [r for c, r in results if (c["task"], c["method"]) == (task, method)]
            if not found:
                continue
            name, n = f"pixels, {task}, {method}", len(found)
            held = float(np.mean([r["holds"] for r in found]))
            bar = "≥ 1" if (task, method) == ("pendulum", "hybrid") else ""
            yield Row(f"{name}: seeds that hold upright", held, "", bar, n)
            shares = float(np.mean([r["share"] for r in found]))
            yield Row(f"{name}: episodes that hold upright", shares, seeds=n)
            most = max(r["steps"] for r in found)
            bar = f"≤ {BAR}" if method == "hybrid" else ""
            yield Row(f"{name}: real steps", most, "", bar, n)
            yield Row(
                f"{name}: training",
                float(np.median([r["fit_seconds"] for r in found])),
                "s",
                seeds=n,
            )
            yield Row(
                f"{name}: a step of the loop",
                float(np.median([r["ms"] for r in found])),
                "ms",
                seeds=n,
            )
            for key in sorted({k for r in found for k in r if k.startswith("median ")}):
                unit = "m" if key.endswith("position") else "rad"
                value = float(np.median([r[key] for r in found]))
                yield Row(f"{name}: encoded {key[7:]} off by", value, unit, seeds=n)
