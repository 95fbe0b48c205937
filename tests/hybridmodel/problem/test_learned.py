"""Laws of networks inside costs: every path computes them, and their gradients."""

from __future__ import annotations

import itertools

import casadi as ca
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hybridmodel import (
    CEM,
    ILQR,
    SQP,
    Cost,
    HybridModel,
    Learned,
    MultipleShooting,
    OptimalControlProblem,
)
from hybridmodel.rollouts import objective_kernel
from physics import CartPole, Pendulum
from residuals import MLP

H = 6


def network(*sizes: int, seed: int = 0) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for n, m in itertools.pairwise(sizes):
        layers += [nn.Linear(n, m, dtype=torch.float64), nn.Tanh()]
    found = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for weight in found.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return found


class Rewarded(Cost):
    """A reward and a value beside effort; one network calls the other's result."""

    parameters = ("size",)

    def __init__(self, reward: nn.Module, value: nn.Module, extra: nn.Module) -> None:
        self.reward, self.value, self.extra = Learned(reward), Learned(value), Learned(extra)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        hidden = self.extra(ca.vertcat(ca.sin(x[0]), x[1]))
        return 0.1 * u[0] ** 2 - pi[0] * self.reward(ca.vertcat(x[0], u, hidden)) + hidden[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return x[0] ** 2 + self.value(x) ** 2 + self.extra(x[:2])[1]


@pytest.fixture(params=[False, True], ids=["physics", "residual"])
def problem(request) -> OptimalControlProblem:
    system = CartPole()
    model = HybridModel(
        system, MLP((8,)) if request.param else None, dt=0.04, fit_parameters=("pole_mass",)
    )
    if model.residual is not None:
        with torch.no_grad():
            for weight in model.residual.parameters():
                weight += 0.1
    parts = network(4, 5, 1), network(4, 7, 6, 1, seed=1), network(2, 4, 2, seed=2)
    return OptimalControlProblem(model, Rewarded(*parts), horizon=H, discount=0.9)


def by_hand(problem: OptimalControlProblem, x0: Tensor, u: Tensor, pi: Tensor) -> Tensor:
    cost, x = problem.cost, problem.model.rollout(x0, u)
    assert isinstance(cost, Rewarded)
    reward, value, extra = (part.module for part in (cost.reward, cost.value, cost.extra))
    before, last = x[..., :-1, :], x[..., -1, :]
    angle = before[..., :1]
    hidden = extra(torch.cat([angle.sin(), before[..., 1:2]], -1))
    stage = 0.1 * u[..., 0] ** 2 + hidden[..., 0] ** 2
    stage = stage - (pi[..., :H, :] * reward(torch.cat([angle, u, hidden], -1)))[..., 0]
    end = last[..., 0] ** 2 + value(last)[..., 0] ** 2 + extra(last[..., :2])[..., 1]
    gamma = problem.discount ** torch.arange(H, dtype=x.dtype)
    return (gamma * stage).sum(-1) + problem.discount**H * end


def drawn(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    u = torch.randn(count, H, 1, generator=generator, dtype=torch.float64)
    return x0, u, torch.rand(H + 1, 1, generator=generator, dtype=torch.float64)


def test_torch_casadi_and_kernel_give_the_same_cost(problem) -> None:
    x0, u, pi = drawn(300)
    with torch.no_grad():
        wanted = by_hand(problem, x0, u, pi)
    found, _, _ = problem.objective(x0, u, pi)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    kernel = objective_kernel(problem, x0, u, pi)
    assert kernel is not None
    torch.testing.assert_close(kernel(x0, u, pi)[0], wanted, rtol=1e-12, atol=1e-12)
    one = problem.evaluate(x0[0].numpy(), u[0].numpy(), pi.numpy())
    assert one[0] == pytest.approx(float(wanted[0]), rel=1e-12)


def test_gradients_reach_all_weights_by_both_paths(problem) -> None:
    x0, u, pi = drawn(300)
    networks = [part for network in problem.networks for part in network.parameters()]
    inputs = [x0, u, pi, *problem.model.parameters(), *networks]
    for given in inputs:
        given.requires_grad_()
    kernel = objective_kernel(problem, x0, u, pi)
    assert kernel is not None
    mine = torch.autograd.grad(kernel(x0, u, pi)[0].square().sum(), inputs)
    theirs = torch.autograd.grad(by_hand(problem, x0, u, pi).square().sum(), inputs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_second_derivatives_go_through_torch(problem) -> None:
    x0, u, pi = drawn(300)
    weight = problem.networks[0][0].weight
    found = []
    for cost in (lambda u: problem.cost_of(x0, u, pi)[0], lambda u: by_hand(problem, x0, u, pi)):
        u = u.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cost(u).sum(), u, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), weight)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_new_weights_are_seen_without_a_rebuild(problem) -> None:
    x0, u, pi = drawn(300)
    before = problem.cost_of(x0, u, pi)[0], problem.evaluate(x0[0], u[0], pi)[0]
    with torch.no_grad():
        for network in problem.networks:
            network[0].weight.mul_(-1.5)
    with torch.no_grad():
        wanted = by_hand(problem, x0, u, pi)
    found = problem.cost_of(x0, u, pi)[0], problem.evaluate(x0[0], u[0], pi)[0]
    torch.testing.assert_close(found[0], wanted, rtol=1e-12, atol=1e-12)
    assert found[1] == pytest.approx(float(wanted[0]), rel=1e-12)
    assert not torch.allclose(before[0], found[0])


class ToTheTop(Cost):
    """(θ − 1)² and (θ̇)² as networks that compute just this."""

    def __init__(self) -> None:
        self.away, self.fast = Learned(Square(1.0)), Learned(Square(0.0))

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return self.away(x[0]) + 0.1 * self.fast(x[1]) + 0.01 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return 10 * self.away(x[0])


class Square(nn.Module):
    def __init__(self, goal: float) -> None:
        super().__init__()
        self.goal = nn.Parameter(torch.tensor([goal], dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.goal) ** 2


class Written(ToTheTop):
    def __init__(self) -> None:
        self.away, self.fast = (lambda x: (x - 1) ** 2), (lambda v: v**2)  # type: ignore


@pytest.mark.slow
@pytest.mark.parametrize("planner", [MultipleShooting, SQP, ILQR, CEM])
def test_planners_of_both_families_plan_with_learned_costs(planner) -> None:
    model = HybridModel(Pendulum(), dt=0.05)
    plans = []
    for cost in (ToTheTop(), Written()):
        problem = OptimalControlProblem(model, cost, horizon=20)
        plans.append(planner(problem).plan(np.zeros(2)))
    assert plans[0].usable
    assert plans[0].cost == pytest.approx(plans[1].cost, rel=1e-6)
    np.testing.assert_allclose(plans[0].u, plans[1].u, atol=1e-4)


@pytest.mark.parametrize("planner", [MultipleShooting, SQP, ILQR, CEM])
def test_a_changed_layer_is_seen_by_planners_that_were_built_before(planner) -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=0.05)
    cost = ToTheTop()
    cost.away = Learned(network(1, 5, 1))
    problem = OptimalControlProblem(model, cost, horizon=10)
    built = planner(problem)
    built.plan(np.ones(2))
    cost.away.module[1] = nn.Sigmoid()
    fresh = planner(OptimalControlProblem(model, cost, horizon=10))
    x0 = np.ones(2)
    assert built.plan(x0).cost == pytest.approx(fresh.plan(x0).cost, rel=1e-9)


def test_weights_that_torch_does_not_know_of_are_left_to_it() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = [network(1, 5, 1)]

        def forward(self, z: Tensor) -> Tensor:
            return self.inside[0](z)

    cost = ToTheTop()
    cost.away = Learned(Hidden())
    model = HybridModel(Pendulum(), dt=0.05)
    problem = OptimalControlProblem(model, cost, horizon=10)
    x0, pi = torch.ones(2, dtype=torch.float64), torch.zeros(11, 0, dtype=torch.float64)
    u = torch.ones(500, 10, 1, dtype=torch.float64)
    assert objective_kernel(problem, x0, u, pi) is None
    model.backend = "kernel"
    with pytest.raises(ValueError, match="inside holds modules that are not registered"):
        objective_kernel(problem, x0, u, pi)


def test_a_network_knows_its_place() -> None:
    with pytest.raises(ValueError, match="module must be a torch module, got function"):
        Learned(lambda z: z)  # type: ignore[arg-type]
    reward = Learned(network(3, 1))
    with pytest.raises(ValueError, match="in the stage and terminal terms of a cost"):
        reward(ca.SX.sym("z", 3))
    cost = ToTheTop()
    model = HybridModel(Pendulum(), dt=0.05)
    cost.away = reward
    with pytest.raises(ValueError, match="Sequential does not take 1 numbers"):
        OptimalControlProblem(model, cost, horizon=3)
    cost.away = Learned(network(1, 1).float())
    with pytest.raises(ValueError, match="module must be float64 as the model is"):
        OptimalControlProblem(model, cost, horizon=3)
    cost.away = Learned(nn.Flatten(0))
    with pytest.raises(ValueError, match=r"Flatten must map \(…, nz\) to \(…, nr\); of \(3, 1\)"):
        OptimalControlProblem(model, cost, horizon=3)
    cost.away = Learned(network(1, 2))
    with pytest.raises(ValueError, match=r"cost.stage must return a scalar, got shape \(2, 1\)"):
        OptimalControlProblem(model, cost, horizon=3)
