"""Both forms of the dynamics make the same plans, by all ways that lead to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np
import pytest
import torch
from torch import nn

from hybridmodel import Cost, HybridModel, MultipleShooting, OptimalControlProblem, Quadratic
from hybridmodel.planners import Plan, Status
from physics import CartPole, InputDelay, Pendulum, Quadrotor, Signal, System
from residuals import GRU, MLP

FORMS = ("matrix", "kernel")


def chain(model: HybridModel) -> Any:
    """The layers of its network."""
    residual: Any = model.residual
    return residual.chain


def hybrid(system: System, residual: nn.Module, **keywords) -> HybridModel:
    """With weights that matter."""
    model = HybridModel(system, residual, dt=0.05, **keywords)
    generator, network = torch.Generator().manual_seed(0), model.residual
    assert network is not None
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


class Follow(Cost):
    """The angle follows π."""

    parameters = ("reference",)

    def stage(self, x: ca.SX, u: ca.SX, k: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2 + 1e-2 * u[0] ** 2

    def terminal(self, x: ca.SX, pi: ca.SX) -> ca.SX:
        return (x[0] - pi[0]) ** 2


@dataclass(frozen=True, kw_only=True)
class Towed(System):
    """A pendulum on a pivot that is pulled sideways by a known acceleration."""

    states: tuple[Signal, ...] = (
        Signal("angle", "rad", angle=True),
        Signal("rate", "rad/s", rate_of="angle"),
    )
    inputs: tuple[Signal, ...] = (Signal("torque", "N·m/kg", -20.0, 20.0),)
    exogenous: tuple[Signal, ...] = (Signal("pull", "m/s²"),)

    def dynamics(self, x: ca.SX, u: ca.SX, p: SimpleNamespace, d: ca.SX) -> ca.SX:
        return ca.vertcat(x[1], u[0] - 9.81 * ca.sin(x[0]) - d[0] * ca.cos(x[0]))


def upright(system: System) -> Quadratic:
    return Quadratic(
        system,
        state={"position": 1.0, "angle": 5.0, "velocity": 0.1, "rate": 0.1},
        input={"force": 1e-2},
        target={"angle": np.pi},
    )


def cart(system: System | None = None, residual: nn.Module | None = None, **keywords):
    system = system or CartPole()
    model = hybrid(system, residual or MLP((8, 8)))
    cost = upright(system)
    options = {"horizon": 12, "input_bounds": ([-6.0], [6.0])} | keywords
    return OptimalControlProblem(model, cost, **options), np.full(model.nx, 0.1), None


def towed():
    problem = OptimalControlProblem(hybrid(Towed(), MLP((6,))), Follow(), horizon=8)
    moving = np.column_stack([np.linspace(-1, 2, 9), np.linspace(0.1, 0.4, 9)])
    return problem, np.array([0.2, 0.0]), moving


def quadrotor():
    system = Quadrotor()
    cost = Quadratic(
        system,
        state={"x": 1.0, "y": 1.0, "z": 1.0, "attitude": 1.0},
        input={s.name: 0.1 for s in system.inputs},
    )
    x0 = np.array([0.3, 0.0, 0.2, 12 / 13, 3 / 13, -4 / 13, 0.0, *[0.1] * 6])
    return OptimalControlProblem(hybrid(system, MLP((6,))), cost, horizon=5), x0, None


CASES: dict[str, Callable] = {
    "bounds": cart,
    "discount": lambda: cart(discount=0.9),
    "state bounds": lambda: cart(state_bounds=([-np.inf] * 4, [np.inf, np.inf, 0.3, np.inf])),
    "path": lambda: cart(
        inequality=lambda x, u, pi: ca.vertcat(x[0] - 0.2, -x[0] - 0.2),
    ),
    "equality": lambda: cart(equality=lambda x, u, pi: u[0] - 2 * ca.sin(x[1])),
    "end": lambda: cart(
        terminal_equality=lambda x, pi: x[0] - 0.05,
        terminal_inequality=lambda x, pi: x[2] ** 2 - 0.01,
    ),
    "delayed": lambda: cart(InputDelay(system=CartPole(), steps=2)),
    "recurrent": lambda: cart(residual=GRU(3, hidden=(5,), warmup=2)),
    "known forces, moving reference": towed,
    "quaternion": quadrotor,
}


@pytest.mark.parametrize("name", CASES)
def test_both_forms_make_the_same_plan(name: str) -> None:
    problem, x0, parameters = CASES[name]()
    plans = []
    for form in FORMS:
        planner = MultipleShooting(problem, tolerance=1e-9, samples=0, form=form)
        assert planner.form == form
        plans.append(planner.plan(x0, parameters=parameters))
    one, other = plans
    assert one.status is other.status is Status.CONVERGED
    assert one.cost == pytest.approx(other.cost, rel=1e-8)
    assert one.u == pytest.approx(other.u, abs=1e-7)
    assert one.x == pytest.approx(other.x, abs=1e-7)
    assert one.multipliers.keys() == other.multipliers.keys()
    for key, rows in one.multipliers.items():
        assert rows == pytest.approx(other.multipliers[key], abs=1e-5), key


def test_multipliers_of_either_form_start_the_other() -> None:
    problem, x0, _ = CASES["path"]()
    planners = {form: MultipleShooting(problem, samples=0, form=form) for form in FORMS}
    for form, other in (FORMS, FORMS[::-1]):
        first = planners[form].plan(x0)
        again = planners[other].plan(x0, warm_start=first)
        bare = Plan(u=first.u, x=first.x, cost=first.cost, status=first.status)
        assert again.status is Status.CONVERGED
        assert again.iterations < planners[other].plan(x0, warm_start=bare).iterations
        assert again.cost <= first.cost * (1 + 1e-9)


def test_the_hessian_may_leave_out_the_dynamics_in_both_forms() -> None:
    problem, x0, _ = cart(horizon=6)
    exact = MultipleShooting(problem, samples=0).plan(x0)
    for form in FORMS:
        planner = MultipleShooting(problem, samples=0, curvature="cost", form=form)
        assert planner.plan(x0).cost == pytest.approx(exact.cost, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_weights_and_physics_move_without_a_rebuild(form) -> None:
    model = hybrid(Pendulum(), MLP((5,)), fit_parameters=("gravity",))
    problem = OptimalControlProblem(model, Follow(), horizon=6)
    planner, x0, pi = MultipleShooting(problem, form=form), np.array([0.5, 0.0]), np.array([0.3])
    before, program = planner.plan(x0, parameters=pi), planner._program
    with torch.no_grad():
        model.theta.add_(0.3)
        chain(model)[-2].bias.add_(2.0)
    after = planner.plan(x0, parameters=pi)
    assert planner._program is program
    assert np.abs(after.u - before.u).max() > 1e-2
    assert after == MultipleShooting(problem, form=form).plan(x0, parameters=pi)


@pytest.mark.parametrize("form", FORMS)
def test_another_network_is_noticed(form) -> None:
    model = hybrid(Pendulum(), MLP((5,)))
    problem = OptimalControlProblem(model, Follow(), horizon=6)
    planner, x0, pi = MultipleShooting(problem, form=form), np.array([0.5, 0.0]), np.array([0.3])
    before = planner.plan(x0, parameters=pi)
    chain(model)[2] = nn.ReLU()  # it was Tanh
    after = planner.plan(x0, parameters=pi)
    assert np.abs(after.u - before.u).max() > 1e-6
    assert after == MultipleShooting(problem, form=form).plan(x0, parameters=pi)


@pytest.mark.parametrize("form", FORMS)
def test_a_deadline_holds_from_the_first_plan_on(form) -> None:
    problem, x0, _ = cart()
    plan = MultipleShooting(problem, form=form).plan(x0, deadline=1e-9)
    assert plan.status is Status.DEADLINE
    assert plan.usable
    assert plan.iterations <= 1


def test_numbers_that_are_none_are_told_and_not_raised() -> None:
    for form in FORMS:
        problem, x0, _ = cart()
        planner = MultipleShooting(problem, samples=0, form=form)
        with torch.no_grad():
            chain(problem.model)[-2].bias.fill_(np.nan)
        assert planner.plan(x0).status is Status.FAILED


# -- the choice ------------------------------------------------------------------------------


def test_the_kernel_is_taken_where_it_is_worth_compiling() -> None:
    cost = upright(CartPole())
    wide, narrow = (HybridModel(CartPole(), MLP(w), dt=0.05) for w in ((32, 32), (4,)))
    for model, form in ((wide, "kernel"), (narrow, "matrix")):
        planner = MultipleShooting(OptimalControlProblem(model, cost, horizon=8))
        assert planner.form == form
        assert f"form={form!r}" in repr(planner)
    wide.backend = "torch"
    assert MultipleShooting(OptimalControlProblem(wide, cost, horizon=8)).form == "matrix"


def test_what_cannot_be_had_is_refused() -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=0.05, backend="torch")
    problem = OptimalControlProblem(model, Follow(), horizon=4)
    with pytest.raises(ValueError, match="form: 'kernel' cannot be had: the model's backend is"):
        MultipleShooting(problem, form="kernel")
    with pytest.raises(ValueError, match=r"form must be one of .*'matrix', 'kernel'.*, got 'sx'"):
        MultipleShooting(problem, form="sx")  # type: ignore[arg-type]
