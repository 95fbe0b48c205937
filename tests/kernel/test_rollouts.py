"""Laws of the fused rollouts: same numbers as torch, whatever the batch, the threads, the path."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import casadi as ca
import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from hybridmodel import HybridModel, OptimalControlProblem, Quadratic, placement
from hybridmodel.rollouts import WORTH, served
from physics import CartPole, Pendulum, from_casadi
from residuals import MLP, Ensemble


def trained(model: HybridModel, seed: int = 0) -> HybridModel:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.get_submodule("residual").parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture(scope="module")
def model() -> HybridModel:
    made = HybridModel(
        CartPole(), MLP((8, 8)), dt=0.02, fit_parameters=("pole_mass",), backend="kernel"
    )
    return trained(made)


@pytest.fixture(scope="module")
def reference(model: HybridModel) -> HybridModel:
    made = copy.deepcopy(model)
    made.backend = "torch"
    return made


def drawn(*batch: int, horizon: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0 = 0.3 * torch.randn(*batch, 4, generator=generator, dtype=torch.float64)
    u = 3 * torch.randn(*batch, horizon, 1, generator=generator, dtype=torch.float64)
    return x0, u


def same(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-12) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    gap = (ours - theirs).detach().abs().max() / theirs.detach().abs().max().clamp(min=1)
    assert float(gap) <= tolerance


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 25), (101,), (4, 1, 7)])
def test_any_leading_dims(model, reference, batch) -> None:
    x0, u = drawn(*batch)
    same(model.rollout(x0, u), reference.rollout(x0, u))
    same(model(x0, u[..., 0, :]), reference(x0, u[..., 0, :]))
    shared = drawn()[0]
    same(model.rollout(shared, u), reference.rollout(shared, u))
    same(model.rollout(x0, drawn()[1]), reference.rollout(x0, drawn()[1]))


def test_an_empty_batch_and_no_steps(model) -> None:
    x0, u = drawn(3)
    assert model.rollout(x0[:0], u[:0]).shape == (0, 7, 4)
    assert torch.equal(model.rollout(x0, u[:, :0]), x0[:, None])


def test_gradients_of_what_candidates_share_are_sums(model, reference) -> None:
    x0, u = drawn(70)
    p = model.physical().detach().expand(70, 1)
    for shared_x0, own_p in ((True, False), (False, True)):
        found = []
        for one in (model, reference):
            start = (x0[0] if shared_x0 else x0).clone().requires_grad_()
            inputs = u.clone().requires_grad_()
            numbers = (p if own_p else p[0]).clone().requires_grad_()
            x = one.rollout(start, inputs, p=numbers)
            leaves = (start, inputs, numbers, *one.residual.parameters())
            found.append(torch.autograd.grad(x.sin().sum(), leaves))
        for ours, theirs in zip(*found, strict=True):
            same(ours, theirs, 1e-10)


def test_members_are_one_kernel_each_and_agree() -> None:
    of = trained(HybridModel(CartPole(), Ensemble((6,), count=3), dt=0.02, backend="kernel"))
    torch_of = copy.deepcopy(of)
    torch_of.backend = "torch"
    x0, u = drawn(20)
    for member in ("mean", 0, 2, "each"):
        same(of.rollout(x0, u, member=member), torch_of.rollout(x0, u, member=member))
    each = of.rollout(x0[0], u, member="each")  # candidates that start together
    same(each, torch_of.rollout(x0[0], u, member="each"))
    assert each.shape == (3, 20, u.shape[1] + 1, 4)
    same(each[2], of.rollout(x0[0], u, member=2))
    apart = torch.stack([drawn(20, seed=k)[0] for k in range(3)])
    found = []
    for one in (of, torch_of):
        x = one.rollout_from(apart, u, member="each")
        found.append(
            (x, *torch.autograd.grad(x.square().sum(), one.get_parameter("residual.mean.weight")))
        )
    for ours, theirs in zip(*found, strict=True):
        same(ours, theirs, 1e-11)


def test_threads_do_not_change_a_bit(model) -> None:
    x0, u = drawn(500)
    found = []
    for threads in (1, 2, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            x = model.rollout(x0, u)
            found.append((x, *torch.autograd.grad(x.sum(), list(model.residual.parameters()))))
        finally:
            torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_second_derivatives_and_transforms_take_torch(model, reference) -> None:
    x0, u = drawn(5)

    def curvature(one: HybridModel) -> torch.Tensor:
        given = u.clone().requires_grad_()
        (slope,) = torch.autograd.grad(
            one.rollout(x0, given).square().sum(), given, create_graph=True
        )
        return torch.autograd.grad(slope.square().sum(), given)[0]

    same(curvature(model), curvature(reference), 1e-11)
    auto = copy.deepcopy(reference)
    auto.backend = "auto"
    wide = u.expand(40, 5, 6, 1)
    mapped = torch.func.vmap(lambda v: auto.rollout(x0, v))(wide)
    same(mapped, reference.rollout(x0, wide))


@pytest.mark.parametrize("options", [{}, {"hold": True}, {"placement": placement.force}])
def test_an_untrained_model_is_the_physics_to_the_bit(options) -> None:
    x0, u = drawn(40)
    one = HybridModel(CartPole(), MLP((8,)), dt=0.02, backend="kernel", **options)
    bare = HybridModel(CartPole(), dt=0.02, backend="kernel")
    assert torch.equal(one.rollout(x0, u), bare.rollout(x0, u))


def test_new_weights_are_seen_without_a_new_kernel(model, reference) -> None:
    x0, u = drawn(9)
    kernel = served(model).kernel(torch.float64)[0]
    own, other = copy.deepcopy(model), copy.deepcopy(reference)
    for one in (own, other):
        trained(one, seed=5)
    same(own.rollout(x0, u), other.rollout(x0, u))
    with torch.no_grad():
        model.residual.chain[-2].weight.mul_(1.0)
    assert served(model).kernel(torch.float64)[0] is kernel


def test_training_and_evaluation_take_turns_without_new_kernels(model) -> None:
    x0, u = drawn(20)
    found = []
    for training in (True, False, True, False):
        model.train(training)
        model.rollout(x0, u)
        found.append(served(model).kernel(torch.float64)[0])
    assert found[0] is found[2]
    assert found[1] is found[3]


def test_float32_rollouts_agree_to_float32(model, reference) -> None:
    x0, u = drawn(64, horizon=30)
    ours = copy.deepcopy(model).float()
    x = ours.rollout(0.1 * x0.float(), u.float())
    theirs = reference.rollout(0.1 * x0.float().double(), u.float().double())
    width = theirs.amax((0, 1)) - theirs.amin((0, 1))
    assert x.dtype == torch.float32
    assert float(((x - theirs).abs() / width).detach().max()) <= 2e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, 5e-324])
def test_extreme_numbers_give_what_casadi_gives(model, bad) -> None:
    step = model.step_function()
    for row in range(5):
        v = torch.tensor([0.1, 0.2, -0.3, 0.4, 1.0], dtype=torch.float64)
        v[row] = bad
        ours = model(v[:4], v[4:]).detach()
        theirs = step(v[:4].numpy(), v[4:].numpy(), model.physical().detach().numpy(), [])
        theirs = torch.tensor(theirs.full()[:, 0])
        assert torch.equal(torch.isnan(ours), torch.isnan(theirs))
        finite = torch.isfinite(theirs)
        assert torch.equal(
            ours[~finite & ~torch.isnan(theirs)], theirs[~finite & ~torch.isnan(theirs)]
        )
        assert torch.allclose(ours[finite], theirs[finite], 1e-12, 1e-12)


def test_one_bad_candidate_spoils_no_other(model) -> None:
    x0, u = drawn(50)
    spoilt = x0.clone()
    spoilt[17] = float("nan")
    ours, theirs = model.rollout(spoilt, u), model.rollout(x0, u)
    keep = torch.arange(50) != 17
    assert torch.equal(ours[keep], theirs[keep])
    assert torch.isnan(ours[17]).all(-1).all()


def problem_of(model: HybridModel) -> OptimalControlProblem:
    return OptimalControlProblem(
        model,
        Quadratic(model.system, state={"position": 1.0, "angle": 5.0}, input={"force": 0.01}),
        horizon=6,
        discount=0.9,
        state_bounds=([-0.2, -1.0, -np.inf, -np.inf], [0.1, np.inf, np.inf, 2.0]),
        inequality=lambda x, u, pi: x[0] + 0.1 * u[0] - 0.3,
        terminal_equality=lambda x, pi: x[1],
    )


def test_an_objective_is_that_of_torch(model, reference) -> None:
    x0, u = drawn(60)
    pi = torch.zeros(7, 0, dtype=torch.float64)
    found = []
    for one in (model, reference):
        given, start = u.clone().requires_grad_(), x0[0].clone().requires_grad_()
        cost, violation = problem_of(one).cost_of(start, given, pi)
        leaves = (given, start, one.theta, *one.residual.parameters())
        slopes = torch.autograd.grad((cost + 3 * violation).sum(), leaves)
        found.append((cost, violation, *slopes))
    for ours, theirs in zip(*found, strict=True):
        same(ours, theirs, 1e-10)
    assert float(found[0][1].detach().max()) > 0


def test_the_rule_is_the_number_of_steps(model) -> None:
    auto = copy.deepcopy(model)
    auto.backend = "auto"
    assert auto.path.name == "kernel"
    assert str(WORTH) in auto.path.reason
    x0, u = drawn(1)
    few, many = auto.rollout(x0, u), auto.rollout(x0, u.expand(WORTH, 6, 1))
    same(many[:1], few)


def test_what_has_no_kernel_says_why(model) -> None:
    x0, u = drawn(3)
    with pytest.raises(ValueError, match="backend must be one of"):
        HybridModel(Pendulum(), dt=0.1, backend="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'kernel' cannot run this rollout.*float16"):
        model.rollout(x0.half(), u.half())
    wide = HybridModel(CartPole(), MLP((600, 600)), dt=0.02)
    assert wide.path.name == "torch"
    assert "600" in wide.path.reason
    assert HybridModel(CartPole(), dt=0.02, backend="torch").path.name == "torch"


def test_a_model_with_kernels_is_copied_and_pickled(model) -> None:
    x0, u = drawn(3)
    expected = model.rollout(x0, u)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other.rollout(x0, u), expected)


def test_weights_learn_after_a_first_use_without_gradients(reference) -> None:
    own = copy.deepcopy(reference)
    own.backend = "kernel"
    x0, u = drawn(5)
    with torch.no_grad():
        own.rollout(x0, u)
    for one in (own, reference):
        one.zero_grad()
        one.rollout(x0, u).square().sum().backward()
    pairs = zip(own.parameters(), reference.parameters(), strict=True)
    for ours, theirs in pairs:
        assert ours.grad is not None
        assert theirs.grad is not None
        same(ours.grad, theirs.grad, 1e-10)


def test_shapes_that_do_not_fit_are_refused_by_name(model) -> None:
    x0, u = drawn(5)
    problem, pi = problem_of(model), torch.zeros(7, 0, dtype=torch.float64)
    wrong = {
        "p must have shape": lambda: model.rollout(x0, u, p=torch.ones(3)),
        "x0 must have shape": lambda: problem.cost_of(x0[:, :3], u, pi),
        "u must have shape": lambda: problem.cost_of(x0, u[:, :5], pi),
        "pi must have shape": lambda: problem.cost_of(x0, u, pi[:6]),
        "leading dims must broadcast": lambda: model.rollout(x0, u[:3]),
    }
    for message, call in wrong.items():
        with pytest.raises(ValueError, match=message):
            call()


def test_signals_beyond_the_horizon_are_not_read() -> None:
    one = towed()
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    u = torch.randn(6, 4, 1, generator=generator, dtype=torch.float64)
    d = torch.randn(6, 7, 2, generator=generator, dtype=torch.float64)
    found = []
    for backend in ("kernel", "torch"):
        one.backend = backend
        given = d.clone().requires_grad_()
        x = one.rollout(x0, u, given)
        found.append((x, torch.autograd.grad(x.square().sum(), given)[0]))
    for ours, theirs in zip(*found, strict=True):
        same(ours, theirs)


def towed() -> HybridModel:
    """A system with two exogenous signals."""
    x, u, d = ca.SX.sym("x", 2), ca.SX.sym("u"), ca.SX.sym("d", 2)
    rate = u - ca.sin(x[0]) + d[0] * ca.cos(x[0]) - d[1] * x[1]
    flow = ca.Function("towed", [x, u, d], [ca.vertcat(x[1], rate)], ["x", "u", "d"], ["xdot"])
    system = from_casadi(flow, states=("angle", "rate"), inputs=("push",), exogenous=("a", "b"))
    return HybridModel(system, dt=0.05)


@pytest.mark.parametrize("discount", [0.1, 0.9])
def test_a_strong_discount_loses_no_gradient(discount) -> None:
    found = []
    for backend in ("kernel", "torch"):
        one = HybridModel(Pendulum(), dt=0.02, backend=backend)
        cost = Quadratic(one.system, state={"angle": 1.0}, input={"torque": 1.0})
        problem = OptimalControlProblem(one, cost, horizon=400, discount=discount)
        u = torch.full((400, 1), 0.5, dtype=torch.float64, requires_grad=True)
        x0, pi = torch.tensor([0.3, 0.0]).double(), torch.zeros(401, 0).double()
        found.append(torch.autograd.grad(problem.cost_of(x0, u, pi)[0], u)[0])
    same(found[0], found[1], 1e-12)


def test_a_changed_module_is_seen(model, reference) -> None:
    x0, u = drawn(5)
    for one in (model, reference):
        one.rollout(x0, u)
    found = []
    for one in (model, reference):
        layer = one.get_submodule("residual.chain.1")
        handle = layer.register_forward_hook(lambda m, z, y: 1.5 * y)
        found.append(one.rollout(x0, u))
        handle.remove()
    same(found[0], found[1])
    same(model.rollout(x0, u), reference.rollout(x0, u))


def test_members_have_an_axis_of_their_size_or_none() -> None:
    of = HybridModel(CartPole(), Ensemble((6,), count=3), dt=0.02, backend="kernel")
    x0, u = drawn(5)
    with pytest.raises(ValueError, match="3 members lead"):
        of.rollout_from(x0, u[0], member="each")
    with pytest.raises(ValueError, match="member must be"):
        of.rollout(x0, u, member=True)


def test_results_may_be_changed_and_gradients_batched(model, reference) -> None:
    x0, u = drawn(3)
    found = []
    for one in (model, reference):
        given = u.clone().requires_grad_()
        x = one.rollout(x0, given)
        rows = torch.eye(4, dtype=torch.float64)[:, None, None, :].expand(4, *x.shape)
        batched = torch.autograd.grad(x, given, rows, is_grads_batched=True, retain_graph=True)[0]
        x[..., 1] += 1.0
        found.append((batched, torch.autograd.grad(x.square().sum(), given)[0]))
    for ours, theirs in zip(*found, strict=True):
        same(ours, theirs, 1e-11)


def test_forward_mode_takes_torch(reference) -> None:
    auto = copy.deepcopy(reference)
    auto.backend = "auto"
    x0, u = drawn(200)
    tangent = torch.ones_like(u)
    with torch.no_grad(), forward_ad.dual_level():
        x = auto.rollout(x0, forward_ad.make_dual(u, tangent))
        assert forward_ad.unpack_dual(x).tangent is not None


def test_no_candidates_have_no_gradient(model) -> None:
    x0, u = drawn(4)
    given = u[:0].clone().requires_grad_()
    model.rollout(x0[:0], given).sum().backward()
    assert given.grad is not None
    assert given.grad.shape == (0, 6, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = """
import os, torch
from hybridmodel import HybridModel, physics
torch.set_num_threads(2)
model = HybridModel(physics.Pendulum(), dt=0.02, backend="kernel")
x0, u = torch.zeros(2).double(), torch.ones(500, 5, 1).double()
model.rollout(x0, u)
child = os.fork()
if not child:
    model.rollout(x0, u)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=100)
