"""The objective, evaluated by hand, and its bounds and constraints."""

from __future__ import annotations

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import Cost, HybridModel, OptimalControlProblem, Quadratic
from physics import CartPole, DoublePendulum, InputDelay, Pendulum

SYSTEM = CartPole()
MODEL = HybridModel(SYSTEM, dt=0.05)
COST = Quadratic(SYSTEM, state={"angle": 1.0, "velocity": 0.3}, input={"force": 0.1})
H = 6


class Tracking(Cost):
    """Follow a reference, at a price that grows with k."""

    parameters = ("reference", "price")

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return pi[1] * (x[0] - pi[0]) ** 2 + k * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return 10 * pi[1] * (x[0] - pi[0]) ** 2


def problem(cost: Cost = COST, **keywords) -> OptimalControlProblem:
    return OptimalControlProblem(MODEL, cost, **{"horizon": H} | keywords)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return 0.3 * generator.standard_normal(4), generator.standard_normal((H, 1))


def test_the_objective_is_the_discounted_sum_of_its_definition() -> None:
    x0, u = drawn()
    parameters = np.random.default_rng(1).uniform(0, 1, (H + 1, 2))
    cost, x, violation = problem(Tracking(), discount=0.9).evaluate(x0, u, parameters)
    wanted = sum(
        0.9**k * (parameters[k, 1] * (x[k, 0] - parameters[k, 0]) ** 2 + k * u[k, 0] ** 2)
        for k in range(H)
    )
    wanted += 0.9**H * 10 * parameters[H, 1] * (x[H, 0] - parameters[H, 0]) ** 2
    assert cost == pytest.approx(wanted, rel=1e-13)
    assert violation == 0.0
    assert np.array_equal(x, MODEL.rollout(torch.tensor(x0), torch.tensor(u)).numpy())


def test_one_row_of_parameters_holds_for_all_steps() -> None:
    x0, u = drawn()
    row = np.array([0.3, 2.0])
    tracking = problem(Tracking())
    rows = tracking.evaluate(x0, u, np.tile(row, (H + 1, 1)))
    assert tracking.evaluate(x0, u, row)[0] == rows[0]


def test_a_batch_is_its_rows() -> None:
    x0, _ = drawn()
    u = torch.randn(3, 2, H, 1, generator=torch.Generator().manual_seed(0)).double()
    cost, x, violation = problem().objective(torch.tensor(x0), u, torch.zeros(H + 1, 0))
    assert (cost.shape, x.shape, violation.shape) == ((3, 2), (3, 2, H + 1, 4), (3, 2))
    single = problem().evaluate(x0, u[2, 1].numpy())
    assert float(cost[2, 1]) == pytest.approx(single[0], rel=1e-13)


def test_violation_is_how_far_bounds_and_constraints_are_overstepped() -> None:
    x0, u = np.array([0.5, 0.0, 2.0, 0.0]), np.zeros((H, 1))
    _, x, free = problem(state_bounds=([-9.0] * 4, [9.0] * 4)).evaluate(x0, u)
    assert free == 0.0
    over = np.clip(x[:, 0] - 0.6, 0, None)
    constrained = {
        "state_bounds": ([-9.0] * 4, [0.6, 9, 9, 9]),  # x₀ itself is not to be helped
        "inequality": lambda x, u, pi: x[0] - 0.6,
        "equality": lambda x, u, pi: ca.vertcat(u[0] - 1, 0),
        "terminal_inequality": lambda x, pi: x[0] - 0.6,
        "terminal_equality": lambda x, pi: x[0] - 0.6,
    }
    wanted = {
        "state_bounds": over[1:].sum(),
        "inequality": over[:-1].sum(),
        "equality": float(H),
        "terminal_inequality": over[-1],
        "terminal_equality": abs(x[-1, 0] - 0.6),
    }
    for name, value in constrained.items():
        bounds = {"state_bounds": ([-9.0] * 4, [9.0] * 4)} | {name: value}
        assert problem(**bounds).evaluate(x0, u)[2] == pytest.approx(wanted[name], rel=1e-12)


