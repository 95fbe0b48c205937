"""Laws of every hybrid model, whatever it is made of."""

from __future__ import annotations

import copy
import itertools
import math

import casadi as ca
import numpy as np
import pytest
import torch

from hybridmodel import HybridModel, check_agreement, placement
from hybridmodel.paths import PATHS
from physics.integrators import discrete


def numbers(function: ca.Function, *arguments: torch.Tensor) -> torch.Tensor:
    return torch.tensor(function(*(a.detach().numpy() for a in arguments)).full()[:, 0])


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-12) -> None:
    gap = ((ours - theirs).abs() / theirs.abs().clamp(min=1)).detach()
    assert float(gap.max()) <= tolerance


def test_all_pairs_of_entries_meet_in_the_rows(zoo) -> None:
    axes = [tuple(axis) for axis in zoo.axes]
    rows = zoo.pairwise(axes)
    assert rows == zoo.pairwise(axes)
    assert len(rows) < 1.5 * max(len(a) * len(b) for a, b in itertools.combinations(axes, 2))
    for (i, first), (j, second) in itertools.combinations(enumerate(axes), 2):
        met = {(row[i], row[j]) for row in rows}
        assert met == set(itertools.product(first, second))


def test_torch_and_casadi_agree(case) -> None:
    others = [name for name in PATHS if "kernel" not in name]  # it has a contract of its own
    assert check_agreement(case.trained, points=2, paths=others).holds


def test_untrained_is_the_physics_exactly(case) -> None:
    x, u, d = case.draw(7)
    # a constant that is folded in the physics is a number to be moved by r: rounding differs
    same = assert_close if case.placement is placement.parameters else check_equal
    n = case.system.nx  # a residual's memory follows
    ahead = case.physics(x[:, :n], u, d)
    same(case.untrained(x, u, d)[:, :n], ahead)
    ours, theirs = case.untrained.step_function(), case.physics.step_function()
    p = case.physics.physical()
    same(numbers(ours, x[0], u[0], p, d[0])[:n], numbers(theirs, x[0, :n], u[0], p, d[0]))


def check_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert torch.equal(ours, theirs)


def test_a_full_turn_goes_through_a_step(case) -> None:
    x, u, d = case.draw(5)
    ahead = case.trained(x, u, d)
    for row in case.system.angle_rows:
        turn = 2 * math.pi * torch.eye(case.nx, dtype=x.dtype)[row]
        assert_close(case.trained(x + turn, u, d), ahead + turn)


def test_any_leading_dims_and_rows_are_independent(case) -> None:
    x, u, d = case.draw(2, 3)
    ahead = case.trained(x, u, d)
    assert ahead.shape == x.shape
    for i, j in itertools.product(range(2), range(3)):
        assert_close(case.trained(x[i, j], u[i, j], d[i, j]), ahead[i, j])
    assert_close(case.trained(x[0, 0], u, d), case.trained(x[:1, :1].expand_as(x), u, d))


def test_a_rollout_is_the_iterated_step(case) -> None:
    model, H = case.trained, 4
    x0, _, _ = case.draw(3)
    _, u, d = case.draw(3, H, seed=1)
    states = [x0]
    for k in range(H):
        states.append(model(states[-1], u[:, k], d[:, k]))
    assert torch.allclose(model.rollout(x0, u, d), torch.stack(states, 1), 0, 0, equal_nan=True)
    assert model.rollout(x0, u[:, :0], d[:, :0]).shape == (3, 1, case.nx)
    assert_close(model.rollout(x0[0], u[0], d[0]), torch.stack(states, 1)[0])


def test_the_step_function_is_the_torch_step(case) -> None:
    x, u, d = case.draw(3)
    model, p = case.trained, case.trained.physical()
    ahead, baked = model(x, u, d), model.step_function()
    loose = model.step_function(weights="parameters")
    w = [torch.tensor(model.weights())] if model.residual is not None else []
    for k in range(3):
        assert_close(numbers(baked, x[k], u[k], p, d[k]), ahead[k])
        assert_close(numbers(loose, x[k], u[k], p, d[k], *w), ahead[k])


def test_new_weights_need_no_new_function(case, zoo) -> None:
    x, u, d = case.draw()
    old = case.trained.step_function(weights="parameters")
    new = zoo.trained(copy.deepcopy(case.trained), seed=5)
    w = [torch.tensor(new.weights())] if new.residual is not None else []
    assert_close(numbers(old, x, u, new.physical(), d, *w), new(x, u, d))


def test_a_free_step_agrees_or_is_refused_by_name(case) -> None:
    model = case.trained
    reasons = {
        "the system is discrete": case.system.dt is not None,
        "held over a step": model.hold and model.residual is not None,
        "'next_state' acts on the discrete step": (
            model.residual is not None and case.placement.enters == "next state"
        ),
        "memory that advances once a step": case.nx > len(case.system.states),
    }
    named = [reason for reason, applies in reasons.items() if applies]
    if named:
        for call in (
            lambda: model.step_function(dt="symbolic"),
            lambda: model.step_function(dt=2 * model.dt),
            model.ode_function,
        ):
            with pytest.raises(ValueError, match=rf"refused: .*{named[0]}.* so dt belongs"):
                call()
        return
    x, u, d = case.draw()
    p = model.physical()
    free, fixed = model.step_function(dt="symbolic"), model.step_function(dt=2 * model.dt)
    h = torch.tensor([2 * model.dt], dtype=x.dtype)
    assert_close(numbers(free, x, u, p, d, h), numbers(fixed, x, u, p, d))
    assert_close(numbers(free, x, u, p, d, h / 2), model(x, u, d))


