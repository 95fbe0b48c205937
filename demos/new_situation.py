"""A new obstacle, weaker motors, a load: a planner replans, a policy trained before cannot know.

An arm of two links reaches for points. Its hybrid model is fitted once, on excitations without any
of these in mind; a network (state, goal) ↦ u is trained through it for the arm as it was. Then the
arm changes. The planner is told the disc and the limit, and follows the mass of the load while it
runs. A picture of both paths goes to runs/new_situation.png.

    python demos/new_situation.py
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import casadi as ca
import numpy as np
import torch

import hybridmodel as hm
from hybridmodel import envs, physics, placement, residuals
from hybridmodel.online import ParameterFilter

DT, LINK, CLOSE, RADIUS = 0.02, 0.3, 0.08, 0.08  # s, m, m, m
ARM = physics.DoublePendulum()
HIDDEN = envs.HiddenEffects(parameters={"mass2": 0.7}, coulomb=(0.08, 0.05), input_gain=0.85)
GOAL, DISC = np.array([0.42, -0.12]), np.array([0.2, -0.38])  # m
SITUATIONS = {  # torque that is left, load [kg], disc or none
    "as before": (1.0, 0.0, None),
    "an obstacle": (1.0, 0.0, DISC),
    "weaker motors": (0.65, 0.0, None),
    "a load": (1.0, 0.3, None),
}


def tip(x):
    """(x, z) [m], of CasADi's symbols and of numbers."""
    one, both = x[0], x[0] + x[1]
    return ca.vertcat(LINK * (ca.sin(one) + ca.sin(both)), -LINK * (ca.cos(one) + ca.cos(both)))


class Reach(hm.Cost):
    """100 |tip − goal|² + 0.05 |q̇|² + 0.001 |u|², the first two five times at the end."""

    parameters = ("x", "z")

    def stage(self, x, u, k, pi):
        return self.distance(x, pi) + 0.001 * ca.sumsqr(u)

    def terminal(self, x, pi):
        return 5 * self.distance(x, pi)

    def distance(self, x, pi):
        return 100 * ca.sumsqr(tip(x) - pi[:2]) + 0.05 * ca.sumsqr(x[2:4])


def fitted(quick: bool) -> hm.HybridModel:
    """The hybrid on logs of excitations."""
    with envs.make(ARM, engine="ode", dt=DT, hidden=HIDDEN) as plant:
        wave = hm.Multisine(ARM.inputs, band=(0.2, 2.5), amplitude=0.5)
        logs = [hm.collect(plant, wave, steps=150, seed=k) for k in range(3 if quick else 8)]
    parameters = ("mass2", "damping1", "damping2", "motor_gain")
    rule = {"placement": placement.input, "fit_parameters": parameters, "hold": True}
    model = hm.HybridModel(ARM, residuals.MLP((16, 16)), dt=DT, backend="kernel", **rule)
    train, stop = hm.Dataset(logs[:-1]), hm.Dataset(logs[-1:])
    return hm.fit(model, train, stop, horizons=(1, 10), epochs=2 if quick else 20, seed=0).model


