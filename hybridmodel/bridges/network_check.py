"""The check that a network's CasADi form is the network: value and Jacobian at a few points."""

from __future__ import annotations

from collections.abc import Callable

import casadi as ca
import numpy as np
import torch
from torch import Tensor, nn

from hybridmodel.bridges.graph import RefusalError
from hybridmodel.bridges.network import pack_weights, weight_tensors
from hybridmodel.bridges.traced import copied, first_line, is_batched

# wide enough for torch's own single-precision constants (Hardsigmoid and CELU, in the slope)
TOLERANCE = {"value": 1e-9, "Jacobian": 1e-6}


def check_network(function: ca.Function, module: nn.Module) -> None:
    """Compare a Function (z, …[, w]) with its module at three random points of a fixed seed.

    Where it takes w it is compared again with other numbers in a fresh copy of the module.

    Raises RefusalError with the numbers where the largest difference, relative to the largest entry
    or to 1 where that is smaller, is above 1e-9 in the value or 1e-6 in the Jacobian.
    """
    if function.name_in()[-1] != "w":
        _compare(function, module, [])
        return
    _compare(function, module, [pack_weights(module)])
    other = _perturbed(module)
    try:
        _compare(function, other, [pack_weights(other)])
    except RefusalError as error:
        raise RefusalError(
            f"{type(module).__name__}: it reads its weights from a copy it keeps, so that its "
            "Function would not follow new weights; read them where they are used, or take "
            f"weights='baked' ({error})"
        ) from error


def _perturbed(module: nn.Module) -> nn.Module:
    """A copy that has not been called yet, its numbers moved but of the same sign."""
    twin, generator = copied(module), torch.Generator().manual_seed(2)
    for tensor in weight_tensors(twin).values():
        factor, shift = 0.1 * torch.rand(2, *tensor.shape, generator=generator, dtype=torch.float64)
        tensor.data = tensor.data * (1 + factor) + shift * (tensor.data >= 0)
    return twin


def _compare(function: ca.Function, module: nn.Module, w: list[np.ndarray]) -> None:
    sizes = [function.size1_in(i) for i in range(function.n_in() - len(w))]
    flat = ca.MX.sym("z", sum(sizes))
    parts = ca.vertsplit(flat, np.cumsum([0, *sizes]).tolist())
    value = ca.vertcat(*function.call([*parts, *w]))
    ours = ca.Function("ours", [flat], [value, ca.jacobian(value, flat)])
    theirs = vector_form(module, sizes)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        z = torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
        try:
            wanted = (theirs(z).detach(), torch.autograd.functional.jacobian(theirs, z))
        except RuntimeError as error:
            raise RefusalError(
                f"{type(module).__name__}: torch itself has no Jacobian of it to compare with: "
                f"{first_line(error)}"
            ) from error
        for (name, bar), a, b in zip(TOLERANCE.items(), ours(z.numpy()), wanted, strict=True):
            reference = b.numpy().reshape(a.shape)
            size = np.abs(reference).max(initial=1.0)
            gap = np.abs(a.full() - reference).max(initial=0.0) / size
            if not gap <= bar:
                raise RefusalError(
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
