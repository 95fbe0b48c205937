"""What this project's worker runs: name → set-up(configuration) → a call that does it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import casadi as ca
import numpy as np
import torch
from torch import Tensor

import hybridmodel.kernel.selection  # noqa: F401 - imports do not count as compiling
from benchmarks.speed import cart_pole, curvature, limits
from benchmarks.speed.memory import growth
from hybridmodel import CEM, Dataset, HybridModel, Trajectory, placement
from hybridmodel.batches import Batch, batch
from hybridmodel.fitting.loss import output_scale, training_loss
from hybridmodel.rollouts import Backend
from hybridmodel.tasks.kuka import iiwa
from physics import CartPole, System
from physics.integrators import euler
from residuals import MLP, Ensemble

Call = Callable[[], Any]
FITTED = ("pole_mass", "pole_length", "cart_damping", "pole_damping", "motor_gain")
Which = Literal["cart-pole", "KUKA"]


def costs(
    *,
    N: int,
    H: int,
    dtype: str,
    hold: bool,
    gradient: bool = False,
    trainable: bool = False,
    **shape: Any,
) -> Call:
    """J (N,) of the cart-pole of all sides, or ∂ΣJ/∂u (N, H).

    trainable   whether weights ask for gradients, as a model's do unless it is frozen
    """
    kind = cart_pole.DTYPES[dtype]
    problem = cart_pole.problem(cart_pole.model(hold=hold, **shape), H, kind)
    problem.model.requires_grad_(trainable)
    x0, pi = torch.tensor(cart_pole.START, dtype=kind), torch.zeros(H + 1, 0, dtype=kind)
    u = torch.from_numpy(cart_pole.actions(N, H)).to(kind)[..., None]

    def values() -> Tensor:
        with torch.no_grad():
            return problem.cost_of(x0, u, pi)[0]

    def slopes() -> Tensor:
        free = u.clone().requires_grad_()
        return torch.autograd.grad(problem.cost_of(x0, free, pi)[0].sum(), free)[0]

    return slopes if gradient else values


def members(*, N: int, H: int, count: int, dtype: str) -> Call:
    """x (E, N, H+1, 4), each member of an ensemble on a path of its own."""
    kind = cart_pole.DTYPES[dtype]
    residual = Ensemble((64, 64), count=count, probabilistic=False)
    model = cart_pole.model(hold=False, residual=residual).to(kind)
    x0 = torch.tensor(cart_pole.START, dtype=kind)
    u = torch.from_numpy(cart_pole.actions(N, H)).to(kind)[..., None]

    def call() -> Tensor:
        with torch.no_grad():
            return model.rollout(x0, u, member="each")

    return call


def plan(*, N: int, H: int, elites: int, iterations: int, hold: bool) -> Call:
    """u (H,) of a plan by the project's own planner; a plan a call, each from another seed."""
    problem = cart_pole.problem(cart_pole.model(hold=hold), H)
    planner = CEM(problem, samples=N, elites=elites, iterations=iterations, precision="float32")
    seeds = iter(range(10**9))
    return lambda: planner.plan(np.array(cart_pole.START), seed=next(seeds)).u[:, 0]


def robot(*, N: int, backend: Backend | Literal["casadi"]) -> Call:
    """x⁺ (N, 14) of a KUKA iiwa after an Euler step in float64, which is one forward dynamics.

    CasADi's map runs over two threads and takes and gives its own DM.
    """
    kuka = iiwa()
    other = "torch" if backend == "casadi" else backend
    model = HybridModel(kuka, dt=0.001, integrator=euler, backend=other)
    x, u = (torch.from_numpy(v) for v in states(kuka, N))
    if backend == "casadi":
        mapped = model.step_function().expand().map(N, "thread", torch.get_num_threads())
        columns = ca.DM(x.numpy().T), ca.DM(u.numpy().T)
        empty = ca.DM(0, N)
        # numpy sees the transpose of what CasADi gives, so that rows are states for all
        return lambda: _Columns(mapped(*columns, empty, empty))

    def call() -> Tensor:
        with torch.no_grad():
            return model(x, u)

    return call


class _Columns:
    """A DM that becomes an array only when asked for, so that it is not part of the time."""

    def __init__(self, matrix: ca.DM) -> None:
        self.matrix = matrix

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.matrix.full().T.astype(dtype or float)


