"""The matrix form: an MX graph as one torch operation for each of its instructions.

Every value of the graph is a tensor (…, nnz) of its nonzeros in CasADi's order, by column, so
sparse matrices need no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import casadi as ca
import numpy as np
import torch
from torch import Tensor

from hybridmodel.bridges.leading import broadcast
from hybridmodel.bridges.matrix_nodes import NODES, Operation
from hybridmodel.bridges.operations import ARITHMETIC, FUNCTIONS, NAME, OPCODE

WEIGHT = 6  # what an operation costs against one of the scalar form, at a batch of some hundred


class MatrixForm:
    """An MXFunction: nonzeros (…, nnz) of its inputs ↦ nonzeros of its outputs.

    `form_of` gives the forms of the Functions that it calls, `form_of_node` those of Functions
    made of a single node that the table of nodes does not hold.
    """

    def __init__(
        self,
        mx: ca.Function,
        form_of: Callable[[ca.Function], Any],
        form_of_node: Callable[[ca.Function], Any],
    ) -> None:
        self._form_of, self._form_of_node = form_of, form_of_node
        self.input_counts = [mx.nnz_in(i) for i in range(mx.n_in())]
        self.called: list[Any] = []
        self._scalars = 0
        self._program: list[tuple[Operation, list[int], list[int]]] = []
        self._inputs: list[tuple[int, int, int, int]] = []  # register ← input, from, to
        self._constants: list[tuple[int, Tensor]] = []
        # an output that is a concatenation comes in segments: (from, register)
        self._outputs: list[list[tuple[int, int]]] = [[] for _ in range(mx.n_out())]
        self._registers = 0
        held: dict[int, int] = {}  # CasADi's register → ours; each of ours is set only once

        def set_(register: int) -> int:
            held[register] = self._registers
            self._registers += 1
            return held[register]

        for k in range(mx.n_instructions()):
            op, outs, ins = mx.instruction_id(k), mx.instruction_output(k), mx.instruction_input(k)
            node = mx.instruction_MX(k)
            if op == ca.OP_OUTPUT:
                self._outputs[outs[0]].append((node.info()["offset"], held[ins[0]]))
            elif op == ca.OP_INPUT:
                start = node.info()["offset"]
                self._inputs.append((set_(outs[0]), ins[0], start, start + node.nnz()))
            elif op == ca.OP_CONST:
                number = torch.from_numpy(np.array(node.to_DM().nonzeros(), dtype=np.float64))
                self._constants.append((set_(outs[0]), number))
            else:
                operation = self._operation(node, op)
                sources = [held[i] for i in ins]
                # an output that nobody reads has register −1
                targets = [set_(out) if out >= 0 else self._unread() for out in outs]
                self._program.append((operation, targets, sources))

    def _unread(self) -> int:
        self._registers += 1
        return self._registers - 1

    def _operation(self, node: ca.MX, op: int) -> Operation:
        self._scalars += _scalar_count(node, op)
        if op in OPCODE:
            return ARITHMETIC.get(OPCODE[op]) or FUNCTIONS[OPCODE[op]]
        if (make := NODES.get(NAME.get(op, ""))) is not None:
            return make(node)
        calls = op == ca.OP_CALL
        form = self._form_of(node.which_function()) if calls else self._form_of_node(alone(node))
        self.called.append(form)
        return lambda *nonzeros: tuple(form(nonzeros, nonzeros[0]))

    @property
    def size(self) -> int:
        """What an evaluation costs, in torch operations of the scalar form."""
        return WEIGHT * len(self._program) + sum(form.size for form in self.called)

    @property
    def scalars(self) -> int:
        """About how many scalar operations the same graph would be."""
        return self._scalars + sum(form.size for form in self.called)

    def __call__(self, nonzeros: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        if nonzeros and all(v.ndim == 1 for v in nonzeros):
            # as a batch of one, whose products may be rounded otherwise than a vector's
            return [v[0] for v in self([v[None] for v in nonzeros], like)]
        values: list[Any] = [None] * self._registers
        for register, argument, start, stop in self._inputs:
            values[register] = nonzeros[argument][..., start:stop]
        for register, number in self._constants:
            values[register] = number.to(like)
        for operation, targets, sources in self._program:
            result = operation(*[values[s] for s in sources])
            if isinstance(result, tuple):
                for target, value in zip(targets, result, strict=True):
                    values[target] = value
            else:
                values[targets[0]] = result
        batch = broadcast(*(v.shape[:-1] for v in nonzeros))
        results = []
        for segments in self._outputs:
            parts = [values[register] for _, register in sorted(segments)]
            wide = [v.expand(*batch, v.shape[-1]) for v in parts]
            results.append(torch.cat(wide, -1) if wide else like.new_zeros(*batch, 0))
        return results


def _scalar_count(node: ca.MX, op: int) -> int:
    """About how many scalar operations a node is made of."""
    if op == ca.OP_MTIMES:
        return 2 * node.dep(1).nnz() * node.dep(2).size2()
    if op in (ca.OP_SOLVE, ca.OP_INVERSE, ca.OP_DETERMINANT):
        return max(node.dep(i).size1() for i in range(node.n_dep())) ** 3
    return node.nnz() if op in OPCODE else 0


def alone(node: ca.MX) -> ca.Function:
    """One node as a Function of its operands."""
    operands = [node.dep(i) for i in range(node.n_dep())]
    symbols = [ca.MX.sym(f"a{i}", operand.sparsity()) for i, operand in enumerate(operands)]
    (value,) = ca.graph_substitute([node], operands, symbols)
    return ca.Function(f"node_{NAME.get(node.op(), node.op())}".lower(), symbols, [value])