class Network:
    """A policy (state, goal) ↦ u, trained by gradients through the model."""

    def __init__(self, model: hm.HybridModel, iterations: int) -> None:
        self.chain = residuals.MLP((48, 48), nz=8, nr=2)
        self.goal, self.share = torch.tensor(GOAL), 1.0
        symbols = [ca.SX.sym("x", 4), ca.SX.sym("u", 2), ca.SX.sym("pi", 2)]
        stage = hm.to_torch(
            ca.Function("stage", symbols, [Reach().stage(*symbols[:2], 0, symbols[2])])
        )
        optimiser = torch.optim.Adam(self.chain.parameters(), lr=5e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(iterations):
            x = 0.3 * torch.randn(32, 4, generator=generator, dtype=torch.float64)
            near = 0.1 * torch.randn(32, 2, generator=generator, dtype=torch.float64)
            goal, cost = self.goal + near, torch.zeros(())
            for _ in range(50):
                u = self.act(x, goal)
                cost, x = cost + stage(x, u, goal).mean(), model(x, u)
            optimiser.zero_grad()
            cost.backward()
            torch.nn.utils.clip_grad_norm_(self.chain.parameters(), 1.0)
            optimiser.step()

    def act(self, x: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        z = torch.cat(
            [x[..., :2].sin(), x[..., :2].cos(), x[..., 2:] / 5, goal.expand_as(x[..., :2])], -1
        )
        return 6 * torch.tanh(self.chain(z))

    def reset(self, seed: int | None) -> None:
        """Nothing is remembered."""

    def __call__(self, t: float, y: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return (
                self.act(torch.tensor(y), self.goal).clamp(-6 * self.share, 6 * self.share).numpy()
            )


def planner(model: hm.HybridModel, share: float, disc: np.ndarray | None) -> hm.Policy:
    """CEM on a copy of the model, in which the mass is followed on the way."""
    model = copy.deepcopy(model)
    keep_out = (
        None
        if disc is None
        else lambda x, u, pi: 10 * ((RADIUS + 0.02) ** 2 - ca.sumsqr(tip(x) - disc))
    )
    limits = [-6 * share] * 2, [6 * share] * 2
    problem = hm.OptimalControlProblem(
        model, Reach(), horizon=40, input_bounds=limits, inequality=keep_out
    )
    search = hm.CEM(problem, samples=300, elites=30, iterations=5, knots=5, warm_spread=0.15)
    loop = hm.receding_horizon(search, every=4, parameters=GOAL)
    missed = {"shoulder": 2e-3, "elbow": 2e-3, "shoulder_rate": 0.1, "elbow_rate": 0.1}
    mass = ParameterFilter(model, ("mass2",), noise=missed, deviation=0.5, walk=0.1)
    return hm.adapt(loop, model, learners=(mass,))


def main(quick: bool = False) -> None:
    torch.set_num_threads(1)
    model = fitted(quick)
    network, steps = Network(model, 3 if quick else 150), 25 if quick else 150
    paths = {}
    for name, (share, load, disc) in SITUATIONS.items():
        network.share = share
        hidden = replace(HIDDEN, parameters={"mass2": 0.7 + load})
        with envs.make(ARM, engine="ode", dt=DT, hidden=hidden) as plant:
            for who, policy in (("planner", planner(model, share, disc)), ("policy", network)):
                log = hm.collect(plant, policy, steps=steps, seed=0, state=np.zeros(4))
                path = np.array([np.array(tip(x)).ravel() for x in log.x])
                off = np.linalg.norm(path[-1 if quick else -20 :] - GOAL, axis=1).max()
                hit = disc is not None and np.linalg.norm(path - disc, axis=1).min() < RADIUS
                arrived = "reaches it" if off < CLOSE else "misses it"
                says = "hits the disc" if hit else "is on its way" if quick else arrived
                print(f"{name:14} {who:8} {says}, {100 * off:.1f} cm off after {steps * DT:g} s")
                paths[name, who] = path
    if not quick:
        draw(paths)


def draw(paths: dict[tuple[str, str], np.ndarray]) -> None:
    """Both tips' paths in every situation."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(SITUATIONS), figsize=(12, 3.6), sharey=True)
    for ax, (name, (_, _, disc)) in zip(panels, SITUATIONS.items(), strict=True):
        for who, colour in (("policy", "#aa3377"), ("planner", "#0067b1")):
            ax.plot(*paths[name, who].T, color=colour, label=who)
        ax.plot(*GOAL, "k+", ms=12)
        if disc is not None:
            ax.add_patch(plt.Circle(disc, RADIUS, color="#d9dde2"))
        ax.set(title=name, aspect="equal", xlim=(-0.1, 0.6), ylim=(-0.65, 0.05))
    panels[0].legend()
    Path("runs").mkdir(exist_ok=True)
    figure.savefig("runs/new_situation.png", dpi=120)


if __name__ == "__main__":
    main()
