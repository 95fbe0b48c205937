"""Laws of the fused rollouts: same numbers as torch, whatever the batch, the threads, the path."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from hybridmodel import HybridModel, OptimalControlProblem, Quadratic, placement
from hybridmodel.rollouts import WORTH, served
from physics import CartPole, Pendulum
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