def test_bounds_are_the_systems_unless_given_and_memory_is_free() -> None:
    model = HybridModel(InputDelay(system=SYSTEM, steps=2), dt=0.05)
    own = OptimalControlProblem(model, COST, horizon=H)
    (force,), free = SYSTEM.inputs, [np.inf] * 2
    assert (own.input_low.tolist(), own.input_high.tolist()) == ([force.low], [force.high])
    assert own.state_low.tolist() == [*(s.low for s in SYSTEM.states), -np.inf, -np.inf]
    assert own.state_high.tolist() == [*(s.high for s in SYSTEM.states), *free]


def test_functions_of_the_cost_see_the_continuous_state_alone() -> None:
    model = HybridModel(InputDelay(system=SYSTEM, steps=2), dt=0.05)
    delayed = OptimalControlProblem(
        model, COST, horizon=H, inequality=lambda x, u, pi: ca.SX(x.shape[0] - 4)
    )
    x0, u = drawn()
    cost, _, violation = delayed.evaluate(np.append(x0, [0.0, 0.0]), u)
    late = np.concatenate([np.zeros((2, 1)), u[:-2]])
    applied, _, _ = problem().evaluate(x0, late)
    effort = 0.1 * (u**2).sum() - 0.1 * (late**2).sum()
    assert cost == pytest.approx(applied + effort, rel=1e-12)
    assert violation == 0.0


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"horizon": 0}, "horizon must be a whole number of at least 1 step, got 0"),
        ({"discount": 0.0}, r"discount must lie in \(0, 1\], got 0.0"),
        ({"discount": 1.1}, r"discount must lie in \(0, 1\], got 1.1"),
        ({"input_bounds": ([1.0], [-1.0])}, "input_bounds are reversed for 'force': low 1.0 > hi"),
        ({"input_bounds": ([np.nan], [1.0])}, "input_bounds are reversed for 'force': low nan"),
        ({"input_bounds": ([0.0] * 2, [1.0] * 2)}, "input_bounds must be two rows of 1 numbers"),
        ({"input_bounds": ([0.0], [1.0], [2.0])}, r"must be a pair \(low, high\), got 3 entries"),
        ({"state_bounds": ([0.0], [1.0])}, "state_bounds must be two rows of 4 numbers for .*rate"),
        ({"inequality": lambda x, u, pi: x.T}, r"inequality must return a column, got .*\(1, 4\)"),
        ({"terminal_equality": lambda x, pi: x.T}, "terminal_equality must return a column"),
    ],
)
def test_constructor_errors_name_the_argument(keywords, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem(**keywords)


def test_parameter_errors_name_what_is_wanted() -> None:
    tracking = problem(Tracking())
    for wrong in (None, np.zeros(3), np.zeros((H, 2)), np.array([0.0, np.nan])):
        with pytest.raises(ValueError, match=r"shape \(7, 2\) or \(2,\) for \['reference', 'price"):
            tracking.problem_parameters(wrong)
    with pytest.raises(ValueError, match="parameters must be finite with shape"):
        problem().problem_parameters(np.ones(1))


def test_a_cost_that_is_no_scalar_is_refused() -> None:
    class Column(Tracking):
        def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
            return x

    with pytest.raises(ValueError, match=r"cost.stage must return a scalar, got shape \(4, 1\)"):
        problem(Column())


def test_whole_numbers_are_numbers() -> None:
    ones = problem().evaluate(np.ones(4), np.ones((H, 1)))
    assert problem().evaluate([1, 1, 1, 1], np.ones((H, 1), int))[0] == ones[0]


def test_a_single_precision_model_is_refused() -> None:
    model = HybridModel(SYSTEM, dt=0.05).float()
    with pytest.raises(
        ValueError, match=r"model must be float64 for planning, it is torch.float32"
    ):
        OptimalControlProblem(model, COST, horizon=H)


def test_a_cost_of_another_system_is_refused() -> None:
    with pytest.raises(ValueError, match="cost is for 2 states, the model has 4"):
        problem(Quadratic(Pendulum(), state={"angle": 1.0}, input={}))
    with pytest.raises(ValueError, match="cost is for 2 inputs, the model has 1"):
        problem(Quadratic(DoublePendulum(), state={"elbow": 1.0}, input={}))
