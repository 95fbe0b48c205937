"""The check that the paths of a model agree: torch against CasADi, on the user's own model."""

from __future__ import annotations

from dataclasses import dataclass

import casadi as ca
import numpy as np
import torch

from hybridmodel.model import HybridModel

TOLERANCE = {"value": 1e-12, "jacobian": 1e-10, "hessian": 1e-8}


@dataclass(frozen=True)
class Agreement:
    """Largest relative differences between torch and CasADi over random points."""

    value: float
    jacobian: float
    hessian: float
    points: int

    @property
    def holds(self) -> bool:
        """Whether all are within 1e-12, 1e-10 and 1e-8."""
        return all(getattr(self, name) <= bar for name, bar in TOLERANCE.items())

    def __str__(self) -> str:
        verdict = "agree" if self.holds else "DISAGREE"
        rows = [f"{n} {getattr(self, n):.1e} (≤ {bar:.0e})" for n, bar in TOLERANCE.items()]
        return f"torch and CasADi {verdict} at {self.points} points: {', '.join(rows)}"


def check_agreement(
    model: HybridModel, *, points: int = 10, spread: float = 1.0, seed: int = 0
) -> Agreement:
    """Compare F(x, u, p, d) of both paths in value, Jacobian and Hessian at random points.

    States, inputs and exogenous signals are drawn with deviation `spread`, p around its present
    value; derivatives are in all of them. Differences are relative to the largest entry of the
    CasADi result, or to 1 where that is smaller. A model with untrained residual is checked as
    it is; draw weights first to test the network too. Needs a float64 model.
    """
    if model.theta.dtype != torch.float64:
        raise ValueError(f"model must be float64 for this check, it is {model.theta.dtype}")
    F = model.step_function()
    sizes = [F.size1_in(i) for i in range(F.n_in())]
    flat = ca.MX.sym("v", sum(sizes))
    parts = ca.vertsplit(flat, np.cumsum([0, *sizes]).tolist())
    x_next = F(*parts)
    weights = ca.MX.sym("weights", model.system.nx)  # Hessian of each row at once, as wᵀ F
    second = ca.hessian(ca.dot(weights, x_next), flat)[0]
    reference = ca.Function(
        "reference", [flat, weights], [x_next, ca.jacobian(x_next, flat), second]
    )

    def torch_form(v: torch.Tensor) -> torch.Tensor:
        x, u, p, d = v.split(sizes)
        return model(x, u, d, p=p)

    generator = torch.Generator().manual_seed(seed)
    worst = np.zeros(3)
    for _ in range(points):
        v = spread * torch.randn(sum(sizes), generator=generator, dtype=torch.float64)
        start = sizes[0] + sizes[1]
        here = model.physical().detach()
        v[start : start + sizes[2]] = here * (1 + 0.1 * v[start : start + sizes[2]].tanh())
        w = torch.randn(model.system.nx, generator=generator, dtype=torch.float64)
        ours = (
            torch_form(v),
            torch.func.jacrev(torch_form)(v),
            torch.func.hessian(lambda v, w=w: w @ torch_form(v))(v),
        )
        theirs = reference(v.numpy(), w.numpy())
        for row, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
            yours_array = np.asarray(yours.full()).reshape(tuple(mine.shape))
            mine_array = mine.detach().numpy()
            finite = np.isfinite(yours_array)
            if not np.array_equal(mine_array[~finite], yours_array[~finite], equal_nan=True):
                worst[row] = np.inf
                continue
            gap = np.nan_to_num(np.abs(mine_array - yours_array)[finite], nan=np.inf)
            size = max(1.0, float(np.abs(yours_array[finite]).max(initial=0.0)))
            worst[row] = max(worst[row], float(gap.max(initial=0.0)) / size)
    return Agreement(*(float(w) for w in worst), points=points)
