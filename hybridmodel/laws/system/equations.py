"""Laws about a System's equations: slopes, batches, angles, kinematics, both languages."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hybridmodel.agreement import check_agreement
from hybridmodel.derivatives import difference_gaps
from hybridmodel.laws.report import Law, UncheckedError
from hybridmodel.laws.system.subject import PIECES, Subject
from physics import Trivial

_SLOPES = 1e-6  # bar of slopes against differences
_DIFFERENCES = 1e-5  # bar of Jacobians that CasADi takes by differences
_ADVICE = "where the model is defined, bounds of the signals (low=, high=) can say"


def _finite(s: Subject) -> str:
    for piece in PIECES:
        slopes, rows = s.slopes(piece), s.rows(piece)
        for v in s.v.numpy():
            value, jacobian = (part.full() for part in slopes(v))
            for i in np.flatnonzero(~np.isfinite(value[:, 0])):
                return f"{piece} of {rows[i]!r} is {value[i, 0]} {s.at(v)}; {_ADVICE}"
            for i, j in np.argwhere(~np.isfinite(jacobian)):
                slope = f"{piece} of {rows[i]!r} by {s.arguments[j]!r}"
                return f"{slope} is {jacobian[i, j]} {s.at(v)}; {_ADVICE}"
    return ""


def _rest(s: Subject) -> str:
    """Planners start at rest, so slopes are wanted there too."""
    system = s.system
    signals = (*system.states, *system.memory, *system.inputs, *system.exogenous)
    rest = [min(max(0.0, signal.low), signal.high) for signal in signals]
    rest[: len(system.states)] = system.neutral
    known = system.nx + system.nu
    p = [float(value) for value in system.parameters.values()]
    v = np.array([*rest[:known], *p, *rest[known:]])
    finite = all(np.isfinite(part.full()).all() for part in s.slopes("derivative")(v))
    return "" if finite else f"f or its Jacobian is not finite {s.at(v)}"


def _derivatives(s: Subject) -> tuple[float, str]:
    worst, where, blind = 0.0, "", []
    for piece in PIECES:
        slopes, rows = s.slopes(piece), s.rows(piece)
        found = [[part.full() for part in slopes(v)] for v in s.v.numpy()]
        if rows and not any(np.isfinite(value).any() for value, _ in found):
            blind.append(piece)
        for v, (value, jacobian) in zip(s.v.numpy(), found, strict=True):
            gaps = difference_gaps(lambda v, piece=piece: s.call(piece, v), jacobian, v)
            defined = np.isfinite(value) & np.isfinite(jacobian)
            gaps = np.where(defined, gaps, 0.0)  # another law speaks of the others
            if gaps.size and gaps.max() > worst:
                i, j = np.unravel_index(int(gaps.argmax()), gaps.shape)
                worst = float(gaps.max())
                where = f"{piece} of {rows[i]!r} by {s.arguments[j]!r} {s.at(v)}"
    if blind and worst <= _SLOPES:
        raise UncheckedError(f"no value of {blind[0]} is finite, see the law 'finite'")
    return worst, where


def _agreement(s: Subject) -> str:
    found = check_agreement(s.model, points=s.points, seed=s.seed)
    wrong = [path for path in found.paths if not path.holds]
    if s.approximate:  # of differences of differences nothing can be asked
        wrong = [p for p in wrong if not (p.value <= 1e-12 and p.jacobian <= _DIFFERENCES)]
    if not wrong and found.finite >= 0.5:
        return ""
    return "; ".join(" ".join(str(path).split()) for path in wrong) or str(found)


def _exact(s: Subject) -> str:
    if not s.approximate:
        return ""
    return (
        f"CasADi takes finite differences ({', '.join(s.approximate)}): Jacobians agree to "
        f"{_DIFFERENCES:.0e} and Hessians are rough, which planners with exact Hessians notice; "
        "a casadi.Callback can give its Jacobian (has_jacobian, get_jacobian)"
    )


def _batch(s: Subject) -> tuple[float, str]:
    worst, where = 0.0, ""
    for piece in PIECES:
        rows = len(s.rows(piece))
        single = torch.stack([s.torch(piece, v) for v in s.v])
        wide = s.v.expand(2, *s.v.shape)
        for batch in (s.torch(piece, s.v)[None], s.torch(piece, wide)):
            gap = _relative(batch, single)
            if gap > worst:
                worst, where = gap, f"{piece}: rows of a batch differ from single points"
        empty = s.torch(piece, s.v[:0])
        if empty.shape != (0, rows):
            return math.inf, f"{piece}: an empty batch gives {tuple(empty.shape)}"
    return worst, where


def _turns(s: Subject) -> tuple[float, str]:
    worst, where = 0.0, ""
    if not s.system.angle_rows:
        raise UncheckedError("no state is an angle (angle=True)")
    ahead = s.torch("derivative", s.v)
    for row in s.system.angle_rows:
        turn = torch.zeros(s.v.shape[-1], dtype=s.v.dtype)
        turn[row] = 2 * math.pi
        moved = turn[: s.system.nx] if s.system.dt is not None else 0.0
        gap = _relative(s.torch("derivative", s.v + turn), ahead + moved)
        if gap > worst:
            worst, where = gap, f"a full turn of {s.system.states[row].name!r} changes f"
    return worst, where


def _kinematics(s: Subject) -> tuple[float, str]:
    names = [signal.name for signal in s.system.states]
    worst, where = 0.0, ""
    if s.system.dt is not None:
        raise UncheckedError("a discrete system gives x⁺, so there is no ẋ to read a rate from")
    if s.system.quaternion_rows:
        return _rotations(s)
    if not any(signal.rate_of in names for signal in s.system.states):
        raise UncheckedError("no state is declared the rate of another one (rate_of=)")
    xdot = s.torch("derivative", s.v)
    for row, signal in enumerate(s.system.states):
        if signal.rate_of not in names:
            continue
        gap = _relative(xdot[:, names.index(signal.rate_of)], s.v[:, row])
        if gap > worst:
            worst = gap
            where = f"the derivative of {signal.rate_of!r} is not {signal.name!r}"
    return worst, where


def _rotations(s: Subject) -> tuple[float, str]:
    """q̇ = v on ordinary rows and ½ q ⊗ (0, ω) on quaternions, as `physics.Trivial` has it."""
    like = Subject(Trivial.like(s.system), s.points, s.seed)
    x = s.v.split(s.sizes, -1)
    columns = [x[0], x[1], x[2][:, :0], x[3]]
    wanted = like.torch("derivative", torch.cat(columns, -1))
    found = s.torch("derivative", s.v)
    rated = {signal.rate_of for signal in s.system.states} - {None}
    rows = [
        i
        for i, signal in enumerate(s.system.states)
        if signal.name in rated or signal.quaternion in rated
    ]
    gap = _relative(found[:, rows], wanted[:, rows])
    return gap, "q̇ is not v, or not ½ q ⊗ (0, ω) of a quaternion (w, x, y, z), ω in the body frame"


def _covers(s: Subject) -> tuple[float, str]:
    """q and −q are one rotation: f mirrors those rows and keeps the others."""
    if not s.system.quaternion_rows:
        raise UncheckedError("no state is a rotation (quaternion=)")
    sign = torch.ones(s.v.shape[-1], dtype=s.v.dtype)
    for row in s.system.quaternion_rows:
        sign[row : row + 4] = -1
    there = s.torch("derivative", s.v * sign)
    gap = _relative(there * sign[: s.system.nx], s.torch("derivative", s.v))
    return gap, "f is another at −q, which is the same rotation as q"


def _relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest number or 1, of numbers that are finite."""
    theirs = theirs.expand_as(ours)
    finite = torch.isfinite(theirs) & torch.isfinite(ours)
    if not torch.equal(torch.isfinite(theirs), torch.isfinite(ours)):
        return math.inf
    if ours.numel() and not finite.any():
        raise UncheckedError("no number is finite, see the law 'finite'")
    gap, size = (ours - theirs)[finite].abs(), theirs[finite].abs()
    return float(gap.max() / size.max().clamp(min=1)) if gap.numel() else 0.0


LAWS = (
    Law("finite", "values and slopes are finite at random points inside the bounds", _finite),
    Law("rest", "values and slopes are finite at rest", _rest, note=True),
    Law("derivatives", "CasADi's slopes are those of differences", _derivatives, _SLOPES),
    Law("exact", "CasADi's slopes are exact", _exact, note=True),
    Law("agreement", "torch and CasADi give the same on every path", _agreement),
    Law("batch", "a batch is its single points", _batch, 1e-14),
    Law("turns", "f does not change over a full turn of an angle", _turns, 1e-10),
    Law("covers", "a rotation's two quaternions q and −q give the same", _covers, 1e-10),
    Law(
        "kinematics", "the derivative of a state is the state declared its rate", _kinematics, 1e-14
    ),
)
