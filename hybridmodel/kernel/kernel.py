"""One model's compiled rollouts, and their place in torch's autograd.

A kernel takes x0 (B or 1, nx), u (B, H, nu), p (B or 1, np), d (B or 1, H or H + 1, nd) and the
leaves of the network in one row, all of one dtype on the CPU.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from array import array
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from hybridmodel.kernel import engine
from hybridmodel.kernel.lanes import Precision
from hybridmodel.kernel.loops import Objective, forward_kernel, reverse_kernel
from hybridmodel.kernel.program import Program
from hybridmodel.kernel.tiles import FIELDS

DTYPES: dict[torch.dtype, Precision] = {torch.float32: "float32", torch.float64: "float64"}
INPUTS = ("x0", "u", "p", "d", "weights")
_WORTH_A_THREAD = 500_000  # operations on vectors, about a tenth of a millisecond
_GROUPS = 64  # at most; sums over candidates are taken by group, whatever the threads
_known: weakref.WeakValueDictionary[int, Kernel] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class Kernel:
    """Rollouts of a program, or the costs of them, compiled when first run.

    reference   the same in torch, (x0, u, p, d, weights) ↦ x or (cost, violation), for what a
                kernel cannot give: derivatives of derivatives
    owners      what the reference needs, which a gradient's graph keeps alive
    """

    def __init__(
        self,
        program: Program,
        objective: Objective | None,
        dtype: torch.dtype,
        reference: Callable[..., Any],
        owners: Sequence[weakref.ref[Any]],
    ) -> None:
        self.program, self.objective, self.dtype = program, objective, dtype
        self.reference, self.owners = reference, owners
        self.shape = engine.shape(DTYPES[dtype])
        self._twins: dict[torch.dtype, Kernel] = {}
        self.number = next(_numbers)
        _known[self.number] = self

    def at(self, dtype: torch.dtype) -> Kernel:
        """The same in this precision."""
        if dtype == self.dtype:
            return self
        if dtype not in self._twins:
            twin = Kernel(self.program, self.objective, dtype, self.reference, self.owners)
            self._twins[dtype] = twin
        return self._twins[dtype]

    def __call__(self, x0: Tensor, u: Tensor, p: Tensor, d: Tensor, weights: Tensor) -> Any:
        """x (B, H+1, nx), or cost and violation (B,)."""
        given = (x0, u, p, d, weights.to(self.dtype))
        if not (torch.is_grad_enabled() and any(v.requires_grad for v in given)):
            found = self.forward(*given)
        elif self.objective is None:
            # the caller may change what he is given, and a reverse sweep needs it as it was
            found = [torch.ops.hybridmodel.rollout(self.number, *given).clone()]
        else:
            found = torch.ops.hybridmodel.objective(self.number, *given)
        return found[0] if self.objective is None else tuple(found)

    def forward(self, *given: Tensor, states: bool = False) -> list[Tensor]:
        """[x], or [cost, violation] and x where states are wanted, without gradients."""
        given = self._plain(given)
        B, H = given[1].shape[:2]
        found = {}
        if self.objective is not None:
            found = {name: given[1].new_empty(B) for name in ("cost", "violation")}
        if states or self.objective is None:
            found["x"] = given[1].new_empty(B, H + 1, self.program.sizes["x"])
        self._run(self._forward, given, found)
        return list(found.values())

    def reverse(
        self,
        given: Sequence[Tensor],
        bars: Sequence[Tensor],
        x: Tensor | None,
        wanted: tuple[bool, ...],
    ) -> list[Tensor]:
        """The gradient of Σ bar · result in each input, empty where it is not wanted."""
        given = self._plain(given)
        B = given[1].shape[0]
        names = ("x_bar",) if self.objective is None else ("cost_bar", "violation_bar")
        memory: dict[str, Tensor] = dict(
            zip(names, (b.detach().contiguous() for b in bars), strict=True)
        )
        if x is not None:
            memory["x"] = x.detach().contiguous()
        chosen = frozenset(
            n for n, w, v in zip(INPUTS, wanted, given, strict=True) if w and v.numel()
        )
        full = {n: v.new_zeros(B, *v.shape[1:]) for n, v in zip(INPUTS[:4], given[:4], strict=True)}
        memory |= {f"{name}_gradient": value for name, value in full.items()}
        sums = None
        if "weights" in chosen:
            size = self._groups(B)[1], self.program.gradient_starts[-1]
            memory["weights_gradient"] = given[1].new_empty(size)
            sums = memory["weights_gradient"].numpy()  # small: threads would cost more than it
            sums.fill(0.0)
        self._run(self._reverse(chosen), given, memory, reverse=True)
        if sums is not None:
            found = self.program.collected(sums.sum(0), self.shape.width)
            full["weights"] = torch.from_numpy(found)
        found = []
        for name, value in zip(INPUTS, given, strict=True):
            if name not in chosen:  # not asked for, or no numbers
                found.append(torch.zeros_like(value) if not value.numel() else value.new_empty(0))
                continue
            gradient = full[name]
            shared = name != "weights" and value.shape[0] < B
            found.append(gradient.sum(0, keepdim=True) if shared else gradient)
        return found

    def _plain(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The inputs as code reads them; it sees addresses alone, so all must be as it knows."""
        wanted = self.program.starts[-1]
        if given[-1].shape != (wanted,):
            raise ValueError(f"weights must have shape ({wanted},), got {tuple(given[-1].shape)}")
        return tuple(v.detach().to(self.dtype).contiguous() for v in given)

    @functools.cached_property
    def _identity(self) -> tuple[Hashable, ...]:
        return self.shape, self.program.identity, self.objective and self.objective.identity

    @functools.cached_property
    def _forward(self) -> engine.Compiled:
        what = self.shape, "forward", self.program, self.objective
        return engine.compiled(
            "forward", self._identity, lambda module: forward_kernel(module, *what)
        )

    def _reverse(self, wanted: frozenset[str]) -> engine.Compiled:
        if wanted not in self._reversed:
            what = self.shape, "reverse", self.program, self.objective, wanted
            self._reversed[wanted] = engine.compiled(
                "reverse", (self._identity, wanted), lambda module: reverse_kernel(module, *what)
            )
        return self._reversed[wanted]

    @functools.cached_property
    def _reversed(self) -> dict[frozenset[str], engine.Compiled]:
        return {}

    def _groups(self, candidates: int) -> tuple[int, int]:
        """Tiles of a group, and groups."""
        tiles = max(1, -(-candidates // self.shape.lanes))
        each = -(-tiles // _GROUPS)
        return each, -(-tiles // each)

    def _run(
        self,
        compiled: engine.Compiled,
        given: Sequence[Tensor],
        memory: dict[str, Tensor],
        *,
        reverse: bool = False,
    ) -> None:
        x0, u, p, d, _ = given
        B, H = u.shape[:2]
        if not B:
            return
        each, groups = self._groups(B)
        words = {
            "candidates": B,
            "horizon": H,
            "tiles": each,
            "groups": groups,
            "x0_stride": x0.shape[1] if x0.shape[0] > 1 else 0,
            "u_stride": H * u.shape[2],
            "u_step": u.shape[2],
            "p_stride": p.shape[1] if p.shape[0] > 1 else 0,
            "d_stride": d.shape[1] * d.shape[2] if d.shape[0] > 1 else 0,
            "d_step": d.shape[2],
        }
        tensors = dict(zip(INPUTS, given, strict=True)) | memory
        words |= {key: value.data_ptr() for key, value in tensors.items()}
        fields = array("q", [words.get(name, 0) for name in FIELDS])
        rows = compiled.rows + (H * (x0.shape[1] + 1) if reverse else 0)
        work = self.program.work * self.shape.span * each * groups * H
        threads = min(torch.get_num_threads(), 1 + work // _WORTH_A_THREAD, groups)
        scratch = rows * self.shape.lanes * self.shape.bytes
        compiled.run(fields.buffer_info()[0], scratch, threads)


@torch.library.custom_op("hybridmodel::rollout", mutates_args=())
def _rollout(kernel: int, x0: Tensor, u: Tensor, p: Tensor, d: Tensor, weights: Tensor) -> Tensor:
    return _known[kernel].forward(x0, u, p, d, weights)[0]


@torch.library.custom_op("hybridmodel::objective", mutates_args=())
def _objective(
    kernel: int, x0: Tensor, u: Tensor, p: Tensor, d: Tensor, weights: Tensor
) -> list[Tensor]:
    return _known[kernel].forward(x0, u, p, d, weights)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    kernel, *given = inputs
    ctx.kernel = _known[kernel]
    ctx.alive = [owner() for owner in ctx.kernel.owners]  # as long as the graph is
    ctx.save_for_backward(*given, *([output] if ctx.kernel.objective is None else []))


def _batched(bar: Tensor) -> bool:
    """Whether a transform maps over the gradient that comes in."""
    known = torch._C._functorch  # type: ignore[attr-defined]
    return known.is_batchedtensor(bar) or known.is_legacy_batchedtensor(bar)


def _back(ctx: Any, *bars: Any) -> tuple[Any, ...]:
    kernel: Kernel = ctx.kernel
    given, x = ctx.saved_tensors[:5], (*ctx.saved_tensors[5:], None)[0]
    bars = bars if kernel.objective is None else bars[0]
    wanted = tuple(ctx.needs_input_grad[1:])
    again = torch.is_grad_enabled()  # a derivative that is differentiated itself
    if again or any(map(_batched, bars)):
        with torch.enable_grad():
            own = given if again else [v.detach().requires_grad_(v.requires_grad) for v in given]
            found = kernel.reference(*own)
        inputs = [v for v, w in zip(own, wanted, strict=True) if w]
        found = (found,) if kernel.objective is None else found
        slopes = iter(
            torch.autograd.grad(found, inputs, bars, create_graph=again, allow_unused=True)
        )
        return None, *(next(slopes) if w else None for w in wanted)
    found = kernel.reverse(given, bars, x, wanted)
    return None, *(
        v if w and v.shape == g.shape else None
        for v, w, g in zip(found, wanted, given, strict=True)
    )


_rollout.register_autograd(_back, setup_context=_keep)
_objective.register_autograd(_back, setup_context=_keep)


@_rollout.register_fake
def _(kernel: int, x0: Tensor, u: Tensor, p: Tensor, d: Tensor, weights: Tensor) -> Tensor:
    return u.new_empty(u.shape[0], u.shape[1] + 1, x0.shape[1])


@_objective.register_fake
def _(kernel: int, x0: Tensor, u: Tensor, p: Tensor, d: Tensor, weights: Tensor) -> list[Tensor]:
    return [u.new_empty(u.shape[0]), u.new_empty(u.shape[0])]
