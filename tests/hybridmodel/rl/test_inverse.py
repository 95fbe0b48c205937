"""Inverse models lead where they should: known optima, other solvers, densities, turns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

import hybridmodel as hm
from hybridmodel import envs, physics
from hybridmodel.rl.boxed_least_squares import boxed_least_squares
from hybridmodel.rl.inverse import InverseModel, fit_inverse
from hybridmodel.rl.proposals import ahead, proposal
from hybridmodel.rl.solved_inverse import ModelInverse, solve_inverse
from physics import Linear, Signal

DT = 0.05


@pytest.fixture(scope="module")
def cart() -> hm.HybridModel:
    """A double integrator, ẍ = u with |u| ≤ 5."""
    system = Linear(
        A=((0.0, 1.0), (0.0, 0.0)),
        B=((0.0,), (1.0,)),
        states=(Signal("p", "m"), Signal("v", "m/s", rate_of="p")),
        inputs=(Signal("u", "m/s²", -5.0, 5.0),),
    )
    return hm.HybridModel(system, dt=DT)


@pytest.fixture(scope="module")
def pendulum() -> hm.HybridModel:
    return hm.HybridModel(physics.Pendulum(), dt=DT)


@pytest.fixture(scope="module")
def logs(pendulum: hm.HybridModel) -> hm.Dataset:
    plant = envs.make(pendulum.system, engine="ode", dt=DT, substeps=1)
    wave = hm.RandomSteps(pendulum.system.inputs, amplitude=0.9, hold=(0.05, 0.3))
    return hm.Dataset([hm.collect(plant, wave, steps=60, seed=k) for k in range(6)])


def test_two_steps_reach_any_state_of_a_double_integrator(cart: hm.HybridModel) -> None:
    A = np.array([[1, DT], [0, 1]])
    B = np.array([[DT**2 / 2], [DT]])
    x, goal = np.array([0.1, -0.2]), np.array([0.086, -0.1])
    exact = np.linalg.solve(np.hstack([A @ B, B]), goal - A @ A @ x)
    found = solve_inverse(cart, torch.tensor(x), torch.tensor(goal), steps=2, effort=0.0)
    np.testing.assert_allclose(found.u[:, 0].numpy(), exact, rtol=1e-6)
    assert found.error < 1e-8


def test_an_input_out_of_reach_stays_at_its_bound(cart: hm.HybridModel) -> None:
    far = torch.tensor([[3.0, 9.0], [-3.0, -9.0]])
    found = solve_inverse(cart, torch.zeros(2), far, steps=3)
    torch.testing.assert_close(found.u[0], torch.full((3, 1), 5.0, dtype=torch.float64))
    torch.testing.assert_close(found.u[1], torch.full((3, 1), -5.0, dtype=torch.float64))


def test_the_optimum_is_that_of_another_solver(pendulum: hm.HybridModel) -> None:
    generator = torch.Generator().manual_seed(100)
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    goal = x + 0.6 * torch.randn(4, 2, generator=generator, dtype=torch.float64)
    weights, effort, n = {"angle": 2.0, "rate": 0.3}, 1e-2, 5
    found = solve_inverse(
        pendulum, x, goal, steps=n, weights=weights, effort=effort, iterations=100, tolerance=1e-14
    )
    high = pendulum.system.inputs[0].high

    def residuals(v: np.ndarray, i: int) -> np.ndarray:
        with torch.no_grad():
            end = pendulum.rollout(x[i], torch.tensor(high * v[:, None]))[-1]
        error = (end - goal[i]).numpy() * np.sqrt([2.0, 0.3])
        return np.concatenate([error, np.sqrt(effort) * v])

    for i in range(4):
        other = least_squares(residuals, np.zeros(n), bounds=(-1, 1), args=(i,), xtol=1e-12)
        own = residuals(found.u[i, :, 0].numpy() / high, i)
        assert own @ own <= 2 * other.cost * (1 + 1e-6)


def test_a_batch_is_its_problems_one_by_one(pendulum: hm.HybridModel) -> None:
    x = torch.tensor([[[0.1, 0.0], [1.0, -1.0]], [[2.0, 0.5], [-1.0, 0.0]]])
    goal = torch.tensor([0.5, 0.5])
    whole = solve_inverse(pendulum, x, goal, steps=3, iterations=50)
    assert whole.u.shape == (2, 2, 3, 1)
    for i in range(2):
        for j in range(2):
            one = solve_inverse(pendulum, x[i, j], goal, steps=3, iterations=50)
            torch.testing.assert_close(one.u, whole.u[i, j], rtol=1e-5, atol=1e-6)


def test_a_goal_and_a_turn_more_are_one_goal(pendulum: hm.HybridModel) -> None:
    x, goal = torch.tensor([3.0, 0.5]).double(), torch.tensor([3.05, 0.4]).double()
    turned = goal - torch.tensor([2 * math.pi, 0.0], dtype=torch.float64)
    found = [solve_inverse(pendulum, x, g, steps=2).u for g in (goal, turned)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)


def test_what_is_not_finite_is_never_taken() -> None:
    def residuals(v: torch.Tensor) -> torch.Tensor:
        return torch.where(v > 0.5, torch.nan, v - 0.4)

    def slopes(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return residuals(v), torch.full((len(v), 1, 1), 0.2, dtype=v.dtype)

    start = torch.full((3, 1), -0.9, dtype=torch.float64)
    solved = boxed_least_squares(residuals, slopes, start, iterations=60, tolerance=0.0)
    assert torch.isfinite(solved.cost).all()
    assert (solved.cost < (-0.9 - 0.4) ** 2).all()


def test_a_problem_that_runs_away_does_not_hold_the_others() -> None:
    def residuals(v: torch.Tensor) -> torch.Tensor:
        return slope * (v - 0.4)

    def slopes(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return residuals(v), slope[:, :, None]

    start = torch.full((3, 1), -0.9, dtype=torch.float64)
    for steep in (1e160, torch.inf):  # squared, both are infinite
        slope = torch.tensor([[1.0], [steep], [0.1]], dtype=torch.float64)
        solved = boxed_least_squares(residuals, slopes, start, iterations=30, tolerance=0.0)
        torch.testing.assert_close(solved.v[[0, 2], 0], start.new_tensor([0.4, 0.4]))


def test_the_density_is_a_normal_one_and_samples_have_its_moments(
    pendulum: hm.HybridModel,
) -> None:
    inverse = InverseModel(pendulum.system, steps=3, hidden=(8,), seed=1)
    with torch.no_grad():
        for weight in inverse.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(2)).mul_(0.3)
    x, after = torch.randn(5, 2, generator=torch.Generator().manual_seed(3)).double(), torch.ones(2)
    mean, log_sigma = inverse(x, after)
    assert mean.shape == (5, 3, 1)
    u = mean + 0.3
    known = torch.distributions.Normal(mean, log_sigma.exp()).log_prob(u).sum((-2, -1))
    torch.testing.assert_close(inverse.log_prob(x, after, u), known)
    many = inverse.sample(x[:1].expand(4000, 2), after, torch.Generator().manual_seed(4))
    torch.testing.assert_close(many.mean(0), mean[0], atol=0.1, rtol=0.0)
    torch.testing.assert_close(many.std(0), log_sigma[0].exp(), atol=0.05, rtol=0.05)


def test_a_learned_inverse_finds_the_inputs_of_its_data(
    pendulum: hm.HybridModel, logs: hm.Dataset
) -> None:
    inverse = fit_inverse(pendulum.system, logs, hidden=(32,), epochs=80, seed=0)
    windows = logs.windows(1)
    x, u = torch.tensor(windows.x), torch.tensor(windows.u)
    error = (inverse.mean(x[:, 0], x[:, 1]) - u).detach().square().mean().sqrt()
    assert error < 0.35 * u.std()
    turned = x + torch.tensor([2 * math.pi, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        inverse.mean(turned[:, 0], turned[:, 1]), inverse.mean(x[:, 0], x[:, 1])
    )
    again = fit_inverse(pendulum.system, logs, epochs=2, hidden=(8,), seed=5)
    same = fit_inverse(pendulum.system, logs, epochs=2, hidden=(8,), seed=5)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), same.parameters(), strict=True)
    )


def test_an_inverse_is_fitted_on_what_is_measured(
    pendulum: hm.HybridModel, logs: hm.Dataset
) -> None:
    def fitted(data: hm.Dataset) -> list[torch.Tensor]:
        inverse = fit_inverse(pendulum.system, data, epochs=2, hidden=(4,))
        return [weight.detach() for weight in inverse.parameters()]

    blurred = [replace(log, y=log.y + 0.1 * np.sin(37 * log.y)) for log in logs]
    alone = [replace(log, x=None) for log in blurred]
    noisy, measured = fitted(hm.Dataset(blurred)), fitted(hm.Dataset(alone))
    assert all(torch.equal(a, b) for a, b in zip(noisy, measured, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(noisy, fitted(logs), strict=True))


def test_windows_that_share_an_input_with_those_held_out_teach_nothing(
    pendulum: hm.HybridModel, logs: hm.Dataset
) -> None:
    steps, windows = 4, 60 - 4 + 1
    first = windows - round(0.15 * windows)  # of those held out
    other = []
    for log in logs:
        u = np.array(log.u)
        u[first : first + 1] *= 0.5  # the first input that a held-out window has
        other.append(replace(log, u=u))
    means = [
        fit_inverse(pendulum.system, hm.Dataset(data), steps=steps, epochs=1, hidden=(4,))
        for data in (list(logs), other)
    ]
    assert torch.equal(means[0].input_mean, means[1].input_mean)


def test_fitting_leaves_the_global_generator_alone(
    pendulum: hm.HybridModel, logs: hm.Dataset
) -> None:
    before = torch.get_rng_state()
    fit_inverse(pendulum.system, logs, epochs=1, hidden=(4,))
    assert torch.equal(before, torch.get_rng_state())


def test_both_inverses_are_policies_that_help_a_small_search(
    cart: hm.HybridModel,
) -> None:
    goal = torch.tensor([0.4, 0.0])
    cost = hm.Quadratic(
        cart.system,
        state={"p": 1.0},
        input={"u": 1e-4},
        terminal={"p": 50.0, "v": 20.0},
        target={"p": 0.4},
    )
    problem = hm.OptimalControlProblem(cart, cost, horizon=20)
    policy = proposal(ModelInverse(cart, steps=10, effort=1e-4, iterations=8), goal)
    u = policy(torch.zeros(6, 2, dtype=torch.float64))
    assert u.shape == (6, 1)
    costs = [
        hm.CEM(problem, samples=10, elites=3, iterations=1, policy=p).plan(np.zeros(2), seed=0).cost
        for p in (None, policy)
    ]
    assert costs[1] < 0.5 * costs[0]
    learned = InverseModel(cart.system, steps=2, hidden=(4,))
    assert proposal(learned, goal)(torch.zeros(6, 2, dtype=torch.float64)).shape == (6, 1)


def test_ahead_of_a_point_on_the_reference_is_the_point_so_many_steps_later() -> None:
    system = physics.Pendulum()
    t = torch.linspace(0, 3, 50, dtype=torch.float64)
    reference = torch.stack([t.sin(), t.cos()], 1)
    goal = ahead(system, reference, steps=4)
    torch.testing.assert_close(goal(reference[10:20]), reference[14:24])
    torch.testing.assert_close(goal(reference[-2:]), reference[-1].expand(2, 2))
    turn = torch.tensor([2 * math.pi, 0.0], dtype=torch.float64)
    torch.testing.assert_close(goal(reference[10:20] + turn), reference[14:24])


def test_following_a_reference_of_the_model_gives_back_its_inputs(
    pendulum: hm.HybridModel,
) -> None:
    u = 1.5 * torch.sin(torch.arange(30.0, dtype=torch.float64) / 5)[:, None]
    path = pendulum.rollout(torch.zeros(2, dtype=torch.float64), u)
    policy = proposal(
        ModelInverse(pendulum, effort=1e-10, iterations=10), ahead(pendulum.system, path, steps=1)
    )
    torch.testing.assert_close(policy(path[5:25]), u[5:25], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"steps": 0}, "steps"),
        ({"effort": -1.0}, "effort"),
        ({"weights": {"nothing": 1.0}}, "weights"),
        ({"bounds": ([1.0], [0.0])}, "bounds"),
        ({"guess": torch.zeros(2, 1)}, "guess"),
        ({"guess": np.zeros((1, 1))}, "guess"),
        ({"reference": torch.zeros(2)}, "reference"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"x": np.zeros(2)}, "x must be a torch.Tensor"),
        ({"x": torch.zeros(3)}, "x must have 2 columns"),
        ({"x_goal": np.zeros(2)}, "x_goal"),
        ({"x_goal": torch.zeros(1)}, "x_goal"),
        ({"x_goal": torch.zeros(3)}, "x_goal"),
        ({"x_goal": torch.tensor([0.0, math.nan])}, "x_goal"),
        ({"x": torch.tensor([0.0, math.nan])}, "x must be finite"),
        ({"guess": torch.full((1, 1), math.nan)}, "guess must be finite"),
        ({"weights": {"p": math.inf}}, "weights must be finite"),
        ({"x": torch.zeros(0, 2)}, "x must hold a state"),
    ],
)
def test_bad_arguments_are_named(cart: hm.HybridModel, change: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        solve_inverse(cart, **{"x": torch.zeros(2), "x_goal": torch.ones(2), **change})


def test_a_fit_names_what_it_cannot_use(cart: hm.HybridModel, logs: hm.Dataset) -> None:
    with pytest.raises(ValueError, match="epochs"):
        fit_inverse(physics.Pendulum(), logs, epochs=0)
    with pytest.raises(ValueError, match="held_out"):
        fit_inverse(physics.Pendulum(), logs, held_out=1.0)
    with pytest.raises(ValueError, match="too few"):
        fit_inverse(physics.Pendulum(), logs, steps=40)


def test_proposals_name_what_they_cannot_use(cart: hm.HybridModel) -> None:
    for reference in (
        torch.zeros(3, 5),
        torch.zeros(0, 2),
        np.zeros((3, 2)),
        torch.full((3, 2), math.nan),
    ):
        with pytest.raises(ValueError, match="reference"):
            ahead(cart.system, reference)  # type: ignore[arg-type]
    x = torch.zeros(4, 2, dtype=torch.float64)
    for inverse in (InverseModel(cart.system, hidden=(4,)), ModelInverse(cart)):
        for goal in (torch.zeros(3), torch.tensor([0.0, math.nan]), np.zeros(2)):
            with pytest.raises(ValueError, match="goal"):
                proposal(inverse, goal)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="goal"):
            proposal(inverse, lambda x: torch.zeros(len(x), 3))(x)
        with pytest.raises(ValueError, match="x_"):
            inverse.mean(x, torch.zeros(4, 1))
