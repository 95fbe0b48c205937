"""torch → CasADi: a network becomes an exact, symbolic casadi.Function.

Matrix products stay whole (MX), so the graph has a few nodes for each layer whatever its
width, and CasADi gives all derivatives. Nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import casadi as ca
import numpy as np
from torch import Tensor, nn

from hybridmodel.bridges.graph import (
    Concatenate,
    Constant,
    Elementwise,
    Graph,
    MatMul,
    Node,
    RefusalError,
    Sum,
    Take,
    UnknownOperationError,
    Weight,
)
from hybridmodel.bridges.network import checked_sizes, lower, weight_tensors
from hybridmodel.bridges.network_check import check_network
from hybridmodel.bridges.onnx_to_casadi import module_through_onnx
from residuals import Recurrent

Weights = Literal["baked", "parameters"]
Expression = Any  # MX, or DM where nothing depends on an argument


def _softplus(x: Expression, b: float = 1.0, t: float = 20.0) -> Expression:
    # log(1 + eᵇˣ)/b without overflow; torch switches to x above bx = t, a difference of e⁻ᵗ
    return ca.if_else(b * x <= t, ca.log1p(ca.exp(ca.fmin(b * x, t + 1))) / b, x)


def _between(x: Expression, low: float, high: float) -> Expression:
    return ca.if_else(x <= low, low, ca.if_else(x >= high, high, x))


def _with_nan(x: Expression, y: Expression, value: Expression) -> Expression:
    return ca.if_else(x != x, x, ca.if_else(y != y, y, value))  # CasADi: fmin(NaN, 1) = 1


def _sigmoid(x: Expression) -> Expression:
    # (1 + tanh(x/2))/2 would lose the digits of small values; e⁷⁰⁰ is close to the largest number
    return 1 / (1 + ca.exp(-ca.if_else(x < -700, -700, x)))


# Branches are written so that slopes at the kink are torch's and NaN stays NaN; the clips inside
# keep the branch that is not taken finite, since its derivative meets a zero factor.
ELEMENTWISE: dict[str, Callable[..., Expression]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "maximum": lambda x, y: _with_nan(x, y, ca.fmax(x, y)),
    "minimum": lambda x, y: _with_nan(x, y, ca.fmin(x, y)),
    "fmod": ca.fmod,
    "atan2": ca.atan2,
    "hypot": ca.hypot,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "and": ca.logic_and,
    "or": ca.logic_or,
    "not": ca.logic_not,
    "where": ca.if_else,
    "neg": lambda x: -x,
    "square": lambda x: x * x,
    "exp": ca.exp,
    "expm1": ca.expm1,
    "log": ca.log,
    "log1p": ca.log1p,
    "sqrt": ca.sqrt,
    "abs": ca.fabs,
    "sign": lambda x: (x > 0) - (x < 0),  # torch says sign(NaN) = 0
    "floor": ca.floor,
    "ceil": ca.ceil,
    "trunc": lambda x: ca.if_else(x < 0, ca.ceil(x), ca.floor(x)),
    # ties to even; from 2⁵² on all numbers are whole, and remainder(∞, 1) is not a number
    "round": lambda x: ca.if_else(ca.fabs(x) < 2**52, x - ca.remainder(x, 1), ca.floor(x)),
    "sin": ca.sin,
    "cos": ca.cos,
    "tan": ca.tan,
    "asin": ca.asin,
    "acos": ca.acos,
    "atan": ca.atan,
    "sinh": ca.sinh,
    "cosh": ca.cosh,
    "tanh": ca.tanh,
    "asinh": ca.asinh,
    "acosh": ca.acosh,
    "atanh": ca.atanh,
    "erf": ca.erf,
    "erfinv": ca.erfinv,
    "sigmoid": _sigmoid,
    "relu": lambda x: ca.if_else(x <= 0, 0, x),
    "leaky_relu": lambda x, a: ca.if_else(x <= 0, a * x, x),
    # s (eᵏˣ − 1) α below 0 and s x above
    "elu": lambda x, a, s, k: ca.if_else(x <= 0, s * a * ca.expm1(k * ca.fmin(x, 1)), s * x),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * (1 + ca.erf(x / 2**0.5)) / 2,
    "gelu_tanh": lambda x: x * (1 + ca.tanh((2 / ca.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    "mish": lambda x: x * ca.tanh(_softplus(x)),
    "softplus": _softplus,
    "log_sigmoid": lambda x: -_softplus(-x, 1.0, 40.0),
    "softsign": lambda x: x / (1 + ca.fabs(x)),
    "softshrink": lambda x, a: ca.if_else(ca.fabs(x) <= a, 0, ca.if_else(x > 0, x - a, x + a)),
    "hardshrink": lambda x, a: ca.if_else(ca.fabs(x) <= a, 0, x),
    "tanhshrink": lambda x: x - ca.tanh(x),
    "threshold": lambda x, a, value: ca.if_else(x <= a, value, x),
    "hardtanh": _between,
    "hardsigmoid": lambda x: _between(x + 3, 0, 6) / 6,
    "hardswish": lambda x: ca.if_else(x <= -3, 0, ca.if_else(x >= 3, x, x * (x + 3) / 6)),
}


def to_casadi(
    module: nn.Module, *, nz: int | tuple[int, ...] | None = None, weights: Weights = "baked"
) -> ca.Function:
    """The casadi.Function r = network(z) or, with weights as parameters, r = network(z, w).

    z (nz,), r (nr,), w (nw,) = `pack_weights(module)`: a new w needs no new Function. A cell takes
    its state too: GRUCell and RNNCell are (z, h[, w]) ↦ h⁺, LSTMCell (z, h, c[, w]) ↦ (h⁺, c⁺),
    and so does a residual with memory: (z, m[, w]) ↦ (r, m⁺).
    `nz` is read from the first layer that has a size and must be given where none has; it is a
    tuple of sizes for a module with several arguments (z0, z1, …) ↦ r or (r0, r1, …).

    The Function is what module(z) computes now; a network that draws random numbers in training
    mode must be switched to .eval() first. Modules that are not in the table are traced by
    torch.export, and what has an operation that is not known then goes through ONNX (weights
    baked, extra `onnx`); both are compared with torch in value and Jacobian first.

    Raises ValueError for a module that no path supports (named with its place and the reason), an
    unknown `weights`, or an `nz` that is missing or does not fit.
    """
    if weights not in ("baked", "parameters"):
        raise ValueError(f"weights must be 'baked' or 'parameters', got {weights!r}")
    try:
        graph = lower(module, nz)
    except UnknownOperationError as refusal:
        if weights == "parameters":
            raise RefusalError(f"{refusal}; through ONNX weights can only be 'baked'") from refusal
        try:
            return module_through_onnx(module, checked_sizes(module, nz))
        except (ValueError, ImportError) as error:
            raise RefusalError(f"{refusal}; nor does it come through ONNX: {error}") from error
    function = _function(graph, module, weights)
    if graph.traced:
        check_network(function, module)
    return function


def _function(graph: Graph, module: nn.Module, weights: Weights) -> ca.Function:
    tensors = weight_tensors(module)
    sizes = [tensor.numel() for tensor in tensors.values()]
    w = ca.MX.sym("w", sum(sizes))
    starts = dict(zip(map(id, tensors.values()), np.cumsum([0, *sizes]).tolist(), strict=False))
    names_in, names_out = _names(module, len(graph.inputs), len(graph.outputs))
    arguments = [ca.MX.sym(n, x.size) for n, x in zip(names_in, graph.inputs, strict=True)]
    values: dict[Node, Expression] = dict(zip(graph.inputs, arguments, strict=True))

    def number(tensor: Tensor) -> Expression:
        """The elements of a tensor by rows; one that is not registered is a constant."""
        if weights == "baked" or id(tensor) not in starts:
            return ca.DM(tensor.detach().cpu().double().numpy().ravel())
        return w[starts[id(tensor)] : starts[id(tensor)] + tensor.numel()]

    for node in graph.nodes:
        if node not in values:
            operands = [values[x] for x in node.operands]
            values[node] = _expression(node, operands, number)
    outputs = [ca.MX(ca.densify(values[y])) for y in graph.outputs]
    if weights == "parameters":
        arguments, names_in = [*arguments, w], [*names_in, "w"]
    return ca.Function("network", arguments, outputs, names_in, names_out)


def _expression(
    node: Node, operands: list[Expression], number: Callable[[Tensor], Expression]
) -> Expression:
    """A node as a column of its elements by rows."""
    match node:
        case Weight():
            return number(node.tensor)
        case Constant():
            return ca.DM(node.value.numpy().ravel())
        case Elementwise():
            return ELEMENTWISE[node.name](*operands, *node.arguments)
        case MatMul():
            # torch counts by rows and CasADi by columns: (m, k) here is a (k, m) matrix there
            (members, m, k), n = node.operands[0].shape, node.shape[2]
            parts = []
            for e in range(members):
                a = ca.reshape(operands[0][e * m * k : (e + 1) * m * k], k, m)
                b = ca.reshape(operands[1][e * n * k : (e + 1) * n * k], k, n)
                parts.append(ca.vec(b.T @ a))
            return ca.vertcat(*parts)
        case Take():
            if node.is_view:
                return operands[0]
            return ca.vec(operands[0][node.index.ravel().tolist()])  # of a scalar it is a row
        case Concatenate():
            return ca.vertcat(*operands)
        case Sum():
            return ca.sum1(ca.reshape(operands[0], -1, node.size)).T
    raise TypeError(f"unknown node {type(node).__name__}")


def _names(module: nn.Module, n_in: int, n_out: int) -> tuple[list[str], list[str]]:
    if isinstance(module, nn.RNNCellBase):
        return ["z", "h", "c"][:n_in], ["h_next", "c_next"][:n_out]
    if isinstance(module, Recurrent):
        return ["z", "m"], ["r", "m_next"]
    names_in = ["z"] if n_in == 1 else [f"z{i}" for i in range(n_in)]
    return names_in, ["r"] if n_out == 1 else [f"r{i}" for i in range(n_out)]
