"""The laws of a Residual: what models, fits, planners and files rely on."""

from __future__ import annotations

from torch import nn

from hybridmodel.laws.report import Law, LawReport, run
from hybridmodel.laws.residual import bridges, copies, probabilistic, recurrent, start
from hybridmodel.laws.residual.subject import Subject
from residuals import Probabilistic, Recurrent, Regressed, Residual

LAWS = (*start.LAWS, *bridges.LAWS, *copies.LAWS)
_MORE: dict[type[Residual], tuple[Law, ...]] = {
    Probabilistic: probabilistic.LAWS,
    Regressed: probabilistic.REGRESSED,
    Recurrent: recurrent.LAWS,
}


def check_residual(
    module: nn.Module,
    *,
    nz: int | None = None,
    nr: int | None = None,
    points: int = 10,
    seed: int = 0,
) -> LawReport:
    """Whether a Residual, or any module, obeys the laws that the rest of this project rests on.

    module  a Residual, sized or a recipe, or any nn.Module, which is put behind a zero gate as
            a model would do
    nz, nr  numbers of features and outputs; read from a sized Residual, otherwise needed

    Laws at the start are about the fresh module, the others about a copy with random weights.
    A Probabilistic is held to all of them in what it says of its spread too, a Recurrent in its
    memory too, and both to laws of their own, see `probabilistic` and `recurrent`.
    Each law is run whatever the others found; the caller's module stays as it is.

    Raises ValueError where `module` is no nn.Module, a size is missing or < 1, or points < 1.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be an nn.Module, got {type(module).__name__}")
    known = (module.nz, module.nr) if isinstance(module, Residual) else (None, None)
    sizes: list[int] = []
    for name, given, own in zip(("nz", "nr"), (nz, nr), known, strict=True):
        size = own if given is None else given
        if size is None:
            raise ValueError(f"{name} must be given: {type(module).__name__} has none of its own")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
        sizes.append(size)
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    more = [law for kind, laws in _MORE.items() if isinstance(module, kind) for law in laws]
    subject = Subject(module, sizes[0], sizes[1], points, seed)
    return run(type(module).__name__, (*LAWS, *more), subject)
