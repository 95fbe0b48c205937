"""The check that a network's CasADi form is the network: value and Jacobian at a few points."""

from __future__ import annotations

from collections.abc import Callable

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel.bridges.network import pack_weights
from hybridmodel.bridges.traced import copied, is_batched

# wide enough for torch's own single-precision constants (Hardsigmoid and CELU, in the slope)
TOLERANCE = {"value": 1e-9, "Jacobian": 1e-6}


def check_network(function: ca.Function, module: nn.Module) -> None:
    """Compare a Function (z, …[, w]) with its module at three random points of a fixed seed.

    Raises ValueError with the numbers where the largest difference, relative to the largest entry
    or to 1 where that is smaller, is above 1e-9 in the value or 1e-6 in the Jacobian.
    """
    w = [pack_weights(module)] if function.name_in()[-1] == "w" else []
    sizes = [function.size1_in(i) for i in range(function.n_in() - len(w))]
    flat = ca.MX.sym("z", sum(sizes))
    parts = ca.vertsplit(flat, np.cumsum([0, *sizes]).tolist())
    value = ca.vertcat(*function.call([*parts, *w]))
    ours = ca.Function("ours", [flat], [value, ca.jacobian(value, flat)])
    theirs = vector_form(module, sizes)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        z = torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
        wanted = (theirs(z).detach(), torch.autograd.functional.jacobian(theirs, z))
        for (name, bar), a, b in zip(TOLERANCE.items(), ours(z.numpy()), wanted, strict=True):
            reference = b.numpy().reshape(a.shape)
            size = np.abs(reference).max(initial=1.0)
            gap = np.abs(a.full() - reference).max(initial=0.0) / size
            if not gap <= bar:
                raise ValueError(
                    f"{type(module).__name__}: the {name} of its CasADi form differs from torch by "
                    f"{gap:.1e}, allowed are {bar:.0e}. A network that detaches tensors or brings "
                    "its own backward has no form whose derivatives are torch's"
                )


def vector_form(module: nn.Module, sizes: list[int]) -> Callable[[Tensor], Tensor]:
    """A float64 copy of a module as a map of one vector, all arguments in a row, to another."""
    twin = copied(module)
    batched = is_batched(twin, tuple((size,) for size in sizes))

    def call(z: Tensor) -> Tensor:
        parts = [x[None] if batched else x for x in z.split(sizes)]
        found = twin(*parts)
        outputs = found if isinstance(found, tuple | list) else (found,)
        return torch.cat([y.reshape(-1) for y in outputs])

    return call
