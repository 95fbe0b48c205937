"""Values from the model alone: Riccati's where there is one, and a swing-up that needs one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hybridmodel as hm
from hybridmodel import envs, physics
from hybridmodel.rl.value import Value, WithValue
from hybridmodel.rl.value_iteration import iterate_value
from residuals import MLP


def test_values_of_a_discounted_regulator_are_riccatis() -> None:
    discount = 0.9
    system = physics.Linear(A=[[-0.5]], B=[[2.0]], inputs=(physics.Signal("u", "", -2.0, 2.0),))
    model = hm.HybridModel(system, dt=0.1)
    rest = torch.zeros(1, dtype=torch.float64)
    A, B = (m.detach().numpy() for m in model.linearize(rest, rest))
    P = np.array([[1.0]])
    for _ in range(500):
        K = np.linalg.solve(0.5 + discount * B.T @ P @ B, discount * B.T @ P @ A)
        P = 1.0 + K.T @ (0.5 * K) + discount * (A - B @ K).T @ P @ (A - B @ K)
    cost = hm.Quadratic(system, state={system.states[0].name: 1.0}, input={"u": 0.5})
    problem = hm.OptimalControlProblem(model, cost, horizon=2, discount=discount)
    states = np.linspace(-1, 1, 64)[:, None]
    found = iterate_value(problem, states, rounds=25, knots=2, epochs=30, hidden=(16,))
    value = found.value(torch.tensor(states))[:, 0].detach().numpy()
    exact = -(P[0, 0] * states[:, 0] ** 2)
    assert np.abs(value - exact).max() < 0.1 * np.abs(exact).max()


@pytest.fixture(scope="module")
def swing_up():
    system = physics.Pendulum()
    model = hm.HybridModel(system, dt=0.05)
    cost = hm.Quadratic(
        system, state={"angle": 1.0, "rate": 0.05}, input={"torque": 0.01}, target={"angle": np.pi}
    )
    problem = hm.OptimalControlProblem(model, cost, horizon=8, discount=0.98)
    states = np.random.default_rng(0).uniform(-1, 1, (500, 2)) * np.array([np.pi, 8.0])
    return problem, iterate_value(problem, states, rounds=40, epochs=15, hidden=(32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("valued", [False, True])
def test_a_short_horizon_swings_up_with_a_value_alone(swing_up, valued: bool) -> None:
    problem, with_value = swing_up
    cost = with_value if valued else problem.cost
    short = hm.OptimalControlProblem(problem.model, cost, horizon=8, discount=0.98)
    policy = hm.receding_horizon(hm.CEM(short, samples=100, elites=10, iterations=3), every=2)
    with envs.make(problem.model.system, engine="ode", dt=0.05) as plant:
        log = hm.collect(plant, policy, steps=120, seed=0, state=[0.05, 0.0])
    upright = bool((np.cos(log.y[-20:, 0]) < -0.9).all())
    assert upright == valued


def test_every_planner_reads_the_value(swing_up) -> None:
    problem, with_value = swing_up
    short = hm.OptimalControlProblem(problem.model, with_value, horizon=8, discount=0.98)
    x0 = np.array([2.0, 0.5])
    first = hm.CEM(short).plan(x0, seed=0)
    costs = [
        planner.plan(x0, seed=0, warm_start=first).cost
        for planner in (hm.MPPI(short), hm.SQP(short), hm.ILQR(short))
    ]
    assert max(costs) <= first.cost
    assert first.cost - min(costs) < 0.01 * abs(first.cost)
    x = torch.tensor(x0)
    told = float(short.terminal(x0, np.zeros(0), short.weights()))
    seen = with_value.coordinates.observed(x)
    assert told == pytest.approx(-float(with_value.value(seen)), rel=1e-9)


def test_no_value_exceeds_its_ceiling() -> None:
    network = MLP((4,), seed=0).sized(2, 1)
    torch.nn.init.normal_(network.chain[-2].weight, generator=torch.Generator().manual_seed(0))
    value = Value(network, torch.tensor(0.0).double(), ceiling=0.1, width=0.05)
    network.requires_grad_(False)
    o = 10 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1)).double()
    free = Value(network, torch.tensor(0.0).double())
    assert float(value(o).max()) <= 0.1
    assert float(free(o).max()) > 0.1
    low = free(o) < -1.0
    assert torch.allclose(value(o)[low], free(o)[low])
    assert torch.allclose(value.unbounded_from(value(o)[low]), value.unbounded(o)[low])


def test_a_reward_for_inputs_lifts_the_ceiling() -> None:
    class Push(hm.Cost):
        """ℓ = (u − 1)², which rest does not see."""

        def stage(self, x, u, k, pi):
            return (u[0] - 1) ** 2

        def terminal(self, x, pi):
            return 0 * x[0]

    model = hm.HybridModel(physics.Pendulum(), dt=0.05)
    problem = hm.OptimalControlProblem(model, Push(), horizon=2, discount=0.9)
    states = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    found = iterate_value(problem, states, rounds=5, hidden=(8,), candidates=8, knots=2)
    value = found.value(found.coordinates.observed(torch.tensor(states)))
    assert found.value.ceiling == pytest.approx(0, abs=1e-6)
    assert float(value.detach().min()) > -2


@pytest.mark.slow
def test_a_bound_takes_value_away_and_no_more() -> None:
    system = physics.Pendulum()
    model = hm.HybridModel(system, dt=0.05)
    cost = hm.Quadratic(system, state={"angle": 1.0}, input={"torque": 0.01}, target={"angle": 3.0})
    states = np.random.default_rng(0).uniform(-1, 1, (300, 2)) * np.array([np.pi, 4.4])
    free = ((-np.inf, -np.inf), (np.inf, np.inf))
    tight = ((-np.inf, -4.0), (np.inf, 4.0))
    values = []
    for bounds in (free, tight):
        problem = hm.OptimalControlProblem(
            model, cost, horizon=5, discount=0.9, state_bounds=bounds
        )
        found = iterate_value(problem, states, rounds=40, hidden=(32, 32), epochs=15)
        at = torch.tensor([[3.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
        values.append(found.value(found.coordinates.observed(at)).detach())
    unbounded, bounded = values
    assert bool((bounded <= unbounded + 3.0).all())
    assert float(bounded[0, 0]) > -3.0


def test_bad_arguments_are_named(swing_up) -> None:
    problem, _ = swing_up
    with pytest.raises(ValueError, match="states must be finite"):
        iterate_value(problem, np.zeros((5, 3)))
    with pytest.raises(ValueError, match="rounds"):
        iterate_value(problem, np.zeros((5, 2)), rounds=0)
    patient = hm.OptimalControlProblem(problem.model, problem.cost, horizon=3)
    with pytest.raises(ValueError, match="discount below 1"):
        iterate_value(patient, np.zeros((5, 2)))
    assert isinstance(WithValue(problem.cost, swing_up[1].coordinates, swing_up[1].value), hm.Cost)
