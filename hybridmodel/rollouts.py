"""Rollouts by the path that suits them: the fused kernel, or torch step by step.

Both give the same numbers to rounding. The kernel takes what lies on the CPU in float32 or
float64, for batches that are worth its compilation; the rest, and what it has no code for, is
torch's.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from residuals import Probabilistic

if TYPE_CHECKING:
    from hybridmodel.kernel.kernel import Kernel
    from hybridmodel.kernel.selection import Served
    from hybridmodel.model import HybridModel
    from hybridmodel.problem import OptimalControlProblem
    from hybridmodel.problem.risk import Risk

Member = int | Literal["mean", "each"]
Backend = Literal["auto", "torch", "kernel"]
WORTH = 1000  # steps of candidates from which on a kernel is compiled for them
REPEATED = 128  # the same for a planner or a fit, which comes again and again
LONG = 10_000  # or where one search of it comes to as many
_served: weakref.WeakKeyDictionary[Any, Served] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Path:
    """Which execution path a model takes, and why."""

    name: Literal["torch", "kernel"]
    reason: str


def path_of(model: HybridModel) -> Path:
    """Which path rollouts of a batch take on this machine."""
    x, u = (model.theta.new_zeros(1, n) for n in (model.nx, model.system.nu))
    steps = WORTH if model.backend == "auto" else 1
    reason = refusal(model, (x, u), x, u[None].expand(1, steps, -1))
    if reason is None:
        try:
            kernel, _ = kernel_of(served(model), "mean", widest(model, x, u))
        except RefusedError as why:
            reason = str(why)
        else:
            vectors = f"{kernel.shape.width} {kernel.shape.precision} numbers a vector"
            least = f"from {WORTH} steps of candidates on" if model.backend == "auto" else "always"
            return Path("kernel", f"{least}, {vectors}, {torch.get_num_threads()} threads")
    return Path("torch", reason)


def fused_rollout(
    model: HybridModel,
    member: Member,
    x0: Tensor,
    u: Tensor,
    d: Tensor | None,
    p: Tensor,
    worth: int = WORTH,
) -> Tensor | None:
    """x (…, H+1, nx) by the kernel, (E, …, H+1, nx) for "each"; None where torch shall do it.

    Raises ValueError where the model insists on the kernel and there is none.
    """
    d = u.new_zeros(u.shape[-2], 0) if d is None else d
    reason = refusal(model, (x0, u, d, p), x0, u, worth=worth)
    if reason is None:
        try:
            if member != "each":
                return _one(model, member, x0, u, d, p)
            return torch.stack(
                [_one(model, i, *parts) for i, parts in enumerate(_by_member(model, x0, u, d, p))]
            )
        except RefusedError as why:
            reason = str(why)
    if model.backend == "kernel":
        raise ValueError(f"backend: 'kernel' cannot run this rollout: {reason}")
    return None


def objective_kernel(
    problem: OptimalControlProblem,
    x0: Tensor,
    u: Tensor,
    pi: Tensor,
    *,
    precision: torch.dtype | None = None,
    fixed: bool = False,
    calls: int = 1,
) -> FusedObjective | None:
    """The kernel's objective with the model's present weights, `fixed` without gradients in them.

    calls   how often a planner will come with as many candidates in one search
    None where torch shall do it, for tensors like these. Raises ValueError where the model
    insists on the kernel and there is none.
    """
    model = problem.model
    worth = min(REPEATED, LONG // calls) if fixed else WORTH
    reason = refusal(model, (x0, u, pi), x0, u, worth=worth)
    if reason is None:
        from hybridmodel.kernel.selection import Served

        if problem not in _served or _served[problem].model() is not model:
            _served[problem] = Served(model, problem)
        p = model.physical()
        whole = widest(model, x0, u, pi, p)
        try:
            of, dtype = _served[problem], precision or whole
            mean = kernel_of(of, "mean", dtype)
            ways = [mean]
            if problem.risk is not None:
                ways = [kernel_of(of, i, dtype) for i in range(problem.members)]
        except RefusedError as why:
            reason = str(why)
        else:
            if fixed:
                ways, p = [(kernel, w.detach()) for kernel, w in ways], p.detach()
            return FusedObjective(tuple(ways), mean, p, problem.horizon, whole, problem.risk)
    if model.backend == "kernel":
        raise ValueError(f"backend: 'kernel' cannot run this problem: {reason}")
    return None


@dataclass(frozen=True, eq=False)
class FusedObjective:
    """(x0, u, π) ↦ cost and violation (…) in `dtype`, whatever the kernel computes in."""

    ways: tuple[tuple[Kernel, Tensor], ...]  # of the members that count, and their weights
    mean: tuple[Kernel, Tensor]
    p: Tensor
    horizon: int
    dtype: torch.dtype
    risk: Risk | None

    def __call__(self, x0: Tensor, u: Tensor, pi: Tensor) -> tuple[Tensor, Tensor]:
        return self._together(
            [flat(*way, x0, u, pi, self.p, horizon=self.horizon) for way in self.ways]
        )

    def at(self, x0: Tensor, pi: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """u (B, H, nu) ↦ cost and violation (B,) at one x0 (nx,) and π, with less to do a call."""
        ways = []
        for kernel, weights in self.ways:
            x, p, d, w = (v.to(kernel.dtype) for v in (x0[None], self.p[None], pi[None], weights))
            ways.append((kernel, x, p, d, w))

        def costs(u: Tensor) -> tuple[Tensor, Tensor]:
            return self._together(
                [kernel(x, u.to(x.dtype), p, d, w) for kernel, x, p, d, w in ways]
            )

        return costs

    def _together(self, found: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        cost, violation = found[0]
        if self.risk is not None:
            costs, violations = (torch.stack(parts) for parts in zip(*found, strict=True))
            cost, violation = self.risk.of(costs), violations.amax(0)
        return cost.to(self.dtype), violation.to(self.dtype)

    def exact(self, x0: Tensor, u: Tensor, pi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cost, violation and x (…, H+1, nx), computed in `dtype` and without gradients."""
        kernel, weights = self.mean[0].at(self.dtype), self.mean[1]
        call = functools.partial(kernel.forward, states=True)
        cost, violation, x = flat(
            kernel, weights, x0, u, pi, self.p, horizon=self.horizon, call=call
        )
        if self.risk is not None:
            ways = tuple((kernel.at(self.dtype), w) for kernel, w in self.ways)
            cost, violation = replace(self, ways=ways)(x0, u, pi)
        return cost, violation, x


