"""Random networks of a seeded grammar, and how well their CasADi forms agree with torch.

    network ::= block block? block? | cell          block ::= dense | norm | module of a user
    dense   ::= Linear activation                   norm  ::= LayerNorm | RMSNorm | Standardize

A module of a user is a class that no table knows, with a forward of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import residuals
from hybridmodel.bridges.network import pack_weights
from hybridmodel.bridges.torch_to_casadi import to_casadi

# not Hardsigmoid: torch's own slope is in single precision and has no derivative; CELU's slope is
# exact where 1/alpha is a single-precision number
ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.Tanh, nn.Sigmoid, nn.ReLU, nn.ReLU6, lambda: nn.LeakyReLU(0.2), nn.PReLU,
    lambda: nn.ELU(1.3), nn.SELU, lambda: nn.CELU(2.0), nn.SiLU, nn.GELU,
    lambda: nn.GELU(approximate="tanh"), nn.Mish, nn.Softplus, lambda: nn.Softplus(2.5, 8.0),
    nn.LogSigmoid, nn.Softsign, lambda: nn.Softshrink(0.2), lambda: nn.Hardshrink(0.2),
    nn.Tanhshrink, lambda: nn.Threshold(0.1, 0.3), lambda: nn.Hardtanh(-0.7, 0.9), nn.Hardswish,
    nn.Identity, lambda: nn.Dropout(0.3), lambda: nn.Softmax(-1), lambda: nn.LogSoftmax(-1),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network of float64 in eval mode and the sizes of its arguments."""

    seed: int
    module: nn.Module
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Worst:
    """Largest differences over `count` networks, each relative to the largest entry or to 1."""

    count: int
    value: float
    jacobian: float
    hessian: float


# -- modules as users write them -------------------------------------------------------------------


class Skip(nn.Module):
    """x + f(LayerNorm(x)), f of two layers."""

    def __init__(self, n: int, activation: nn.Module) -> None:
        super().__init__()
        self.norm, self.activation = nn.LayerNorm(n), activation
        self.enter, self.leave = nn.Linear(n, 4), nn.Linear(4, n)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.activation(self.enter(self.norm(x))))


