"""A torch network as a `Graph` of expressions, read from one table of module classes.

A new module joins by one line; what the table does not know is traced (`traced`).
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

import residuals
from hybridmodel.bridges import layers, regression, uncertainty
from hybridmodel.bridges.expressions import elementwise
from hybridmodel.bridges.graph import (
    Graph,
    Input,
    Node,
    Nodes,
    RefusalError,
    Shape,
    UnknownOperationError,
)
from hybridmodel.bridges.layers import SELU, Rule, activation
from hybridmodel.bridges.traced import trace

_TABLE: dict[type[nn.Module], Rule] = {
    nn.Sequential: layers.sequential,
    nn.Linear: layers.linear_layer,
    nn.Identity: lambda _, m, x: x,
    nn.Dropout: layers.dropout,
    nn.AlphaDropout: layers.dropout,
    nn.LayerNorm: layers.layer_norm,
    nn.RMSNorm: layers.rms_norm,
    nn.RNNCell: layers.rnn_cell,
    nn.GRUCell: layers.gru_cell,
    nn.LSTMCell: layers.lstm_cell,
    nn.Tanh: activation("tanh"),
    nn.Sigmoid: activation("sigmoid"),
    nn.ReLU: activation("relu"),
    nn.ReLU6: activation("hardtanh", "min_val", "max_val"),
    nn.RReLU: layers.rrelu,
    nn.LeakyReLU: activation("leaky_relu", "negative_slope"),
    nn.PReLU: layers.prelu,
    nn.ELU: lambda _, m, x: elementwise("elu", x, arguments=(m.alpha, 1.0, 1.0)),
    nn.SELU: lambda _, m, x: elementwise("elu", x, arguments=SELU),
    nn.CELU: lambda _, m, x: elementwise("elu", x, arguments=(m.alpha, 1.0, 1 / m.alpha)),
    nn.SiLU: activation("silu"),
    nn.GELU: layers.gelu,
    nn.Mish: activation("mish"),
    nn.Softplus: activation("softplus", "beta", "threshold"),
    nn.LogSigmoid: activation("log_sigmoid"),
    nn.Softsign: activation("softsign"),
    nn.Softshrink: activation("softshrink", "lambd"),
    nn.Hardshrink: activation("hardshrink", "lambd"),
    nn.Tanhshrink: activation("tanhshrink"),
    nn.Threshold: activation("threshold", "threshold", "value"),
    nn.Hardtanh: activation("hardtanh", "min_val", "max_val"),
    nn.Hardsigmoid: activation("hardsigmoid"),
    nn.Hardswish: activation("hardswish"),
    nn.Softmax: layers.softmax_layer,
    nn.LogSoftmax: layers.softmax_layer,
    residuals.Standardize: layers.standardize,
    residuals.Rescale: layers.rescale,
    residuals.Limit: layers.limit,
    residuals.Gated: layers.gated,
    residuals.MLP: lambda read, m, x: read(m.chain, x),
    residuals.Stacked: uncertainty.stacked,
    residuals.SoftBounds: uncertainty.soft_bounds,
    residuals.Ensemble: uncertainty.ensemble,
    residuals.Support: uncertainty.support,
    residuals.Supported: uncertainty.supported,
    residuals.SupportedProbabilistic: uncertainty.supported,
    residuals.SupportedRegressed: uncertainty.supported,
    residuals.Members: uncertainty.members,
    residuals.Distribution: uncertainty.distribution,
    residuals.Epistemic: uncertainty.epistemic,
    residuals.Doubt: uncertainty.doubt,
    residuals.Window: layers.window,
    residuals.GRU: layers.gru,
    residuals.Linear: regression.linear_residual,
    residuals.Monomials: regression.monomials,
    residuals.Fourier: regression.fourier,
    residuals.HiddenLayers: regression.hidden_layers,
    residuals.GaussianProcess: regression.gaussian_process,
    residuals.Potential: layers.potential,
}

_SIZES: dict[type[nn.Module], Callable[[Any], Shape]] = {
    nn.Linear: lambda m: (m.in_features,),
    nn.LayerNorm: lambda m: m.normalized_shape[-1:],
    nn.RMSNorm: lambda m: m.normalized_shape[-1:],
    nn.RNNCell: lambda m: (m.input_size, m.hidden_size),
    nn.GRUCell: lambda m: (m.input_size, m.hidden_size),
    nn.LSTMCell: lambda m: (m.input_size, m.hidden_size, m.hidden_size),
    residuals.Standardize: lambda m: (m.scale.numel(),),
    residuals.Rescale: lambda m: (m.scale.numel(),),
    residuals.Limit: lambda m: (m.limit.numel(),),
    residuals.Support: lambda m: m.middle.shape,
    residuals.Members: lambda m: (m.residual.nz,),
    residuals.Distribution: lambda m: (m.residual.nz,),
    residuals.Epistemic: lambda m: (m.residual.nz,),
    residuals.Doubt: lambda m: (m.variance.residual.nz,),
}


def lower(module: nn.Module, nz: int | Shape | None = None) -> Graph:
    """The graph of what module(z) computes now; its nodes share the module's tensors.

    nz   size of z, or of each argument where the module has several; may be left out where the
         module tells (its first layer is a Linear, a norm, a cell or a residual)

    Raises RefusalError (a ValueError) for what is no module or has no numbers yet and for a module
    that can be neither read from the table nor traced, naming it, its place and the reason;
    ValueError for an nz that is missing or does not fit.
    """
    _check(module)
    inputs = tuple(Input((size,)) for size in checked_sizes(module, nz))
    reader = _Reader(module)
    outputs = reader.apply(module, *inputs)
    if any(len(y.shape) != 1 for y in outputs):
        shapes = ", ".join(str(y.shape) for y in outputs)
        raise RefusalError(
            f"{type(module).__name__}: a network must map vectors to vectors, this one gives an "
            f"array of shape {shapes}; end it with a reshape to (…, nr)"
        )
    return Graph(inputs, outputs, tuple(reader.traced))


def checked_sizes(module: nn.Module, nz: int | Shape | None) -> Shape:
    """The sizes of a module's arguments, as given or as the module tells.

    Raises ValueError where there are none, or what is given is no whole number of at least 1.
    """
    given = input_sizes(module) if nz is None else nz
    if given is None:
        raise ValueError("nz must be given: no layer of this network has a size")
    several = tuple(given) if isinstance(given, tuple | list) else (given,)
    try:
        sizes = tuple(operator.index(size) for size in several)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1 or any(isinstance(size, bool) for size in several):
        source = "" if nz is not None else f", as {type(module).__name__} tells it"
        raise ValueError(
            f"nz must be a size or a tuple of sizes, each a whole number of at least 1, got "
            f"{given!r}{source}"
        )
    return sizes


def _check(module: nn.Module) -> None:
    """RefusalError for what is no module, or has layers whose sizes are still open."""
    if not isinstance(module, nn.Module):
        what = module.__name__ if isinstance(module, type) else type(module).__name__
        raise RefusalError(
            f"module must be a torch.nn.Module, got {what} ({module!r}); build the module first, "
            "and put a function into the forward of one"
        )
    for path, child in module.named_modules():
        if any(nn.parameter.is_lazy(t) for t in _own_tensors(child)):
            raise RefusalError(
                f"{_named(child, path)}: its sizes are open; call the network once on an example "
                "first, such as network(torch.zeros(1, nz))"
            )


def _own_tensors(module: nn.Module) -> tuple[Tensor, ...]:
    return (*module.parameters(recurse=False), *module.buffers(recurse=False))


def _named(module: nn.Module, path: str) -> str:
    return type(module).__name__ + (f" at {path!r}" if path else "")


def input_sizes(module: nn.Module) -> Shape | None:
    """The sizes of a module's arguments where the module tells them, else None."""
    if isinstance(module, residuals.Residual):
        memory = (module.nm,) if isinstance(module, residuals.Recurrent) else ()
        return None if module.nz is None else (module.nz, *memory)
    if type(module) is nn.Sequential:
        for child in module:  # an activation keeps the size and a module of another kind may not
            if (found := input_sizes(child)) is not None or type(child) not in _TABLE:
                return found
    return _SIZES[type(module)](module) if type(module) in _SIZES else None


