"""The check that the paths of a model agree, on the user's own model.

Each path gives value, Jacobian and Hessian of the same map v = (x, u, p, d) ↦ y; each is compared
with CasADi's with the weights written in. A new path is one line in `hybridmodel.paths`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hybridmodel.derivatives import Form, Sample, relative_gap
from hybridmodel.model import HybridModel
from hybridmodel.paths import PATHS, REFERENCES, draw_finite

TOLERANCE = {"value": 1e-12, "jacobian": 1e-10, "hessian": 1e-8}


@dataclass(frozen=True)
class Difference:
    """Where a path differs most: which derivative of which output row, at which point."""

    kind: str
    row: str
    arguments: tuple[str, ...]  # what the row was derived by
    point: Mapping[str, float]
    ours: float
    theirs: float

    def __str__(self) -> str:
        by = f" by {', '.join(map(repr, self.arguments))}" if self.arguments else ""
        at = ", ".join(f"{name} = {value:.4g}" for name, value in self.point.items())
        values = f"{self.ours!r}, CasADi says {self.theirs!r}"
        return f"{self.kind} of {self.row!r}{by} is {values}, at {at}"


@dataclass(frozen=True)
class PathAgreement:
    """Largest relative differences of one path to CasADi.

    remark      why the path was not run, "" where it was
    error       what it raised, "" where it ran
    difference  where it differs most, None where it is within the bars
    """

    path: str
    value: float = 0.0
    jacobian: float = 0.0
    hessian: float = 0.0
    remark: str = ""
    error: str = ""
    difference: Difference | None = None

    @property
    def holds(self) -> bool:
        """Whether it ran without error and all are within 1e-12, 1e-10 and 1e-8."""
        return not self.error and all(getattr(self, n) <= bar for n, bar in TOLERANCE.items())

    def __str__(self) -> str:
        if self.remark:
            return f"{self.path:38}{self.remark}"
        numbers = "".join(f"{getattr(self, name):<9.1e}" for name in TOLERANCE).rstrip()
        cause = self.error or self.difference
        return f"{self.path:38}{numbers}" + (f"\n    {cause}" if cause else "")


@dataclass(frozen=True)
class Agreement:
    """Largest relative differences to CasADi over random points and all paths.

    points  at how many points: fewer than were asked for where no more of them are finite
    finite  share of finite numbers in CasADi's results, the least of value, Jacobian and Hessian;
            a point that could not be found has none
    paths   the same for each path
    """

    value: float
    jacobian: float
    hessian: float
    points: int
    finite: float = 1.0
    paths: tuple[PathAgreement, ...] = field(default=(), repr=False)

    @property
    def holds(self) -> bool:
        """Whether all paths agree, at points of which at least half gave finite numbers."""
        agree = all(getattr(self, name) <= bar for name, bar in TOLERANCE.items())
        return agree and self.finite >= 0.5 and all(path.holds for path in self.paths)

    def __str__(self) -> str:
        bars = ", ".join(f"{n} {getattr(self, n):.1e} (≤ {b:.0e})" for n, b in TOLERANCE.items())
        verdict = "agree" if self.holds else "DISAGREE"
        lines = []
        if self.finite < 0.5:
            verdict = "CANNOT BE COMPARED"
            lines = [
                f"only {self.finite:.0%} of the numbers are finite, at the best of up to 20 points "
                "drawn for each that was wanted; bounds of the signals (low=, high=) keep the "
                "points where the model is defined"
            ]
        lines = [f"torch and CasADi {verdict} at {self.points} points: {bars}", *lines]
        if self.paths:
            lines.append(f"  {'path':38}{'value':9}{'jacobian':9}hessian")
        return "\n".join([*lines, *(f"  {path}" for path in self.paths)])


def check_agreement(
    model: HybridModel,
    *,
    points: int = 10,
    spread: float = 1.0,
    seed: int = 0,
    paths: Collection[str] = tuple(PATHS),
) -> Agreement:
    """Compare paths of F(x, u, p, d) in value, Jacobian and Hessian at random points.

    paths   names out of `hybridmodel.paths.PATHS`, all unless given

    States, inputs and exogenous signals are drawn with deviation `spread`; where a signal has a
    bound (below 1e8) it is drawn inside: uniformly between two, reflected at one. p is drawn up
    to a tenth of its scale around its present value. Of up to 20 candidates a point those are
    taken where the model is finite. Derivatives are in all of them. ẋ and the output y are
    compared too where the model has them. Differences are relative to the largest entry of the
    CasADi result, or to 1 where that is smaller. A model with untrained residual is checked as it
    is; draw weights first to test the network too.

    Raises ValueError for a model that is not float64 or has no CasADi form, points < 1, a spread
    that is not positive or a path that there is not.
    """
    if model.theta.dtype != torch.float64:
        raise ValueError(f"model must be float64 for this check, it is {model.theta.dtype}")
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    if not 0 < spread < math.inf:
        raise ValueError(f"spread must be a positive number, got {spread!r}")
    if isinstance(paths, str) or not paths or not set(paths) <= set(PATHS):
        raise ValueError(f"paths must be some of {list(PATHS)}, got {paths!r}")
    v, found_points, _ = draw_finite(model, points, spread=spread, seed=seed)
    v = v[: found_points or points]  # where there is none, what the paths make of the others
    generator = torch.Generator().manual_seed(seed)
    references: dict[str, _Reference | str] = {}
    found = []
    for name, (quantity, build) in PATHS.items():
        if name not in paths:
            continue
        if quantity not in references:
            references[quantity] = _reference(model, quantity, v, generator)
        reference = references[quantity]
        form = reference if isinstance(reference, str) else build(model)
        if isinstance(reference, str) or isinstance(form, str):
            found.append(PathAgreement(name, remark=str(form)))
            continue
        try:
            found.append(_compared(name, form, reference))
        except RuntimeError as error:  # what torch and CasADi raise: no reason to hide the others
            reason = str(error).strip().splitlines()[0]
            found.append(PathAgreement(name, math.inf, math.inf, math.inf, error=reason))
    worst = [max(getattr(path, kind) for path in found) for kind in TOLERANCE]
    shares = [r.finite for r in references.values() if isinstance(r, _Reference)]
    finite = min(shares) * found_points / points
    return Agreement(*worst, points=len(v), finite=finite, paths=tuple(found))


@dataclass(frozen=True)
class _Reference:
    """What CasADi says of one quantity at all points."""

    form: Form
    v: Tensor
    w: Tensor
    sample: Sample
    rows: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def finite(self) -> float:
        return min(float(np.isfinite(part).mean()) for part in self.sample if part.size)


def _reference(
    model: HybridModel, quantity: str, v: Tensor, generator: torch.Generator
) -> _Reference | str:
    system = model.system
    states, inputs = model.state_signals, system.inputs
    rows = system.outputs if quantity == "output" else states
    arguments = [s.name for s in (*states, *inputs)]
    arguments += [*model.fit_parameters, *(s.name for s in system.exogenous)]
    w = torch.randn(len(v), len(rows), generator=generator, dtype=v.dtype).to(v.device)
    form = REFERENCES[quantity](model)
    if isinstance(form, str):
        return form
    names = tuple(s.name for s in rows)
    return _Reference(form, v, w, form(v, w), names, tuple(arguments))


def _compared(name: str, form: Form, reference: _Reference) -> PathAgreement:
    ours = form(reference.v, reference.w)
    gaps = dict(zip(TOLERANCE, map(relative_gap, ours, reference.sample), strict=True))
    value, jacobian, hessian = (float(gap.max(initial=0.0)) for gap in gaps.values())
    worse = [kind for kind, bar in TOLERANCE.items() if not gaps[kind].max(initial=0.0) <= bar]
    found = _difference(worse[0], form, reference, gaps[worse[0]]) if worse else None
    return PathAgreement(name, value, jacobian, hessian, difference=found)


def _difference(kind: str, form: Form, reference: _Reference, gap: np.ndarray) -> Difference:
    point, *place = np.unravel_index(int(gap.argmax()), gap.shape)
    order = list(TOLERANCE).index(kind)
    here = reference.v[point]
    if kind == "hessian":  # which row of y it is, from the Hessians of each row at this point
        each = torch.eye(len(reference.rows), dtype=here.dtype, device=here.device)
        rows = [f(here.repeat(len(each), 1), each)[order] for f in (form, reference.form)]
        row, *place = np.unravel_index(int(relative_gap(*rows).argmax()), rows[0].shape)
        mine, yours = (float(r[row, *place]) for r in rows)
    else:
        mine = float(form(here[None], reference.w[:1])[order][0, *place])
        yours = float(reference.sample[order][point, *place])
        row, *place = place
    return Difference(
        kind,
        reference.rows[row],
        tuple(reference.arguments[i] for i in place),
        dict(zip(reference.arguments, here.tolist(), strict=True)),
        mine,
        yours,
    )