class GatedUnit(nn.Module):
    """tanh(a) ∘ σ(b), a and b halves of one layer, and a part of x beside it."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n, 2 * m)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.layer(x).chunk(2, dim=-1)
        return torch.cat([torch.tanh(a) * torch.sigmoid(b), 0.5 * x[..., :1] ** 2], dim=-1)


class Ensemble(nn.Module):
    """The mean of E members with stacked weights (E, m, n)."""

    def __init__(self, n: int, m: int, *, batched: bool) -> None:
        super().__init__()
        self.W1, self.b1 = nn.Parameter(torch.randn(3, 5, n)), nn.Parameter(torch.randn(3, 5))
        self.W2 = nn.Parameter(torch.randn(3, m, 5))
        self.batched = batched

    def forward(self, x: Tensor) -> Tensor:
        if self.batched:
            members = x.unsqueeze(0).expand(3, -1, -1)  # (E, B, n)
            h = functional.silu(torch.baddbmm(self.b1.unsqueeze(1), members, self.W1.mT))
            return torch.bmm(h, self.W2.mT).mean(dim=0)
        h = functional.silu(torch.einsum("emn,...n->...em", self.W1, x) + self.b1)
        return torch.einsum("emn,...en->...em", self.W2, h).mean(dim=-2)


class MappedEnsemble(nn.Module):
    """Members of one architecture under torch.vmap, their weights stacked."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        members = [nn.Sequential(nn.Linear(n, 4), nn.Tanh(), nn.Linear(4, m)) for _ in range(3)]
        stacked, _ = torch.func.stack_module_state(members)
        self.names = tuple(stacked)
        self.stacked = nn.ParameterList(stacked.values())
        self.architecture = (members[0],)  # in a tuple, so that it is no submodule

    def forward(self, x: Tensor) -> Tensor:
        def member(weights: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(self.architecture[0], weights, (x,))

        weights = dict(zip(self.names, self.stacked, strict=True))
        return torch.vmap(member)(weights).mean(0)


class Recurrent(nn.Module):
    """A cell run over the parts of x, as over a short history."""

    def __init__(self, n: int, m: int, cell: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.m = cell(1, m), m

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for k in range(min(3, x.shape[-1])):
            state = self.cell(x[..., k : k + 1], state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[return-value]


class History(nn.Module):
    """A convolution along x, its channels averaged and normalised."""

    def __init__(self, m: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, m, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(
            functional.gelu(self.convolution(x.unsqueeze(1))).mean(dim=2) + 1.0, dim=1
        )


class Attention(nn.Module):
    """Attention of the parts of x to each other, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(1, 2), nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unsqueeze(-1)
        scores = self.query(parts) @ self.key(parts).transpose(-1, -2) / 2**0.5
        return (torch.softmax(scores, dim=-1) @ parts).flatten(-2)


class Branches(nn.Module):
    """Kinks and masks in functional form, and a layer that is used twice."""

    mask: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n, n)
        self.register_buffer("mask", torch.arange(n) % 2 == 0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(torch.tanh(self.layer(x)))
        y = torch.where(self.mask, y, torch.clamp(y, -0.4, 0.6))
        return torch.maximum(y, 0.2 * x) + x.abs().amax(dim=-1, keepdim=True)


# -- the grammar -----------------------------------------------------------------------------------


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Networks of consecutive seeds."""
    return (draw(seed + k) for k in range(count))


def draw(seed: int) -> Case:
    """One network with random weights; the global generator of torch is left as it was."""
    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if random.random() < 0.12:
            n, m = (int(k) for k in random.integers(1, 5, 2))
            cell = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)[random.integers(3)]
            sizes = (n, m, m) if cell is nn.LSTMCell else (n, m)
            return Case(seed, cell(n, m).double().eval(), sizes)
        nz = n = int(random.integers(2, 6))
        blocks: list[nn.Module] = []
        for _ in range(random.integers(1, 4)):
            block, n = _block(random, n)
            blocks.append(block)
        module = nn.Sequential(*blocks, nn.Linear(n, int(random.integers(1, 4)))).double()
        with torch.no_grad():
            for weights in module.parameters():
                weights.copy_(0.8 * torch.randn_like(weights))
        return Case(seed, module.eval(), (nz,))


def _block(random: np.random.Generator, n: int) -> tuple[nn.Module, int]:
    """A block of n features and the number of those that it gives."""
    activation = ACTIVATIONS[random.integers(len(ACTIVATIONS))]
    m = int(random.integers(2, 7))
    kind = random.random()
    if kind < 0.45:
        bias = bool(random.random() < 0.8)
        return nn.Sequential(nn.Linear(n, m, bias=bias), activation()), m
    if kind < 0.6:
        norm = (nn.LayerNorm(n), nn.RMSNorm(n, eps=1e-6), nn.LayerNorm(n, elementwise_affine=False))
        return norm[random.integers(3)], n
    if kind < 0.65:
        shared = nn.Linear(n, n)
        return nn.Sequential(shared, activation(), nn.Sequential(shared)), n
    if kind < 0.75:
        inner = nn.Sequential(nn.Linear(n, 4), activation(), nn.Linear(4, m))
        return _scaled(residuals.Gated(inner, nz=n, nr=m), n, m), m
    if kind < 0.8:
        limit = (None, 0.7)[random.integers(2)]
        return _scaled(residuals.MLP((4,), limit=limit, nz=n, nr=m), n, m), m
    users: tuple[tuple[Callable[[], nn.Module], int], ...] = (
        (lambda: Skip(n, activation()), n),
        (lambda: GatedUnit(n, m), m + 1),
        (lambda: Ensemble(n, m, batched=True), m),
        (lambda: Ensemble(n, m, batched=False), m),
        (lambda: MappedEnsemble(n, m), m),
        (lambda: Recurrent(n, m, nn.GRUCell), m),
        (lambda: Recurrent(n, m, nn.LSTMCell), m),
        (lambda: History(m), m),
        (Attention, n),
        (lambda: Branches(n), n),
    )
    make, width = users[random.integers(len(users))]
    return make(), width


def _scaled(residual: residuals.Residual, n: int, m: int) -> residuals.Residual:
    residual.standardize(0.3 * torch.randn(n), 0.5 + torch.rand(n), 0.5 + torch.rand(m))
    return residual


# -- agreement -------------------------------------------------------------------------------------


def worst(count: int = 50, seed: int = 0) -> Worst:
    """The largest differences between torch and CasADi, weights baked and as parameters."""
    found = np.max([differences(case) for case in cases(count, seed)], axis=0)
    return Worst(count, *map(float, found))


def differences(case: Case, points: int = 2) -> np.ndarray:
    """(3,), the largest relative differences in value, Jacobian and Hessian of one network."""
    baked = to_casadi(case.module, nz=case.sizes)
    loose = to_casadi(case.module, nz=case.sizes, weights="parameters")
    w = pack_weights(case.module)
    found = np.zeros(3)
    generator = torch.Generator().manual_seed(case.seed)
    functions = [_derivatives(f, case.sizes, v) for f, v in ((baked, []), (loose, [w]))]
    for _ in range(points):
        z = torch.randn(sum(case.sizes), generator=generator, dtype=torch.float64)
        wanted = [a.numpy() for a in _torch_derivatives(case, z)]
        for function in functions:
            for i, (ours, theirs) in enumerate(zip(function(z.numpy()), wanted, strict=True)):
                gap = np.abs(ours.full().reshape(theirs.shape) - theirs)
                gap = np.nan_to_num(gap, nan=np.inf).max(initial=0.0)
                found[i] = max(found[i], gap / np.abs(theirs).max(initial=1.0))
    return found


def _derivatives(
    function: ca.Function, sizes: tuple[int, ...], weights: list[np.ndarray]
) -> ca.Function:
    z = ca.MX.sym("z", sum(sizes))
    r = ca.vertcat(*function.call([*ca.vertsplit(z, np.cumsum([0, *sizes]).tolist()), *weights]))
    first = ca.jacobian(r, z)
    return ca.Function("derivatives", [z], [r, first, ca.jacobian(ca.vec(first.T), z)])


def _torch_derivatives(case: Case, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """r (m,), ∂r/∂z (m, n) and ∂²r/∂z² (m n, n), one reverse sweep for each row."""
    z = z.clone().requires_grad_()
    parts = [x[None] for x in z.split(case.sizes)]
    found = case.module(*parts[:1], *([] if len(parts) == 1 else [_state(parts[1:])]))
    r = torch.cat([y.flatten() for y in (found if isinstance(found, tuple) else (found,))])
    first = torch.stack([_gradient(y, z, create_graph=True) for y in r])
    second = torch.stack([_gradient(y, z) for y in first.flatten()])
    return r.detach(), first.detach(), second


def _state(parts: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return parts[0] if len(parts) == 1 else tuple(parts)


def _gradient(y: Tensor, z: Tensor, *, create_graph: bool = False) -> Tensor:
    if not y.requires_grad:
        return torch.zeros_like(z)
    return torch.autograd.grad(
        y, z, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )[0]