def states(system: System, N: int) -> tuple[np.ndarray, np.ndarray]:
    """x (N, nx) and u (N, nu), normally distributed, u a tenth of its range."""
    generator = np.random.default_rng(0)
    high = np.array([s.high if np.isfinite(s.high) else 1.0 for s in system.inputs])
    x = 0.5 * generator.normal(size=(N, system.nx))
    return x, 0.1 * high * generator.normal(size=(N, system.nu))


def epoch(*, N: int, H: int, size: int, backend: Backend) -> Call:
    """An epoch of training over N windows of H steps, `size` a batch: loss, gradient in the
    weights and p, Adam's step. Gives the mean of the losses."""
    truth = HybridModel(CartPole(pole_mass=0.3, motor_gain=0.8), dt=0.04, backend="torch")
    generator = np.random.default_rng(0)
    logs, steps = 8, N // 8 + H - 1
    u = generator.uniform(-6, 6, size=(logs, steps, 1))
    x0 = generator.normal(size=(logs, 4)) * (0.3, 1.0, 0.3, 1.0)
    with torch.no_grad():
        y = truth.rollout(torch.from_numpy(x0), torch.from_numpy(u)).numpy()
    t = np.linspace(0, 0.04 * steps, steps + 1, dtype=np.float64)
    data = Dataset(Trajectory(t, u[i], y[i]) for i in range(logs))
    model = fitted_cart_pole(backend)
    windows, scale = batch(model, data, H), output_scale(model, data)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def part(windows: Batch) -> Tensor:
        optimizer.zero_grad()
        loss = training_loss(model, windows, scale, p=model.physical(), penalty=1e-4)
        loss.backward()
        optimizer.step()
        return loss.detach()

    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))
    return lambda: torch.stack([part(windows.at(i)) for i in order.split(size)]).mean()


def fitted_cart_pole(backend: Backend = "kernel") -> HybridModel:
    """The model of the cart-pole demonstration, with weights that are not zero."""
    system, residual = CartPole(), MLP((64, 64))
    model = HybridModel(
        system,
        residual,
        dt=0.04,
        placement=placement.input,
        fit_parameters=FITTED,
        backend=backend,
    )
    return trained(model)


def fitted_robot(backend: Backend = "kernel") -> HybridModel:
    """The model of the KUKA demonstration, with weights that are not zero."""
    kuka = iiwa()
    named = (f"{kuka.joints[-1].name}.damping", *(f"{j.name}.damping" for j in kuka.joints[:-1]))
    model = HybridModel(
        kuka,
        MLP((32, 32)),
        dt=0.01,
        placement=placement.input,
        fit_parameters=("lbr_iiwa_link_7.mass", *named),
        backend=backend,
    )
    return trained(model)


def trained(model: HybridModel, scale: float = 0.3) -> HybridModel:
    """The model with noise on the weights of its residual, so that it does something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in [] if model.residual is None else model.residual.parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight += scale * noise.to(weight) / weight.shape[-1] ** 0.5
    return model


def compiled(*, of: Which, gradient: bool) -> Call:
    """A fitted model's rollout, whose first run compiles it; with its gradient in u, θ and p."""
    model = fitted_cart_pole() if of == "cart-pole" else fitted_robot()
    x, u = (torch.from_numpy(v) for v in states(model.system, 64))
    u = u[:, None].expand(-1, 5, -1).contiguous()

    def call() -> Tensor:
        with torch.set_grad_enabled(gradient):
            free = u.clone().requires_grad_(gradient)
            found = model.rollout(x, free)
        if gradient:
            found.square().mean().backward()
        return found.detach()

    return call


def peak(*, N: int, H: int, dtype: str) -> Call:
    """By how many bytes the process grows at its peak in `cost_of`, results not counted."""
    kind = cart_pole.DTYPES[dtype]
    problem = cart_pole.problem(cart_pole.model(hold=False), H, kind)
    x0, pi = torch.tensor(cart_pole.START, dtype=kind), torch.zeros(H + 1, 0, dtype=kind)
    u = torch.empty(N, H, 1, dtype=kind).uniform_(-10, 10)

    def run(u: Tensor) -> None:
        with torch.no_grad():
            problem.cost_of(x0, u, pi)

    run(u[:1000])
    results = 2 * N * u.element_size()
    return lambda: growth(lambda: run(u)) - results


CASES: Mapping[str, Callable[..., Call]] = {
    "costs": costs,
    "members": members,
    "plan": plan,
    "robot": robot,
    "epoch": epoch,
    "compiled": compiled,
    "peak": peak,
    "hessian": curvature.solving,
    "matrix product": limits.matrix_product,
    "function": limits.function,
    "multiply-adds": limits.multiply_adds,
}
