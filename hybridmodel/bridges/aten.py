"""Operations of torch as nodes of a graph: one table from their names to small functions.

Each function is given torch's operation and its arguments.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch

from hybridmodel.bridges import aten_moves as moves
from hybridmodel.bridges import aten_products as products
from hybridmodel.bridges import aten_reductions as reductions
from hybridmodel.bridges.expressions import Operand, as_node, constant, elementwise, total
from hybridmodel.bridges.graph import Elementwise, Node, Take

Operation = Callable[..., Any]

# -- elementwise -----------------------------------------------------------------------------------


def _elementwise(name: str) -> Operation:
    return lambda _, *operands: elementwise(name, *map(as_node, operands))


def _activation(name: str, *defaults: float) -> Operation:
    """φ(x; α), where a call may leave out the last of the numbers α."""

    def operation(_: Any, x: Node, *arguments: float) -> Node:
        return elementwise(name, x, arguments=(*arguments, *defaults[len(arguments) :]))

    return operation


def _add(_: Any, x: Operand, y: Operand, *, alpha: float = 1, name: str = "add") -> Node:
    scaled = as_node(y) if alpha == 1 else elementwise("mul", as_node(y), constant(alpha))
    return elementwise(name, as_node(x), scaled)


def _div(_: Any, x: Operand, y: Operand, *, rounding_mode: str | None = None) -> Node:
    """x / y, whole where asked; ⌊x / y⌋ is (x − m) / y with the remainder m, as 1 / 0.1 is 9.99…"""
    if rounding_mode == "floor":
        by_zero = elementwise("eq", as_node(y), constant(0.0))  # torch: ±∞, where m is NaN
        whole = elementwise("sub", as_node(x), _remainder(None, x, y))
        whole = elementwise("where", by_zero, as_node(x), whole)
        return elementwise("round", elementwise("div", whole, as_node(y)))
    ratio = elementwise("div", as_node(x), as_node(y))
    return ratio if rounding_mode is None else elementwise(rounding_mode, ratio)


def _remainder(_: Any, x: Operand, y: Operand) -> Node:
    """m = fmod(x, y), and m + y where m has not the sign of y."""
    zero, divisor = constant(0.0), as_node(y)
    m = elementwise("fmod", as_node(x), divisor)
    signs = [elementwise("lt", a, zero) for a in (m, divisor)]
    turned = elementwise("and", elementwise("ne", m, zero), elementwise("ne", *signs))
    return elementwise("where", turned, elementwise("add", m, divisor), m)


def _pow(_: Any, x: Operand, y: Operand) -> Node:
    match y:
        case int() | float() if y == 1:
            return as_node(x)
        case int() | float() if y in (0.5, 2):
            return elementwise("sqrt" if y == 0.5 else "square", as_node(x))
    return elementwise("pow", as_node(x), as_node(y))


def _clamp(_: Any, x: Node, low: Operand | None = None, high: Operand | None = None) -> Node:
    for bound, outside in ((low, "lt"), (high, "gt")):
        if bound is not None:
            limit = as_node(bound)
            x = elementwise("where", elementwise(outside, x, limit), limit, x)
    return x


def _logarithm(base: float) -> Operation:
    return lambda _, x: elementwise("div", elementwise("log", x), constant(math.log(base)))


def _gelu(_: Any, x: Node, *, approximate: str = "none") -> Node:
    return elementwise("gelu" if approximate == "none" else "gelu_tanh", x)


def _prelu(_: Any, x: Node, slope: Operand) -> Node:
    below = elementwise("mul", x, as_node(slope))
    return elementwise("where", elementwise("gt", x, constant(0.0)), x, below)


def _cast(_: Any, x: Node, *, dtype: torch.dtype | None = None, **_layout: Any) -> Node:
    if dtype in (None, torch.float64) or _is_truth(x):
        return x
    if dtype == torch.bool:
        return elementwise("ne", x, constant(0.0))
    if dtype in (torch.int64, torch.int32):
        return elementwise("trunc", x)
    raise ValueError(f"rounds to {dtype}; networks are evaluated in float64")


def _is_truth(x: Node) -> bool:
    """Whether all elements are 0 or 1, which every dtype holds."""
    while isinstance(x, Take):
        (x,) = x.operands
    return isinstance(x, Elementwise) and x.name in _TRUTHS


# -- the table -------------------------------------------------------------------------------------

# fmt: off
_ELEMENTWISE = (
    "neg", "exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "floor", "ceil", "round",
    "trunc", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
    "acosh", "atanh", "erf", "erfinv", "sigmoid", "relu", "silu", "mish", "hardsigmoid",
    "hardswish", "mul", "maximum", "minimum", "atan2", "fmod", "hypot", "where", "gt", "ge",
    "lt", "le", "eq", "ne",
)
# fmt: on
_TRUTHS = ("gt", "ge", "lt", "le", "eq", "ne", "not", "and", "or")
_LOGIC = {
    "logical_not": "not",
    "bitwise_not": "not",
    "logical_and": "and",
    "bitwise_and": "and",
    "logical_or": "or",
    "bitwise_or": "or",
    "logical_xor": "ne",
    "bitwise_xor": "ne",
}
# fmt: off
_MOVES = (
    "view", "_unsafe_view", "permute", "unsqueeze", "squeeze", "expand", "repeat", "slice",
    "select", "split", "split_with_sizes", "unbind", "cat", "flip", "diagonal",
    "slice_scatter", "select_scatter", "unfold", "pixel_shuffle",
)
# fmt: on
_CREATIONS = ("full_like", "zeros_like", "ones_like", "new_full", "new_zeros", "new_ones")
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar")

OPERATIONS: dict[str, Operation] = {
    **{name: _elementwise(name) for name in _ELEMENTWISE},
    **{name: _elementwise(ours) for name, ours in _LOGIC.items()},
    **{name: moves.move() for name in _MOVES},
    **dict.fromkeys(_CREATIONS, moves.created),
    **dict.fromkeys(("clone", "alias", "lift_fresh_copy"), lambda _, x, **layout: x),
    **dict.fromkeys(_CHECKS, lambda _, *args, **kwargs: None),
    "_to_copy": _cast,
    "sym_size": lambda _, x, dim: x.shape[dim],
    # elementwise
    "add": _add,
    "sub": functools.partial(_add, name="sub"),
    "div": _div,
    "remainder": _remainder,
    "pow": _pow,
    "clamp": _clamp,
    "reciprocal": lambda _, x: elementwise("div", constant(1.0), x),
    "rsqrt": lambda _, x: elementwise("div", constant(1.0), elementwise("sqrt", x)),
    "exp2": lambda _, x: elementwise("exp", elementwise("mul", x, constant(math.log(2)))),
    "log2": _logarithm(2),
    "log10": _logarithm(10),
    "erfc": lambda _, x: elementwise("sub", constant(1.0), elementwise("erf", x)),
    "isnan": lambda _, x: elementwise("ne", x, x),
    "gelu": _gelu,
    "_prelu_kernel": _prelu,
    "elu": _activation("elu", 1.0, 1.0, 1.0),
    "celu": lambda _, x, alpha=1.0: elementwise("elu", x, arguments=(alpha, 1.0, 1 / alpha)),
    "leaky_relu": _activation("leaky_relu", 0.01),
    "hardtanh": _activation("hardtanh", -1.0, 1.0),
    "softplus": _activation("softplus", 1.0, 20.0),
    "softshrink": _activation("softshrink", 0.5),
    "hardshrink": _activation("hardshrink", 0.5),
    "threshold": _activation("threshold"),
    "log_sigmoid_forward": lambda _, x: (elementwise("log_sigmoid", x), None),
    # movement
    "index": moves.move(0),
    "index_select": moves.move(0),
    "gather": moves.move(0),
    "index_put": moves.index_put,
    "copy": moves.copy,
    "constant_pad_nd": moves.pad,
    "tril": moves.move(fill=0.0),
    "triu": moves.move(fill=0.0),
    # reductions
    "sum": reductions.over(total),
    "mean": reductions.over(reductions.mean),
    "prod": reductions.over(reductions.product),
    "any": reductions.over(reductions.any_true),
    "amax": reductions.over(reductions.shared_maximum),
    "amin": reductions.over(reductions.negated(reductions.shared_maximum)),
    "max": reductions.extreme(reductions.shared_maximum, reductions.first_maximum),
    "min": reductions.extreme(
        reductions.negated(reductions.shared_maximum), reductions.negated(reductions.first_maximum)
    ),
    "var": reductions.variance,
    "var_mean": reductions.variance_and_mean,
    "logsumexp": reductions.over(reductions.logsumexp),
    "linalg_vector_norm": reductions.norm,
    "cumsum": reductions.cumsum,
    "avg_pool2d": reductions.mean_pool,
    "max_pool2d_with_indices": reductions.max_pool,
    "_adaptive_avg_pool2d": reductions.adaptive_mean_pool,
    "_softmax": reductions.softmax,
    "_log_softmax": functools.partial(reductions.softmax, logarithm=True),
    # products and normalisation
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), products.product),
    **dict.fromkeys(("addmm", "baddbmm"), products.added),
    "linear": products.linear_layer,
    "_trilinear": products.trilinear,
    "convolution": products.convolution,
    "native_layer_norm": products.layer_norm,
    "native_group_norm": products.group_norm,
    "_native_batch_norm_legit_no_training": products.batch_norm,
    "_fused_rms_norm": products.rms_norm,
}
KNOWN = tuple(sorted(set(OPERATIONS) - set(_CHECKS)))

# what torch would write in simpler operations, whose kinks and sizes would not be kept
# fmt: off
_WHOLE = (
    "linear", "matmul", "mv", "dot", "baddbmm", "logsumexp", "tril", "triu",
    "_fused_rms_norm", "_prelu_kernel", "celu", "hardshrink", "hardsigmoid", "hardswish",
    "log_sigmoid_forward", "mish", "silu", "softplus", "softshrink", "threshold",
)
# fmt: on


def decompositions() -> Any:
    """torch's table of decompositions, without what has a form of its own here."""
    table: Any = torch.export.default_decompositions()
    for name in _WHOLE:
        table.pop(getattr(torch.ops.aten, name).default, None)
    return table
