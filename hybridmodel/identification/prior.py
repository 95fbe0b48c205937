"""The price of a residual: the smallest one that explains the data.

    ‖P w‖² = (nw / nr) mean_z ‖r_w(z) / (c s)‖²

so that c s is the root mean square of r that the prior expects: s (nr,) that of the r which
would explain each single step, c `deviation`. The mean is over what the residual sees:

    "data"       at the logged samples
    "marginals"  with states and inputs drawn independently, each from its own logged values, so
                 that a residual in one signal is not charged for its correlation with another
"""

from __future__ import annotations

import torch
from torch import Tensor

from hybridmodel.batches import batch
from hybridmodel.data import Dataset
from hybridmodel.fitting.targets import targets
from hybridmodel.identification.one_step import Reference, refuse_recurrent, shuffled
from hybridmodel.identification.weights import Weights
from hybridmodel.model import HybridModel

_POINTS = 20_000  # chance correlation of independent draws is one over the root of this
_FLOOR = 1e-9  # of the mean eigenvalue: weights that do nothing at the reference stay at zero


def residual_prior(
    model: HybridModel,
    data: Dataset,
    weights: Weights,
    *,
    deviation: float = 1.0,
    reference: Reference = "data",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """P (nw, nw) and the present weights (nw,), r linearised about them.

    Raises ValueError naming the argument.
    """
    if not deviation > 0:
        raise ValueError(f"residual_deviation must be positive, got {deviation}")
    if reference not in ("data", "marginals"):
        raise ValueError(f"reference must be 'data' or 'marginals', got {reference!r}")
    refuse_recurrent(model)
    windows, w = batch(model, data, 1, start="guessed"), weights.value
    wanted = targets(model, data).r
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(windows), generator=generator)[:_POINTS]
    if reference == "marginals":
        chosen = torch.randint(len(windows), (_POINTS,), generator=generator)
    x, u, d = (v[chosen] for v in (windows.x0(model), windows.u[:, 0], windows.d[:, 0]))
    if reference == "marginals":
        x, u = shuffled(model, x, u, generator)
    with torch.no_grad():
        z = model.residual_features(x, u, d)
        size = wanted.square().mean(0).sqrt().clamp(min=1e-12)
    residual = model.residual
    assert residual is not None

    def r(w: Tensor) -> Tensor:
        named = {k.removeprefix("residual."): v for k, v in weights.named(w).items()}
        return torch.func.functional_call(residual, named, (z,)) / size

    slope = torch.func.jacfwd(r)(w).detach()  # (K, nr, nw)
    K, nr, nw = slope.shape
    gram = torch.einsum("krw,krv->wv", slope, slope) * (nw / nr) / (K * deviation**2)
    order, vectors = torch.linalg.eigh(gram)
    order = order.clamp(min=_FLOOR * float(order.mean()))
    return order.sqrt()[:, None] * vectors.T, w
