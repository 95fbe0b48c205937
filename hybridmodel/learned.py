"""Networks inside expressions: what a cost learned, written beside what it knows.

    r₀ = N₀(z₀(v)),  r₁ = N₁(z₁(v, r₀)),  …,  y = f(v, r₀, r₁, …)

Where an expression calls a network, the call is cut out and its result is a symbol. The pieces
z₀, z₁, …, f are CasADi, the networks torch; every path runs them by the same text, `Pieces.run`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import casadi as ca
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Call:
    module: nn.Module
    z: ca.SX
    r: ca.SX


_calls: ContextVar[list[_Call] | None] = ContextVar("calls", default=None)


class Learned:
    """A torch network as a function of SX, for use inside `Cost.stage`, `Cost.terminal` and `Soft`.

        r = N(z)        z (nz,) SX,  r (nr,) SX

    module   z (…, nz) ↦ r (…, nr), in float64; its weights may change at any time

    Called, it raises ValueError outside of a cost, or where the network does not take such a z.
    """

    def __init__(self, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            raise ValueError(f"module must be a torch module, got {type(module).__name__}")
        self.module = module

    def __call__(self, z: ca.SX) -> ca.SX:
        calls = _calls.get()
        if calls is None:
            raise ValueError(
                "a network can be called in the stage and terminal terms of a cost and in a Soft "
                "constraint, not in a hard one or elsewhere: it has no SX form of its own"
            )
        z = ca.densify(ca.SX(z))
        if z.shape[1] != 1:
            raise ValueError(f"z must be a column, got shape {z.shape}")
        known = next(self.module.parameters(), torch.zeros(0, dtype=torch.float64))
        if known.dtype != torch.float64:
            raise ValueError(f"module must be float64 as the model is, it is {known.dtype}")
        calls.append(_Call(self.module, z, ca.SX.sym(f"r{len(calls)}", self._size(z.shape[0]))))
        return calls[-1].r

    def _size(self, nz: int) -> int:
        """nr, as a copy of the network shows it: a call may draw numbers or change statistics."""
        name, rows = type(self.module).__name__, 3
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = copy.deepcopy(self.module)(torch.zeros(rows, nz, dtype=torch.float64))
        except Exception as error:  # a network of the user's may raise anything
            raise ValueError(f"z: {name} does not take {nz} numbers: {error}") from error
        if not isinstance(found, Tensor) or found.dim() != 2 or found.shape[0] != rows:
            told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"module: {name} must map (…, nz) to (…, nr); of ({rows}, {nz}) it makes {told}"
            )
        return found.shape[-1]


@dataclass(frozen=True)
class Pieces:
    """An expression with its networks cut out.

    arguments   (v…, r₀ … rᵢ₋₁) ↦ zᵢ, a Function for each call, or its torch form
    modules     Nᵢ
    result      (v…, r₀, r₁, …) ↦ y…
    """

    arguments: tuple[Any, ...]
    modules: tuple[nn.Module, ...]
    result: Any

    def run(self, apply: Callable[[int, Any], Any], *v: Any) -> Any:
        """y at v; apply(i, z) is what the i-th network makes of z."""
        r: list[Any] = []
        for i, argument in enumerate(self.arguments):
            r.append(apply(i, argument(*v, *r)))
        return self.result(*v, *r)

    def map(self, transform: Callable[[ca.Function], Any]) -> Pieces:
        return Pieces(tuple(map(transform, self.arguments)), self.modules, transform(self.result))


def cut(
    name: str,
    inputs: Mapping[str, ca.SX],
    expression: Callable[[], Mapping[str, ca.SX]],
) -> Pieces:
    """The pieces of an expression of these symbols, by name; it may call networks."""
    calls: list[_Call] = []
    token = _calls.set(calls)
    try:
        outputs = expression()
    finally:
        _calls.reset(token)

    def function(of: str, known: Sequence[_Call], values: Mapping[str, ca.SX]) -> ca.Function:
        given = {**inputs, **{f"r{i}": call.r for i, call in enumerate(known)}}
        return ca.Function(of, [*given.values()], [*values.values()], [*given], [*values])

    arguments = [function(f"{name}_z{i}", calls[:i], {"z": call.z}) for i, call in enumerate(calls)]
    return Pieces(
        tuple(arguments), tuple(call.module for call in calls), function(name, calls, outputs)
    )
