"""A pendulum swung up from 64 × 64 images, by an encoder that physics trained without a label.

python demos/pixels.py
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

import hybridmodel as hm
import physics
from hybridmodel import placement, residuals
from hybridmodel.envs import BulletPendulum
from hybridmodel.envs.pixels import Pixels
from hybridmodel.rl.latent import Frames, Latent, Seeing, fit_encoder, watch
from hybridmodel.tasks.pendulum import PENDULUM

DT = 0.04


def main(quick: bool = False) -> None:
    system = physics.Pendulum(inputs=PENDULUM.system.inputs)
    options: dict[str, Any] = {"dt": DT, "render_mode": "rgb_array", "size": (128, 128)}
    pixels = Pixels(BulletPendulum(system, hidden=PENDULUM.hidden, **options), size=64)
    draw = np.random.default_rng(0)
    frames = []
    for k in range(4 if quick else 16):  # anywhere on the circle, as Gymnasium's pendulum starts
        excitation = hm.RandomSteps(system.inputs, amplitude=1.0, hold=(0.1, 0.6))
        state = draw.uniform(-1, 1, 2) * [math.pi, 1.0]
        frames.append(watch(pixels, excitation, steps=60, seed=k, state=state))
    steps = sum(f.steps for f in frames)

    model = hm.HybridModel(
        system,
        residuals.MLP((32, 32)),
        dt=DT,
        placement=placement.input,
        hold=True,
        fit_parameters=("damping", "motor_gain"),
    )
    effort: dict[str, Any] = {"residual_epochs": 15}
    if quick:
        effort = {"starts": 2, "rounds": 1, "updates": 20, "folds": 2}
    latent = fit_encoder(model, frames, process_noise=(1e-3, 0.05), **effort)
    for name, value in latent.model.parameter_values().items():
        print(f"{name}: {float(system.parameters[name]):.3f} → {value:.3f}")
    encoded, true = angles(latent, frames)
    off = np.abs((encoded - true + math.pi) % (2 * math.pi) - math.pi)
    print(f"from {steps} steps and no label the angle is off by {np.median(off):.3f} rad (median)")

    cost = hm.Quadratic(
        system,
        state={"angle": 2.0, "rate": 0.05},
        input={"torque": 0.05},
        terminal={"angle": 20.0, "rate": 1.0},
        target={"angle": math.pi},
    )
    problem = hm.OptimalControlProblem(latent.model, cost, horizon=50)
    planner = hm.CEM(problem, samples=300, elites=30, knots=12)
    loop = hm.receding_horizon(planner, every=2, estimator=latent.estimator())
    swing = watch(pixels, Seeing(latent, loop), steps=6 if quick else 200, seed=0)
    assert swing.x is not None
    short = abs(math.remainder(swing.x[-1, 0] - math.pi, 2 * math.pi))
    print(f"after {DT * swing.steps:.1f} s of control from images: {short:.2f} rad from upright")
    if not quick:
        Path("runs").mkdir(exist_ok=True)
        draw_page(Path("runs/pixels.png"), encoded, true, swing)
    pixels.close()


def angles(latent: Latent, frames: list[Frames]) -> tuple[np.ndarray, np.ndarray]:
    """Encoded and true angles of all images, within half a turn."""
    encoded = np.concatenate([latent.measured(f.images)[:, 0] for f in frames])
    true = np.concatenate([f.x[:, 0] for f in frames if f.x is not None])
    return encoded, (true + math.pi) % (2 * math.pi) - math.pi


def draw_page(path: Path, encoded: np.ndarray, true: np.ndarray, swing: Frames) -> None:
    """Encoded against true angle, and a strip of the frames the loop has seen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4), gridspec_kw={"width_ratios": (1, 1.8)}, layout="constrained"
    )
    left.plot([-math.pi, math.pi], [-math.pi, math.pi], color="0.7", linewidth=1)
    left.plot(true, encoded, ".", markersize=3)
    left.set(xlabel="true angle [rad]", ylabel="encoded angle [rad]", aspect="equal")
    shown = np.linspace(0, len(swing.images) - 1, 18).astype(int)
    rows = [np.concatenate(list(swing.images[part]), 1) for part in np.split(shown, 3)]
    right.imshow(np.concatenate(rows), cmap="gray", vmin=0, vmax=255)
    right.set_title(f"what the loop saw: every {DT * (shown[1] - shown[0]):.2f} s", y=-0.1)
    right.axis("off")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