def weight_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The numbers of a network by name: floating-point parameters, then buffers, each once.

    Integer and Boolean buffers are structure, not numbers; tensors on the meta device have none.
    """
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    return {k: t for k, t in tensors.items() if t.is_floating_point() and not t.is_meta}


def pack_weights(module: nn.Module) -> np.ndarray:
    """w (nw,) in float64: all numbers of a network, in the order of `weight_tensors`.

    A Function with weights as parameters reads this vector; what is shared stands in it once.
    """
    tensors = weight_tensors(module).values()
    flat = [t.detach().cpu().double().numpy().ravel() for t in tensors]
    return np.concatenate([np.zeros(0), *flat])


class _Reader:
    """Applies modules to nodes, and remembers which ones had to be traced."""

    def __init__(self, root: nn.Module) -> None:
        self.names = {id(child): name for name, child in root.named_modules()}
        self.traced: list[str] = []

    def apply(self, module: nn.Module, *nodes: Node) -> Nodes:
        """What a module makes of nodes, by its rule or else by tracing."""
        path = self.names.get(id(module), "")
        if any(t.is_meta for t in _own_tensors(module)):
            raise RefusalError(
                f"{_named(module, path)}: it is on the meta device and has no numbers; move it "
                "with network.to_empty(device='cpu') and load its weights first"
            )
        try:
            rule = _rule(module, len(nodes))
            found = None if rule is None else rule(self.apply, module, *nodes)
            if found is None:
                found = trace(module, nodes)
                self.traced.append(path)
            return (found,) if isinstance(found, Node) else found
        except RefusalError:
            raise  # by a module inside, which has the longer path
        except (ValueError, NotImplementedError) as error:
            known = not isinstance(error, NotImplementedError)
            kind = RefusalError if known else UnknownOperationError
            raise kind(f"{_named(module, path)}: {error}") from error


def _has_hooks(module: nn.Module) -> bool:
    """Whether a call or its gradient passes through functions of the user's."""
    own = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(own) or bool(_has_any_global_hook())


def _rule(module: nn.Module, count: int) -> Rule | None:
    """The rule for a call with `count` arguments, where the call itself has not been changed."""
    rule = _TABLE.get(type(module))
    if rule is None or "forward" in vars(module) or _has_hooks(module):
        return None
    named = list(inspect.signature(rule).parameters.values())[2:]
    fits = count == len(named) or any(p.kind is p.VAR_POSITIONAL for p in named)
    return rule if fits else None  # such as a cell without its state, which is zero then
