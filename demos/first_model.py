"""From a log to a plan in forty lines: a pendulum with dry friction that the physics ignores.

python demos/first_model.py
"""

from __future__ import annotations

import math

import numpy as np

import hybridmodel as hm
from hybridmodel import envs, physics, placement, residuals


def main(quick: bool = False) -> None:
    system = physics.Pendulum()
    hidden = envs.HiddenEffects(coulomb=(0.15,), input_gain=0.8, observation_noise=(1e-3, 5e-3))
    plant = envs.make(system, engine="ode", dt=0.05, hidden=hidden)

    excitation = hm.Multisine(system.inputs, amplitude=0.9)
    logs = [hm.collect(plant, excitation, steps=100, seed=k) for k in range(4 if quick else 12)]
    train, validation, test = hm.Dataset(logs).split((0.5, 0.25, 0.25))

    bare = hm.HybridModel(system, dt=0.05)
    model = hm.HybridModel(
        system,
        residuals.MLP((16, 16)),
        dt=0.05,
        placement=placement.input,
        fit_parameters=("damping", "motor_gain"),
    )
    fitted = hm.fit(model, train, validation, epochs=5 if quick else 40).model
    for name, value in fitted.parameter_values().items():
        print(f"{name}: {float(system.parameters[name]):.3f} → {value:.3f}")
    for name, candidate in (("physics", bare), ("hybrid", fitted)):
        error = hm.evaluate(candidate, test, horizon=50)
        print(f"{name:8} error after 1, 20, 50 steps: ", end="")
        print(", ".join(f"{error.at(k):.4f}" for k in (1, 20, 50)))

    cost = hm.Quadratic(
        system,
        state={"angle": 1.0, "rate": 0.05},
        input={"torque": 0.01},
        terminal={"angle": 10.0, "rate": 1.0},
        target={"angle": math.pi},
    )
    problem = hm.OptimalControlProblem(fitted, cost, horizon=40)
    first = hm.CEM(problem, samples=300, knots=10).plan(np.zeros(2))  # rest is a stationary point
    controller = hm.receding_horizon(hm.MultipleShooting(problem), every=4, first_plan=first)
    executed = hm.collect(plant, controller, steps=20 if quick else 160, state=np.zeros(2))
    print(f"after {executed.seconds:.1f} s the angle is {executed.y[-1, 0]:.2f} rad")
    plant.close()


if __name__ == "__main__":
    main()
