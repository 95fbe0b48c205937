"""Take the model to your own solver: a swing-up in a hand-written casadi.Opti, and in ours.

A fitted hybrid model leaves as one casadi.Function, x⁺ = F(x, u, p, d, dt, w), with exact
derivatives. Here it stands in programs that know nothing of this project. Physical parameters,
step and network weights are parameters of the first: with the model's own it finds the optimum of
`hm.MultipleShooting`, and a model that learned more needs no rebuild. In the second the step is a
variable: the shortest swing-up.

    python demos/own_opti.py
"""

from __future__ import annotations

import math

import casadi as ca
import numpy as np

import hybridmodel as hm
from hybridmodel import envs, physics, placement, residuals

H, DT, TORQUE = 40, 0.05, 4.0  # steps, s, N·m
START = np.zeros(2)
IPOPT = {"tol": 1e-9, "print_level": 0, "sb": "yes", "honor_original_bounds": "yes"}


class SwingUp:
    """xₖ₊₁ = F(xₖ, uₖ), x₀ = 0, |uₖ| ≤ 4 N·m, with θ, θ̇ and u as the user writes them down.

    min Σ 2 (1 − cos(θₖ − π)) + 0.05 θ̇ₖ² + 0.01 uₖ² + 10·2 (1 − cos(θ_H − π)) + θ̇_H²
    or, where the step is free:   min H dt  with x_H = (±π, 0), the side that the guess swings to
    """

    def __init__(self, model: hm.HybridModel, *, free_step: bool) -> None:
        F = model.step_function(dt="symbolic", weights="parameters")
        self.opti, self.free_step = ca.Opti(), free_step
        self.x, self.u = self.opti.variable(2, H + 1), self.opti.variable(1, H)
        self.dt = self.opti.variable() if free_step else self.opti.parameter()
        self.upright = self.opti.parameter(2)
        self.p = self.opti.parameter(F.numel_in("p"))
        self.w = self.opti.parameter(F.numel_in("w"))
        for k in range(H):
            ahead = F(self.x[:, k], self.u[:, k], self.p, [], self.dt, self.w)
            self.opti.subject_to(self.x[:, k + 1] == ahead)
        self.opti.subject_to(self.x[:, 0] == START)
        self.opti.subject_to(self.opti.bounded(-TORQUE, self.u, TORQUE))
        away, rate = 2 * (1 - ca.cos(self.x[0, :] - math.pi)), self.x[1, :]
        self.cost = ca.sum2(away[:H] + 0.05 * rate[:H] ** 2 + 0.01 * self.u**2)
        self.cost += 10 * away[H] + rate[H] ** 2
        if free_step:
            self.opti.subject_to(self.opti.bounded(DT / 5, self.dt, 2 * DT))
            self.opti.subject_to(self.x[:, H] == self.upright)
            self.cost = H * self.dt
        self.opti.minimize(self.cost)
        self.opti.solver("ipopt", {"print_time": False}, IPOPT)

    def solve(self, model: hm.HybridModel, guess: hm.Plan) -> ca.OptiSol:
        """With the numbers of `model`, from the states and inputs of a plan."""
        set_step = self.opti.set_initial if self.free_step else self.opti.set_value
        set_step(self.dt, model.dt)
        self.opti.set_value(self.upright, [math.copysign(math.pi, guess.x[-1, 0]), 0.0])
        self.opti.set_value(self.p, list(model.parameter_values().values()))
        self.opti.set_value(self.w, model.weights())
        self.opti.set_initial(self.x, guess.x.T)
        self.opti.set_initial(self.u, guess.u.T)
        return self.opti.solve()


def ours(model: hm.HybridModel, guess: hm.Plan | None = None) -> hm.Plan:
    """The same problem, stated for this project's planners; a CEM plan without a guess."""
    cost = hm.Quadratic(
        model.system,
        state={"angle": 1.0, "rate": 0.05},
        input={"torque": 0.01},
        terminal={"angle": 10.0, "rate": 1.0},
        target={"angle": math.pi},
    )
    bounds = ([-TORQUE], [TORQUE])
    problem = hm.OptimalControlProblem(model, cost, horizon=H, input_bounds=bounds)
    if guess is None:
        return hm.CEM(problem, samples=300, knots=10).plan(START)
    return hm.MultipleShooting(problem, tolerance=1e-9).plan(START, warm_start=guess)


def main(quick: bool = False) -> None:
    system = physics.Pendulum()
    hidden = envs.HiddenEffects(coulomb=(0.15,), input_gain=0.8)
    plant = envs.make(system, engine="ode", dt=DT, hidden=hidden)
    excitation = hm.Multisine(system.inputs, amplitude=0.9)
    logs = [hm.collect(plant, excitation, steps=100, seed=k) for k in range(4 if quick else 12)]
    plant.close()
    start = hm.HybridModel(
        system, residuals.MLP((16, 16)), dt=DT, placement=placement.input,
        fit_parameters=("damping", "motor_gain"),
    )  # fmt: skip
    epochs = 3 if quick else 30
    young = hm.fit(start, hm.Dataset(logs[:2]), hm.Dataset(logs[2:3]), epochs=epochs).model
    grown = hm.fit(start, hm.Dataset(logs[:-1]), hm.Dataset(logs[-1:]), epochs=epochs).model

    guess = ours(young)
    program = SwingUp(young, free_step=False)
    for name, model in (("first", young), ("second", grown)):
        solution, plan = program.solve(model, guess), ours(model, guess)
        u, cost = np.atleast_1d(solution.value(program.u)), float(solution.value(program.cost))
        print(f"{name} model: cost {cost:.8f} in your Opti, {plan.cost:.8f} in MultipleShooting")
        assert abs(cost - plan.cost) <= 1e-6 * plan.cost
        assert np.abs(u - plan.u[:, 0]).max() <= 1e-6 * np.abs(plan.u).max()
        guess = plan

    program = SwingUp(grown, free_step=True)
    seconds = float(program.solve(grown, guess).value(program.cost))
    print(f"free step: upright and at rest after {seconds:.2f} s instead of {H * DT:.2f} s")


if __name__ == "__main__":
    main()
