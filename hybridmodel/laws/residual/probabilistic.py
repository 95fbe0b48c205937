"""Laws of residuals that say how far they may be off, and of those that are solved for."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from hybridmodel.laws.report import Law, UncheckedError
from hybridmodel.laws.residual.subject import Subject, regression, standardize
from residuals import Probabilistic, Regressed


def _probabilistic(s: Subject) -> Probabilistic:
    if not isinstance(s.awake, Probabilistic):
        raise UncheckedError(f"sized() gives a {type(s.awake).__name__}, no Probabilistic")
    return s.awake


def _regressed(s: Subject) -> Regressed:
    residual = s.fresh()
    if not isinstance(residual, Regressed):
        raise UncheckedError(f"sized() gives a {type(residual).__name__}, no Regressed")
    standardize(residual, torch.Generator().manual_seed(s.seed))
    return residual


def _members(s: Subject) -> str:
    residual = _probabilistic(s)
    if residual.count < 1:
        return f"count must be at least 1, got {residual.count}"
    for leading in ((), (1,), (5,), (2, 3), (0,)):
        wanted = (residual.count, *leading, s.nr)
        z = torch.ones(1, *leading, s.nz, dtype=torch.float64)
        for points in (z, z.expand(residual.count, *z.shape[1:])):
            mean, log_variance = residual.distribution(points)
            found = {
                "members": residual.members(points),
                "the mean of distribution": mean,
                "the log-variance of distribution": log_variance,
            }
            for what, y in found.items():
                if tuple(y.shape) != wanted:
                    return f"z {tuple(points.shape)} gives {what} {tuple(y.shape)}, wanted {wanted}"
        spread = tuple(residual.epistemic(z[0]).shape)
        if spread != wanted[1:]:
            return f"z {tuple(z[0].shape)} gives epistemic {spread}, wanted {wanted[1:]}"
    return ""


def _own(s: Subject) -> tuple[float, str]:
    """At z (E, …, nz) of its own, a member says what it says where all are given that z."""
    residual = _probabilistic(s)
    shifts = torch.arange(residual.count, dtype=torch.float64)[:, None, None]
    z = s.z + 0.1 * shifts  # (E, points, nz)
    worst, where = 0.0, ""
    with torch.no_grad():
        apart = torch.stack((residual.members(z), *residual.distribution(z)))
        for i, own in enumerate(z):
            alone = torch.stack((residual.members(own[None]), *residual.distribution(own[None])))
            gap = _gap(apart[:, i], alone[:, i])
            if not gap <= worst:
                worst, where = gap, f"member {i} at its own z differs from member {i} at one z"
    return worst, where


def _mean(s: Subject) -> tuple[float, str]:
    residual = _probabilistic(s)
    with torch.no_grad():
        members = residual.members(s.z[None])
        gaps = {
            "forward is not the mean of the members": _gap(residual(s.z), members.mean(0)),
            "distribution has other means than members": _gap(
                residual.distribution(s.z[None])[0], members
            ),
        }
    worst = max(gaps, key=lambda what: gaps[what])
    return gaps[worst], worst


def _gap(mine: Tensor, yours: Tensor) -> float:
    return float((mine - yours).abs().max() / yours.abs().max().clamp(min=1))


def _variances(s: Subject) -> str:
    for when, residual in (("at the start", s.fresh()), ("with weights", _probabilistic(s))):
        assert isinstance(residual, Probabilistic)
        for size in (0.0, 1.0, 1e3):
            with torch.no_grad():
                spread = residual.epistemic(size * s.z)
                noise = residual.distribution(size * s.z[None])[1]
            if not (torch.isfinite(spread).all() and (spread >= 0).all()):
                return f"epistemic {when} is {float(spread.min()):.3g} at z of size {size:g}"
            if not torch.isfinite(noise).all():
                return f"the log-variance {when} is not finite at z of size {size:g}"
    return ""


def _solves(s: Subject) -> tuple[float, str]:
    residual = _regressed(s)
    z, r = regression(residual, torch.Generator().manual_seed(s.seed))
    residual.solve(z, r)
    with torch.no_grad():
        left = float((residual(z) - r).square().mean().sqrt() / r.square().mean().sqrt())
    return left, "of the deviation of r is left after solve on a linear law with 5 % noise"


def _solves_again(s: Subject) -> str:
    residual = _regressed(s)
    twin = copy.deepcopy(residual)
    data = regression(residual, torch.Generator().manual_seed(s.seed))
    before = [part.clone() for part in data]
    state = torch.get_rng_state()
    residual.solve(*data)
    twin.solve(*data)
    if not torch.equal(state, torch.get_rng_state()):
        torch.set_rng_state(state)
        return "solve draws from torch's global generator"
    if not all(torch.equal(a, b) for a, b in zip(before, data, strict=True)):
        return "solve changes the data that it is given"
    if not torch.equal(s.call(residual)(s.z), s.call(twin)(s.z)):
        return "the same data give two solutions"
    return ""


LAWS = (
    Law("members", "members, distribution and epistemic have the shapes that they must", _members),
    Law("own points", "members may be asked at points of their own", _own, 1e-13),
    Law("mean", "forward is the mean of the members, and so says distribution", _mean, 1e-13),
    Law("variances", "epistemic ≥ 0, log-variances finite, however large z", _variances),
)
REGRESSED = (
    Law("solves", "solve explains data that are almost linear", _solves, 0.5),
    Law("solves again", "the same data give the same bits, and stay as they are", _solves_again),
)
