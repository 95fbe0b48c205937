"""Which torch form a casadi.Function takes.

A form maps the nonzeros (…, nnz) of a Function's inputs to those of its outputs. The choice goes by
the kind of Function; of an MX graph it is the cheaper of scalars and matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, Literal, Protocol

import casadi as ca
import torch
from torch import Tensor

from hybridmodel.bridges.call_through import CallThrough
from hybridmodel.bridges.lookup_tables import table_of
from hybridmodel.bridges.matrix_form import MatrixForm
from hybridmodel.bridges.nonzeros import nonzeros_in
from hybridmodel.bridges.scalar_form import ScalarForm, calls

Name = Literal["scalar", "matrix"]
SLACK = 4  # CasADi simplifies: an expansion may be this much smaller than the count of its scalars


class Form(Protocol):
    """What all forms are.

    input_counts   nonzeros of each input
    size           what an evaluation costs, in torch operations of the scalar form
    called         forms inside
    """

    @property
    def input_counts(self) -> Sequence[int]: ...
    @property
    def size(self) -> int: ...
    @property
    def called(self) -> Sequence[Form]: ...
    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]: ...


class Forms:
    """The forms of a Function and of all that it calls, each made once."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[ca.Function, Form]] = {}  # the Function is kept, so is its hash

    def of(self, function: ca.Function, name: Name | None = None) -> Form:
        """The form of a Function; `name` asks for one of the two that a graph has.

        Raises ValueError where it has not got that one.
        """
        key = function.__hash__()
        if name is not None:
            return self._choose(function, name)
        if key not in self._made:
            self._made[key] = function, self._choose(function, None)
        return self._made[key][1]

    def _choose(self, function: ca.Function, name: Name | None) -> Form:
        kind = function.class_name()
        if kind == "MXFunction":
            return self._of_graph(function, name)
        if kind == "SXFunction" and name != "matrix":
            return ScalarForm(function, self.of)
        if name is not None:
            raise ValueError(f"{function.name()}: a {kind} has no {name!r} form")
        if kind in ("Map", "ThreadMap", "OmpMap"):
            return Mapped(self.of(function.info()["f"]), function.info()["n"])
        if kind == "Switch" and not function.info()["project_in"]:
            return self._of_switch(function)
        if kind in ("LinearInterpolant", "BSplineInterpolant") and (table := table_of(function)):
            return table
        scalar, _ = self._expanded(function)  # such as a map whose outputs are summed
        return scalar or CallThrough(function)

    def _of_graph(self, function: ca.Function, name: Name | None) -> Form:
        if name == "scalar":
            scalar, reason = self._expanded(function)
            if scalar is None:
                raise ValueError(
                    f"{function.name()}: this MX function has no scalar (SX) form: {reason}"
                )
            return scalar
        matrix = MatrixForm(function, self.of, self._of_node)
        # as scalars, a branch that is not taken would be computed and its NaN get into the slope
        switches = any(inner.class_name() == "Switch" for inner in function.find_functions(-1))
        if name == "matrix" or switches or matrix.scalars > SLACK * matrix.size:
            return matrix
        scalar, _ = self._expanded(function)
        return scalar if scalar is not None and scalar.size <= matrix.size else matrix

    def _expanded(self, function: ca.Function) -> tuple[ScalarForm | None, str]:
        """The scalar form of an MX graph, or why there is none."""
        try:
            sx = function.expand()
        except RuntimeError as error:
            return None, str(error).strip().splitlines()[-1]
        if any(inner.name() == function.name() for inner in calls(sx).values()):
            return None, "it is never to be inlined"
        return ScalarForm(sx, self.of), ""

    def _of_node(self, function: ca.Function) -> Form:
        """A single MX node: scalars, a table, or a call of CasADi."""
        scalar, _ = self._expanded(function)
        return scalar or table_of(function) or CallThrough(function)

    def _of_switch(self, function: ca.Function) -> Form:
        info = function.info()
        branches = [*info["f"], info["f_def"]]
        outputs = [function.sparsity_out(i) for i in range(function.n_out())]
        return Switched([self.of(f) for f in branches], [_spreads(f, outputs) for f in branches])


class Mapped:
    """A Function mapped over n columns of arguments: the columns become a leading dim."""

    def __init__(self, form: Form, n: int) -> None:
        self.inner, self.n = form, n
        self.called = (form,)
        self.size = form.size
        self.input_counts = [n * count for count in form.input_counts]

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        columns = [v.unflatten(-1, (self.n, v.shape[-1] // self.n)) for v in nonzeros]
        return [v.flatten(-2) for v in self.inner(columns, like)]


class Switched:
    """A choice among Functions by the first argument; the last is taken where none fits.

    All run on all rows. The inputs of a branch that a row does not take are detached from it,
    so that no NaN of its slope gets through. `spreads` lays the nonzeros of each branch's outputs
    out over those of the whole.
    """

    def __init__(self, forms: Sequence[Form], spreads: Sequence[Sequence[Any]]) -> None:
        self.called, self.spreads = forms, spreads
        self.size = sum(form.size for form in forms)
        self.input_counts = [1, *max((form.input_counts for form in forms), key=len)]

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        index, arguments = nonzeros[0], nonzeros[1:]
        number = torch.trunc(index)
        taken = [number == k for k in range(len(self.called) - 1)]
        taken.append(~reduce(torch.logical_or, taken, torch.zeros_like(index, dtype=torch.bool)))
        results: list[Tensor] = []
        for mine, form, spreads in zip(taken, self.called, self.spreads, strict=True):
            inputs = [torch.where(mine, v, v.detach()) for v in arguments]
            found = [s(v) for s, v in zip(spreads, form(inputs, like), strict=True)]
            pairs = zip(found, results or found, strict=True)
            results = [torch.where(mine, new, old) for new, old in pairs]
        return results


def _spreads(function: ca.Function, outputs: Sequence[ca.Sparsity]) -> list[Any]:
    """For each output: nonzeros of this Function ↦ nonzeros of a wider sparsity."""
    return [nonzeros_in(function.sparsity_out(i), wide) for i, wide in enumerate(outputs)]


def called_through(form: Form) -> Iterator[str]:
    """Names of the Functions inside that CasADi evaluates."""
    if isinstance(form, CallThrough):
        yield form.function.name()
    for inner in form.called:
        yield from called_through(inner)