def test_the_ode_is_where_a_vanishing_step_points(case) -> None:
    model = case.trained
    discrete = model.scheme.enters == "next state" or case.system.dt is not None
    remembers = case.nx > len(case.system.states)
    if discrete or remembers or (model.hold and model.residual is not None):
        return  # the test above: refused by name
    free = model.step_function(dt="symbolic")
    arguments = [ca.MX.sym(free.name_in(i), free.size1_in(i)) for i in range(free.n_in())]
    slope = ca.Function("slope", arguments, [ca.jacobian(free(*arguments), arguments[-1])])
    x, u, d = case.draw()
    p = model.physical()
    assert_close(
        numbers(slope, x, u, p, d, torch.zeros(1)), numbers(model.ode_function(), x, u, p, d)
    )


def test_linearize_is_what_differences_give(case) -> None:
    x, u, d = case.draw(2)
    model, h = case.trained, 1e-6
    A, B = model.linearize(x, u, d)
    assert A.shape == (2, case.nx, case.nx)
    assert B.shape == (2, case.nx, case.system.nu)
    both = torch.cat([x, u], -1)
    moved = h * torch.eye(both.shape[-1], dtype=x.dtype)[:, None]  # (nx + nu, 1, nx + nu)

    def ahead(at: torch.Tensor) -> torch.Tensor:
        x, u = at.split([case.nx, case.system.nu], -1)
        return model(x, u, d.expand(*u.shape[:-1], -1))

    slopes = (ahead(both + moved) - ahead(both - moved)) / (2 * h)  # (nx + nu, 2, nx)
    assert_close(torch.cat([A, B], -1), slopes.permute(1, 2, 0), 1e-6)


def test_a_copy_is_equal_and_apart(case) -> None:
    x, u, d = case.draw(3)
    before = case.trained(x, u, d)
    twin = copy.deepcopy(case.trained)
    assert torch.equal(twin(x, u, d), before)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.add_(1)
    assert torch.equal(case.trained(x, u, d), before)


def test_float32_follows_its_inputs(case) -> None:
    x, u, d = case.draw(3)
    single = copy.deepcopy(case.trained).float()
    ahead = single(x.float(), u.float(), d.float())
    assert ahead.dtype == torch.float32
    assert_close(ahead.double(), case.trained(x, u, d), 1e-5)


def test_what_is_passed_in_stays_as_it_was(case) -> None:
    recipe = case.recipe
    if recipe is None:
        return
    before = {name: value.clone() for name, value in recipe.state_dict().items()}
    kinds = {name: value.dtype for name, value in before.items()}
    model = case.build(recipe)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(3.0)
    assert {name: v.dtype for name, v in recipe.state_dict().items()} == kinds
    assert all(torch.equal(recipe.state_dict()[name], v) for name, v in before.items())


# -- physics alone: against an integrator written by hand ------------------------------------


def by_hand(name: str, substeps: int, f, x: np.ndarray, dt: float, is_rate: np.ndarray):
    h = dt / substeps
    for _ in range(substeps):
        if name == "discrete":
            x = f(x)
        elif name == "euler":
            x = x + h * f(x)
        elif name == "semi_implicit_euler":
            x = np.where(is_rate, x + h * f(x), x)
            x = np.where(is_rate, x, x + h * f(x))
        else:
            k1 = f(x)
            k2 = f(x + h * k1 / 2)
            k3 = f(x + h * k2 / 2)
            k4 = f(x + h * k3)
            x = x + h * (k1 / 6 + k2 / 3 + k3 / 3 + k4 / 6)
    return x


def test_physics_alone_is_the_integrated_system(system_name: str, stepping_name: str, zoo) -> None:
    system = zoo.systems[system_name]
    integrator, substeps = zoo.steppings[stepping_name] if system.dt is None else (discrete, 1)
    n, rng = len(system.states), np.random.default_rng(3)
    dt = system.dt or 0.05
    model = HybridModel(system, dt=dt, integrator=integrator, substeps=substeps)
    x, u, d = (rng.standard_normal(k) for k in (system.nx, system.nu, system.nd))
    acting = x[n : n + system.nu] if system.memory else u
    symbols = [system.symbols.sym("s", k) for k in (n, system.nu, system.nd)]
    xdot = system.dynamics(symbols[0], symbols[1], system.namespace(), symbols[2])
    f = ca.Function("f", symbols, [xdot])
    is_rate = np.array([s.rate_of is not None for s in system.states])
    wanted = by_hand(
        integrator.name, substeps, lambda x: f(x, acting, d).full()[:, 0], x[:n], dt, is_rate
    )
    ahead = model(*(torch.tensor(v) for v in (x, u, d))).numpy()
    for row in system.quaternion_rows:
        wanted[row : row + 4] /= np.linalg.norm(wanted[row : row + 4])
    assert ahead[:n] == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert ahead[n:].tolist() == [*x[n + system.nu :], *u][: len(system.memory)]


def test_the_output_is_the_documented_one(system_name: str, zoo) -> None:
    system, rng = zoo.systems[system_name], np.random.default_rng(4)
    model = HybridModel(system, dt=system.dt or 0.05)
    x, u, d = (rng.standard_normal((5, k)) for k in (system.nx, system.nu, system.nd))
    y = model.output(*(torch.tensor(v) for v in (x, u, d))).numpy()
    assert y.shape == (5, system.ny)
    if system_name == "encoder":
        assert y == pytest.approx(np.stack([x[:, 0], 4.0 * x[:, 0], u[:, 0]], 1))
    else:
        assert np.array_equal(y, x[:, : system.ny])
