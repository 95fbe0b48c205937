"""All nodes of a multiple-shooting problem in one call, as a CasADi Function with derivatives.

    X⁺ = F(X, U, p, D), column by column:   x⁺ᵏ = F(xᵏ, uᵏ, p, dᵏ),   k = 0 … N − 1

Values, the Jacobian and the Hessian of λᵀF come from `hybridmodel.kernel.derivatives`, exact to
rounding, with the weights that the model has when the Function is called.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import casadi as ca
import numpy as np
import torch

from hybridmodel.kernel.derivatives import Derivatives

if TYPE_CHECKING:
    from hybridmodel.model import HybridModel

Buffers = Sequence[memoryview | None]
_alive: weakref.WeakKeyDictionary[Any, dict[int, tuple[_Step, ca.Function]]] = (
    weakref.WeakKeyDictionary()
)


class Nodes:
    """N nodes of a model, and their Function as long as this object lives.

    function   (X (nx, N), U (nu, N), p (np,), D (nd, N)) ↦ X⁺ (nx, N)

    CasADi keeps no hold of what Python computes for it: keep this object as long as a solver that
    was built from `function` is in use. Raises NotLoweredError with the reason where the kernel
    has no code for the model, ValueError for one that is not in float64.
    """

    def __init__(self, model: HybridModel, count: int) -> None:
        self.model, self.count = model, count
        self._step, self.function = _built(model, count)

    def steady(self) -> AbstractContextManager[None]:
        """While the model does not change, which `function` otherwise makes sure of each time."""
        return self._step.derivatives.steady()


def nodes_function(model: HybridModel, count: int) -> ca.Function:
    """The Function of `Nodes`, which stays valid as long as the model lives.

    Raises as `Nodes` does.
    """
    held = _alive.setdefault(model, {})
    if count not in held:
        held[count] = _built(model, count)
    return held[count][1]


def _built(model: HybridModel, count: int) -> tuple[_Step, ca.Function]:
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    other = {str(t.dtype) for t in model.parameters() if t.dtype != torch.float64}
    if other:
        raise ValueError(f"model must be in float64 for CasADi, got {', '.join(sorted(other))}")
    derivatives = Derivatives(model, count)
    derivatives.current()
    step = _Step(derivatives)
    nx, nu, nd = model.nx, model.system.nu, model.system.nd
    X, U, D = (ca.MX.sym(name, n, count) for name, n in (("X", nx), ("U", nu), ("D", nd)))
    p = ca.MX.sym("p", len(model.fit_parameters))
    parts = [ca.vertcat(X, U), ca.vertcat(ca.repmat(p, 1, count), D)][: len(derivatives.spans)]
    after = step(*parts)
    names, inlined = ["X", "U", "p", "D"], {"always_inline": True}  # so zeros stay known as such
    return step, ca.Function("nodes", [X, U, p, D], [after], names, ["X_next"], inlined)


class _Callback(ca.Callback):
    """A Function of dense inputs whose outputs are numbers that `_output` gives.

    Kept alive by what it is derived from, since CasADi only knows where it is.
    """

    def __init__(
        self,
        name: str,
        derivatives: Derivatives,
        given: Sequence[ca.Sparsity],
        found: Sequence[ca.Sparsity],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        ca.Callback.__init__(self)
        self.derivatives, self.given, self.found = derivatives, given, found
        self.derived: dict[str, _Callback] = {}
        self.construct(name, dict(options or {}))

    def get_n_in(self) -> int:
        return len(self.given)

    def get_n_out(self) -> int:
        return len(self.found)

    def get_sparsity_in(self, i: int) -> ca.Sparsity:
        return self.given[i]

    def get_sparsity_out(self, i: int) -> ca.Sparsity:
        return self.found[i]

    def has_eval_buffer(self) -> bool:
        return True

    def eval_buffer(self, arg: Buffers, res: Buffers) -> int:
        spans = self.derivatives.spans
        given = [
            np.zeros(s.numel()) if a is None else np.frombuffer(a)
            for a, s in zip(arg, self.given, strict=True)
        ]
        with self.derivatives.lock:
            self.derivatives.at(*given[: len(spans)])
            for i, target in enumerate(res):
                if target is not None and len(target):
                    found = self._output(i, given, res)
                    np.frombuffer(target)[:] = found.ravel()
        return 0

    def _output(self, i: int, given: Sequence[np.ndarray], wanted: Buffers) -> np.ndarray:
        """The nonzeros of output i."""
        raise NotImplementedError


class _Step(_Callback):
    """(x, u), (p, d) of all nodes ↦ X⁺; a group without rows is left out."""

    def __init__(self, derivatives: Derivatives) -> None:
        N, spans = derivatives.count, derivatives.spans
        given = [ca.Sparsity.dense(s.stop - s.start, N) for s in spans]
        super().__init__("nodes_step", derivatives, given, [ca.Sparsity.dense(derivatives.nx, N)])

    def _output(self, i: int, given: Sequence[np.ndarray], wanted: Buffers) -> np.ndarray:
        return self.derivatives.values()

    def has_jac_sparsity(self, oind: int, iind: int) -> bool:
        return True

    def get_jac_sparsity(self, oind: int, iind: int, symmetric: bool) -> ca.Sparsity:
        return _blocks(self.derivatives, self.derivatives.nx, self.derivatives.width(iind))

    def has_jacobian(self) -> bool:
        return True

    def get_jacobian(
        self, name: str, inames: Sequence[str], onames: Sequence[str], opts: Mapping[str, Any]
    ) -> ca.Function:
        found = [self.get_jac_sparsity(0, i, False) for i in range(len(self.given))]
        given = [*self.given, *_unread(self.found)]
        self.derived[name] = _Jacobian(name, self.derivatives, given, found, opts)
        return self.derived[name]

    def has_reverse(self, nadj: int) -> bool:
        return nadj == 1

    def get_reverse(
        self,
        nadj: int,
        name: str,
        inames: Sequence[str],
        onames: Sequence[str],
        opts: Mapping[str, Any],
    ) -> ca.Function:
        given = [*self.given, *_unread(self.found), *self.found]
        self.derived[name] = _Gradient(name, self.derivatives, given, self.given, opts)
        return self.derived[name]


class _Jacobian(_Callback):
    """J, a block for each node."""

    def _output(self, i: int, given: Sequence[np.ndarray], wanted: Buffers) -> np.ndarray:
        jacobian = self.derivatives.jacobian(every=any(w is not None for w in wanted[1:]))
        return jacobian[:, self.derivatives.spans[i], :]


class _Gradient(_Callback):
    """(x, u), (p, d), X⁺, Λ ↦ Jᵀλ, in the same groups."""

    def _output(self, i: int, given: Sequence[np.ndarray], wanted: Buffers) -> np.ndarray:
        d = self.derivatives
        jacobian = d.jacobian(every=any(w is not None for w in wanted[1:]))[:, d.spans[i], :]
        multipliers = given[-1].reshape(d.count, d.nx)
        return np.einsum("kji,ki->kj", jacobian, multipliers)

    def has_jac_sparsity(self, oind: int, iind: int) -> bool:
        return True

    def get_jac_sparsity(self, oind: int, iind: int, symmetric: bool) -> ca.Sparsity:
        d = self.derivatives
        rows, groups = d.width(oind), len(d.spans)
        if iind == groups:
            return ca.Sparsity(rows * d.count, d.nx * d.count)
        return _blocks(d, rows, d.nx if iind > groups else d.width(iind))

    def has_jacobian(self) -> bool:
        return True

    def get_jacobian(
        self, name: str, inames: Sequence[str], onames: Sequence[str], opts: Mapping[str, Any]
    ) -> ca.Function:
        outs, ins = range(len(self.found)), range(len(self.given))
        found = [self.get_jac_sparsity(o, i, False) for o in outs for i in ins]
        given = [*self.given, *_unread(self.found)]
        self.derived[name] = _Hessian(name, self.derivatives, given, found, opts)
        return self.derived[name]


class _Hessian(_Callback):
    """∂(Jᵀλ) in the groups, X⁺ and Λ: blocks of H, nothing, and Jᵀ."""

    def _output(self, i: int, given: Sequence[np.ndarray], wanted: Buffers) -> np.ndarray:
        d, groups = self.derivatives, len(self.derivatives.spans)
        row, column = divmod(i, groups + 2)
        if column > groups:
            jacobian = d.jacobian(every=row > 0)[:, d.spans[row], :]
            return jacobian.transpose(0, 2, 1)
        multipliers = given[groups + 1].reshape(d.count, d.nx)
        beyond = any(
            w is not None and max(divmod(at, groups + 2)) > 0 and at % (groups + 2) < groups
            for at, w in enumerate(wanted)
        )
        hessian = d.hessian(multipliers, every=beyond)
        return hessian[:, d.spans[column], d.spans[row]]


def _unread(outputs: Sequence[ca.Sparsity]) -> list[ca.Sparsity]:
    """Results that a derivative is given and does not read: empty, so nobody computes them."""
    return [ca.Sparsity(s.size1(), s.size2()) for s in outputs]


def _blocks(derivatives: Derivatives, rows: int, columns: int) -> ca.Sparsity:
    dense = ca.Sparsity.dense(rows, columns)
    return ca.diagcat(*[dense] * derivatives.count)
