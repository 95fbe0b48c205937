"""A model's step at N nodes with both derivatives, each computed once for a point and weights."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from hybridmodel.kernel import engine
from hybridmodel.kernel.lanes import Shape
from hybridmodel.kernel.node_kernel import FIELDS, Order, node_kernel
from hybridmodel.kernel.program import Program
from hybridmodel.kernel.scalars import NotLoweredError
from hybridmodel.kernel.selection import plain
from hybridmodel.rollouts import served
from hybridmodel.structure import structure

if TYPE_CHECKING:
    from hybridmodel.model import HybridModel

_OWN_THREAD = 10_000_000  # products of weights from which on another thread is worth waking


class Derivatives:
    """F at N nodes with J, g = Jᵀλ and H = ∂²(λᵀF), each computed once for a point and weights."""

    def __init__(self, model: HybridModel, count: int) -> None:
        self.model, self.count = weakref.ref(model), count
        self.nx = model.nx
        system = model.system
        self._sizes = (self.nx, system.nu, len(model.fit_parameters), system.nd)
        self.n_varied, self.n = sum(self._sizes[:2]), sum(self._sizes)
        self.lock = threading.Lock()  # while a kernel runs, Python may go on elsewhere
        spans = [slice(0, self.n_varied), slice(self.n_varied, self.n)]
        self.spans = spans if self.n > self.n_varied else spans[:1]
        self.shape = shape()
        self._program: Program | None = None
        self._kernels: dict[Order, engine.Compiled] = {}
        self._weights = torch.zeros(0)
        self._seen: _Seen | None = None
        self._within = self._looked = False
        self._point: tuple[bytes, ...] = ()
        self._held: dict[str, np.ndarray] = {}
        self._multipliers = np.zeros(0)
        self._directions = {"jacobian": 0, "hessian": 0}  # of those that are held

    def width(self, group: int) -> int:
        """Numbers of a node in (x, u), group 0, or in (p, d), group 1."""
        return self.spans[group].stop - self.spans[group].start

    def current(self) -> None:
        """Takes the model as it is now."""
        model = self.model()
        if model is None:
            raise ValueError("the model of these nodes is gone: keep `Nodes` or the model")
        if self._seen is not None and self._seen.is_still(model):
            return
        reason = plain(*model.parameters())
        found = served(model).kernel(torch.float64) if reason is None else reason
        if isinstance(found, str):
            raise NotLoweredError(found)
        kernel, weights = found
        sizes = tuple(kernel.program.sizes.values())
        if sizes != self._sizes:
            raise ValueError(
                f"the model has changed its sizes of x, u, p, d to {sizes}: build anew"
            )
        if kernel.program is not self._program:
            self._program, self._kernels = kernel.program, {}
        self._weights, self._held = weights.detach(), {}
        self._seen = _Seen(model)

    def at(self, *buffers: np.ndarray) -> None:
        """Goes to a point, (x, u) and (p, d) of all nodes."""
        if not self._looked:
            self.current()
            self._looked = self._within
        point = tuple(b.tobytes() for b in buffers)
        if point != self._point:
            self._point, self._held = point, {}

    @contextmanager
    def steady(self) -> Iterator[None]:
        """While a caller changes nothing of the model, which is looked at once then."""
        self._within, self._looked = True, False
        try:
            yield
        finally:
            self._within = self._looked = False

    def values(self) -> np.ndarray:
        """X⁺ (N, nx)."""
        if "x" not in self._held:
            self._run(0, None, 0)
        return self._held["x"]

    def jacobian(self, *, every: bool) -> np.ndarray:
        """J (N, n, nx) by columns, all of them or at least those of x and u."""
        directions = self.n if every else self.n_varied
        if "jacobian" not in self._held or self._directions["jacobian"] < directions:
            self._run(1, None, directions)
        return self._held["jacobian"]

    def hessian(self, multipliers: np.ndarray, *, every: bool) -> np.ndarray:
        """H (N, n, n), of all or at least of x and u."""
        directions = self.n if every else self.n_varied
        known = "hessian" in self._held and self._directions["hessian"] >= directions
        if not (known and np.array_equal(self._multipliers, multipliers)):
            self._run(2, multipliers, directions)
            self._multipliers = multipliers.copy()
        return self._held["hessian"]

    def _kernel(self, order: Order) -> engine.Compiled:
        if order not in self._kernels:
            assert self._program is not None
            self._kernels[order] = node_code(self.shape, self._program, order)
        return self._kernels[order]

    def _run(self, order: Order, multipliers: np.ndarray | None, directions: int) -> None:
        N, n, nx = self.count, self.n, self.nx
        compiled = self._kernel(order)
        made = {"x": (N, nx), "jacobian": (N, n, nx), "gradient": (N, n), "hessian": (N, n, n)}
        wanted = (("x",), ("x", "jacobian"), ("jacobian", "gradient", "hessian"))[order]
        results = {name: np.empty(made[name]) for name in wanted}
        given = [np.frombuffer(b) for b in self._point]
        memory = dict(zip(("v", "q"), given, strict=False)) | results
        if multipliers is not None:
            memory["multipliers"] = multipliers
        words = {"nodes": N, "directions": directions, "groups": -(-N // self.shape.lanes)}
        words |= {name: values.ctypes.data for name, values in memory.items()}
        words["weights"] = self._weights.data_ptr()
        fields = array("q", [words.get(name, 0) for name in FIELDS])
        size = compiled.rows * self.shape.lanes * self.shape.bytes
        assert self._program is not None
        sites = (self._program.callees[c.callee].n_weights for c in self._program.calls)
        threads = 1 + N * (directions + order) * sum(sites) // _OWN_THREAD
        threads = min(threads, torch.get_num_threads(), words["groups"])
        compiled.run(fields.buffer_info()[0], size, threads)
        self._held |= results
        self._directions |= dict.fromkeys(results.keys() & self._directions, directions)


class _Seen:
    """A model as it was: its modules, their plain attributes and tensors, and all numbers."""

    def __init__(self, model: HybridModel) -> None:
        self.tensors = [*model.parameters(), *model.buffers()]
        self.numbers = [t.detach().clone() for t in self.tensors]
        self.structure = structure(model)

    def is_still(self, model: HybridModel) -> bool:
        """Whether nothing has changed since."""
        return structure(model) == self.structure and all(
            now.dtype == then.dtype and torch.equal(now, then)
            for now, then in zip(self.tensors, self.numbers, strict=True)
        )


def node_code(shape: Shape, program: Program, order: Order) -> engine.Compiled:
    """The code of `node_kernel`."""
    return engine.compiled(
        "nodes",
        (shape, program.identity, order),
        lambda module: node_kernel(module, shape, "nodes", program, order),
    )


def shape() -> Shape:
    """One vector a row: few nodes fill few lanes, and what directions leave stays in cache."""
    known = engine.shape("float64")
    return dataclasses.replace(known, span=1, tile=8)
