"""torch → CasADi: a network becomes an exact, symbolic casadi.Function.

Matrix products stay whole (MX), so the graph has a few nodes for each layer whatever its
width, and CasADi gives all derivatives. Nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import casadi as ca
from torch import Tensor, nn

from hybridmodel.bridges.network import Activation, Affine, Layer, Scale, lower, pack_weights

Weights = Literal["baked", "parameters"]

_ACTIVATIONS: dict[str, Callable[[ca.MX, float], ca.MX]] = {
    "tanh": lambda x, _: ca.tanh(x),
    "sigmoid": lambda x, _: (1 + ca.tanh(x / 2)) / 2,
    # written so that slopes at the kink are torch's, and NaN stays NaN
    "relu": lambda x, _: ca.if_else(x <= 0, 0, x),
    "leaky_relu": lambda x, a: ca.if_else(x <= 0, a * x, x),
    "elu": lambda x, a: ca.if_else(x <= 0, a * ca.expm1(ca.fmin(x, 1)), x),
    "silu": lambda x, _: x * (1 + ca.tanh(x / 2)) / 2,
    "gelu": lambda x, _: x * (1 + ca.erf(x / 2**0.5)) / 2,
    "gelu_tanh": lambda x, _: x * (1 + ca.tanh((2 / ca.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    # log(1 + eˣ) without overflow; torch switches to x above a = 20, a difference of e⁻²⁰
    "softplus": lambda x, a: ca.if_else(x <= a, ca.log1p(ca.exp(ca.fmin(x, a + 1))), x),
}


def to_casadi(
    module: nn.Module, *, nz: int | None = None, weights: Weights = "baked"
) -> ca.Function:
    """The casadi.Function r = network(z) or, with weights as parameters, r = network(z, w).

    z (nz,), r (nr,), w (nw,) = `pack_weights(module)`: a new w needs no new Function.
    `nz` is read from the first layer that has a size and must be given where none has.

    Raises ValueError for a module that no table covers (the known ones are listed), an unknown
    `weights`, or an `nz` that does not fit.
    """
    if weights not in ("baked", "parameters"):
        raise ValueError(f"weights must be 'baked' or 'parameters', got {weights!r}")
    layers = lower(module)
    width = nz if nz is not None else _input_size(layers)
    z = ca.MX.sym("z", width)
    w = ca.MX.sym("w", pack_weights(module).size)
    taken = 0

    def number(tensor: Tensor) -> ca.MX | ca.DM:
        nonlocal taken
        if weights == "baked":
            return ca.DM(tensor.detach().cpu().double().numpy())
        rows, columns = (*tensor.shape, 1)[:2]
        part = w[taken : taken + rows * columns]  # torch stores rows first, CasADi columns
        taken += rows * columns
        return ca.reshape(part, columns, rows).T

    r = z
    for layer in layers:
        r = _apply(layer, r, number)
    if weights == "baked":
        return ca.Function("network", [z], [r], ["z"], ["r"])
    return ca.Function("network", [z, w], [r], ["z", "w"], ["r"])


def _apply(layer: Layer, x: ca.MX, number: Callable[[Tensor], ca.MX | ca.DM]) -> ca.MX:
    match layer:
        case Affine(weight, bias):
            if weight.shape[1] != x.shape[0]:
                raise ValueError(
                    f"a layer takes {weight.shape[1]} features, it is given {x.shape[0]}"
                )
            y = number(weight) @ x
            return y if bias is None else y + number(bias)
        case Scale(scale, shift):
            y = number(scale) * x
            return y if shift is None else y + number(shift)
        case Activation(name, argument):
            return _ACTIVATIONS[name](x, argument)


def _input_size(layers: tuple[Layer, ...]) -> int:
    for layer in layers:
        if layer.tensors:
            return layer.tensors[0].shape[-1]
    raise ValueError("nz must be given: no layer of this network has a size")
