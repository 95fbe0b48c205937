"""A swing-up that a short horizon cannot see, and the value that lets it.

The pendulum's motor lifts it by a third at most, so it has to swing. A planner that looks 0.4 s
ahead pulls to one side for ever. V, the return of all that follows, is found by value iteration on
the hybrid model, at no real step; the same planner with V behind its horizon swings up in PyBullet,
on a plant with hidden friction, mass and motor gain. Draws V with both motions over it.

    python demos/terminal_value.py
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.figure
import numpy as np
import torch

import hybridmodel as hm
from hybridmodel import envs, physics, placement, residuals, rl

DT, HORIZON, DISCOUNT = 0.05, 8, 0.98
SYSTEM = physics.Pendulum(inputs=(physics.Signal("torque", "N·m", -2.5, 2.5),))
HIDDEN = envs.HiddenEffects(parameters={"mass": 1.15}, coulomb=(0.15,), input_gain=0.9)
COST = hm.Quadratic(
    SYSTEM, state={"angle": 1.0, "rate": 0.05}, input={"torque": 0.01}, target={"angle": math.pi}
)


def fitted(plant: envs.Environment, quick: bool) -> hm.HybridModel:
    """The hybrid model of a minute of random excitation, a few seconds where it is quick."""
    wave = hm.RandomSteps(SYSTEM.inputs, amplitude=1.0)
    starts = np.random.default_rng(0).uniform(-math.pi, math.pi, 4 if quick else 12)
    logs = [hm.collect(plant, wave, steps=100, seed=k, state=[a, 0]) for k, a in enumerate(starts)]
    model = hm.HybridModel(
        SYSTEM,
        residuals.MLP((16, 16)),
        dt=DT,
        placement=placement.input,
        fit_parameters=("mass", "motor_gain"),
    )
    split = hm.Dataset(logs[:-2]), hm.Dataset(logs[-2:])
    epochs = 5 if quick else 30
    return hm.fit(model, *split, horizons=(1, 10), epochs=epochs).model


def picture(valued: rl.WithValue, logs: dict[str, hm.Trajectory], path: Path) -> None:
    """V over angle and rate, and the ways through it."""
    angle, rate = np.meshgrid(np.linspace(-2 * math.pi, 2 * math.pi, 181), np.linspace(-9, 9, 121))
    x = torch.tensor(np.stack([angle, rate], -1))
    with torch.no_grad():
        value = valued.value(valued.coordinates.observed(x))[..., 0].numpy()
    figure = matplotlib.figure.Figure(figsize=(8, 3.6), layout="constrained")
    ax = figure.subplots()
    shown = ax.contourf(angle, rate, value, 24, cmap="cividis")
    figure.colorbar(shown, label="V, return to come")
    for (name, log), colour in zip(logs.items(), ("#ff6b4a", "white"), strict=True):
        ax.plot(log.y[:, 0], log.y[:, 1], color=colour, lw=1.8, label=name)
    ax.set(xlabel="angle [rad], upright at ±π", ylabel="rate [rad/s]", ylim=(-9, 9))
    ax.set_xlim(-2 * math.pi, 2 * math.pi)
    ax.legend(loc="upper right", facecolor="#33415c", labelcolor="white", framealpha=0.9)
    figure.savefig(path, dpi=110)


def main(quick: bool = False, folder: str | Path = "runs") -> None:
    plant = envs.make(SYSTEM, dt=DT, hidden=HIDDEN)
    model = fitted(plant, quick)
    states = np.random.default_rng(1).uniform(-1, 1, (400 if quick else 1500, 2))
    states *= np.array([math.pi, 9.0])
    alone = hm.OptimalControlProblem(model, COST, horizon=HORIZON, discount=DISCOUNT)
    valued = rl.iterate_value(alone, states, rounds=30 if quick else 60, epochs=10 if quick else 20)
    ahead = hm.OptimalControlProblem(model, valued, horizon=HORIZON, discount=DISCOUNT)
    logs, heights = {}, []
    for name, problem in (("0.4 s ahead", alone), ("0.4 s ahead, then V", ahead)):
        planner = hm.CEM(problem, samples=100, elites=10, iterations=3)
        policy = hm.receding_horizon(planner, every=2)
        logs[name] = hm.collect(plant, policy, steps=120, seed=0, state=[0.05, 0.0])
        height = -np.cos(logs[name].y[-20:, 0])  # 1 upright, −1 hanging
        heights.append(float(height.min()))
        print(f"{name:20} lowest of the last second: {height.min():+.2f} of 1")
    plant.close()
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    picture(valued, logs, path / "terminal_value.png")
    print(f"wrote {path / 'terminal_value.png'}")
    assert heights[0] < 0.5, "the horizon alone swings up, there is nothing to show"
    assert heights[1] > 0.9, "with V it should stand"


if __name__ == "__main__":
    main()