class RefusedError(Exception):
    """Why there is no kernel."""


def refusal(
    model: HybridModel,
    tensors: Sequence[Tensor],
    x0: Tensor,
    u: Tensor,
    *,
    worth: int = WORTH,
) -> str | None:
    """Why the rule leaves these tensors to torch."""
    if model.backend == "torch":
        return "backend is 'torch'"
    if (missing := unavailable()) is not None:
        return missing
    steps = math.prod(_lead({"x0": x0.shape[:-1], "u": u.shape[:-2]})) * u.shape[-2]
    if model.backend == "auto" and steps < worth:
        return f"fewer than {worth} steps, which are not worth compiling for"
    if model.residual is not None and widest(model, *tensors) != model.theta.dtype:
        return f"the network is {model.theta.dtype} and an input is wider"
    from hybridmodel.kernel.selection import plain

    return plain(*tensors)


def unavailable() -> str | None:
    """Why this installation has no kernel."""
    try:
        import llvmlite  # noqa: F401
    except ImportError:
        return "llvmlite is not installed"
    return None


def served(model: HybridModel) -> Served:
    """The kernels of a model."""
    from hybridmodel.kernel.selection import Served

    if model not in _served:
        _served[model] = Served(model)
    return _served[model]


def _lead(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """What leading dims broadcast to; ValueError with their names where they do not."""
    distinct = {tuple(shape) for shape in shapes.values()} - {()}
    if len(distinct) < 2:
        return next(iter(distinct), ())
    try:
        return torch.broadcast_shapes(*distinct)
    except RuntimeError:
        told = {name: tuple(shape) for name, shape in shapes.items()}
        raise ValueError(f"leading dims must broadcast, got {told}") from None


def _one(
    model: HybridModel, member: int | Literal["mean"], x0: Tensor, u: Tensor, d: Tensor, p: Tensor
) -> Tensor:
    kernel, weights = kernel_of(served(model), member, widest(model, x0, u, d, p))
    return flat(kernel, weights, x0, u, d, p)


def kernel_of(
    of: Served, member: int | Literal["mean"], dtype: torch.dtype
) -> tuple[Kernel, Tensor]:
    """The kernel of a model and its weights; RefusedError where there is none."""
    kernel = of.kernel(dtype, member)
    if isinstance(kernel, str):
        raise RefusedError(kernel)
    return kernel


def widest(model: HybridModel, *tensors: Tensor) -> torch.dtype:
    """The widest dtype of these tensors and of the network, as torch would take it."""
    dtypes = {t.dtype for t in tensors}
    if model.residual is not None:
        dtypes.add(model.theta.dtype)
    return functools.reduce(torch.promote_types, dtypes)


def flat(
    kernel: Kernel,
    weights: Tensor,
    x0: Tensor,
    u: Tensor,
    d: Tensor,
    p: Tensor,
    *,
    horizon: int | None = None,
    call: Callable[..., Any] | None = None,
) -> Any:
    """A kernel on tensors with any leading dims.

    horizon   that of an objective
    call      what of the kernel to call, itself unless given

    Raises ValueError naming the tensor whose shape does not fit.
    """
    size = kernel.program.sizes
    H = u.shape[-2] if horizon is None else horizon
    rows = H if horizon is None else H + 1
    signals = "d" if horizon is None else "pi"
    trailing: dict[str, tuple[Tensor, tuple[int, ...]]]
    trailing = {"x0": (x0, (size["x"],)), "u": (u, (H, size["u"])), "p": (p, (size["p"],))}
    for name, (t, wanted) in trailing.items():
        if t.shape[-len(wanted) :] != wanted:
            told = ", ".join(map(str, ("…", *wanted)))
            raise ValueError(f"{name} must have shape ({told}), got {tuple(t.shape)}")
    if d.dim() < 2 or d.shape[-1] != size["d"] or d.shape[-2] < rows:
        raise ValueError(
            f"{signals} must have shape (…, {rows}, {size['d']}), got {tuple(d.shape)}"
        )
    trailing["d"] = d[..., :rows, :], (rows, size["d"])
    shapes = {name: t.shape[: t.dim() - len(own)] for name, (t, own) in trailing.items()}
    lead = _lead(shapes)
    count = math.prod(lead)

    def flattened(name: str) -> Tensor:
        t, own = trailing[name]
        if name != "u" and math.prod(shapes[name]) == 1:
            return t.reshape(1, *own).to(kernel.dtype)
        if shapes[name] != lead:
            t = t.expand(*lead, *own)
        return t.reshape(count, *own).to(kernel.dtype)

    rows_of = flattened("x0"), flattened("u"), flattened("p"), flattened("d")
    result = (call or kernel)(*rows_of, weights)
    if isinstance(result, Tensor):
        return result.reshape((*lead, *result.shape[1:]))
    return tuple(r.reshape((*lead, *r.shape[1:])) for r in result)


def _by_member(model: HybridModel, x0: Tensor, u: Tensor, d: Tensor, p: Tensor) -> list[Any]:
    """The tensors of each member, whose axis leads where it is there."""
    count = model.residual.count if isinstance(model.residual, Probabilistic) else 1
    trailing = ((x0, 1), (u, 2), (d, 2), (p, 1))
    axes = max(t.dim() - n for t, n in trailing)
    for name, (t, n) in zip(("x0", "u", "d", "p"), trailing, strict=True):
        if t.dim() - n == axes and t.shape[0] not in (1, count):
            raise ValueError(
                f"{name} has {t.shape[0]} rows where the {count} members lead: wanted "
                f"({count} or 1, …), got {tuple(t.shape)}"
            )

    def part(t: Tensor, n: int, i: int) -> Tensor:
        if t.dim() - n < axes:
            return t
        return t[i if t.shape[0] > 1 else 0]

    return [[part(t, n, i) for t, n in trailing] for i in range(count)]
