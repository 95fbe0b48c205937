"""Laws about what a module computes: shapes, zero at start, gradients, repeatability."""

from __future__ import annotations

import copy
import itertools

import torch

from hybridmodel.laws.report import Law, UncheckedError
from hybridmodel.laws.residual.subject import Subject, standardize
from residuals import Probabilistic, Regressed, Residual


def _builds(s: Subject) -> str:
    residual = s.build()
    if (residual.nz, residual.nr) != (s.nz, s.nr):
        found = f"nz = {residual.nz}, nr = {residual.nr}"
        return f"sized({s.nz}, {s.nr}) gives a module with {found}"
    return ""


def _shapes(s: Subject) -> str:
    for leading in ((), (1,), (5,), (2, 3), (0,)):
        v = torch.ones(*leading, sum(s.sizes), dtype=torch.float64)
        shape = tuple(s.correction(s.awake, v).shape)
        if shape != (*leading, s.nr):
            return f"z {(*leading, s.nz)} gives r {shape}, wanted {(*leading, s.nr)}"
    return ""


def _batch(s: Subject) -> tuple[float, str]:
    call = s.call(s.awake)
    with torch.no_grad():
        batch = call(s.v)
        gaps = [(call(v) - y).abs().max() for v, y in zip(s.v, batch, strict=True)]
        worst = float(torch.stack(gaps).max() / batch.abs().max().clamp(min=1))
    return worst, "a row of r changes with the other rows of z"


def _zero(s: Subject) -> str:
    return _not_zero(s, s.fresh(), "")


def _zero_standardized(s: Subject) -> str:
    residual = s.fresh()
    standardize(residual, torch.Generator().manual_seed(s.seed))
    return _not_zero(s, residual, " after standardize")


def _not_zero(s: Subject, residual: Residual, when: str) -> str:
    for size, training in itertools.product((0.0, 1.0, 1e3), (True, False)):
        with torch.no_grad():
            residual.train(training)
            r = s.correction(residual, size * s.v)
            if isinstance(residual, Probabilistic):
                r = torch.cat([r[None], residual.members(size * s.z[None])])
        if not torch.equal(r, torch.zeros_like(r)):
            found = f"the largest |r| before training{when} is {float(r.abs().max()):.3g}"
            return f"{found}; the last layer or a gate must start at zero"
    return ""


def _trains(s: Subject) -> str:
    residual = s.fresh().train()
    if isinstance(residual, Regressed):
        raise UncheckedError("it is solved for, see the law 'solves'")
    names = [name for name, weight in residual.named_parameters() if weight.requires_grad]
    if not names:
        return "it has no parameter to train"
    (s.w[:, : s.nr] * s.correction(residual, s.v)).sum().backward()
    grads = {name: weight.grad for name, weight in residual.named_parameters()}
    if broken := [n for n, g in grads.items() if g is not None and not torch.isfinite(g).all()]:
        return f"the gradient of {broken[0]} is not finite"
    if not any(g is not None and bool(g.any()) for g in grads.values()):
        return (
            f"no gradient reaches any of {', '.join(names)}: it can never leave zero; where a gate "
            "starts at zero, the last layer must not"
        )
    return ""


def _precision(s: Subject) -> str:
    for name, tensor in s.fresh().state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            return f"{name} is {tensor.dtype}, wanted torch.float64"
    with torch.no_grad():
        for dtype in (torch.float64, torch.float32):
            found = s.call(copy.deepcopy(s.awake).to(dtype))(s.v.to(dtype)).dtype
            if found != dtype:
                return f"weights and z in {dtype} give r in {found}"
    return ""


def _repeats(s: Subject) -> str:
    before = torch.get_rng_state()
    first, second = s.fresh(), s.fresh()
    if not torch.equal(before, torch.get_rng_state()):
        torch.set_rng_state(before)
        return "building it draws from torch's global generator; draw from one seeded by `seed`"
    theirs = second.state_dict()
    for name, tensor in first.state_dict().items():
        if not torch.equal(tensor, theirs[name]):
            return f"two modules of the same recipe differ in {name}"
    call = s.call(copy.deepcopy(s.awake))
    if not torch.equal(call(s.v), call(s.v)):
        return "two passes over the same z differ"
    return ""


def _modes(s: Subject) -> str:
    residual = copy.deepcopy(s.awake)
    call = s.call(residual)
    before = call(s.v)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(s.seed)  # of dropout and the like, which have no generator of their own
        residual.train()
        during = call(s.v)
    if not torch.equal(before, during):
        return "train() and eval() give different r, so fits and plans see different models"
    residual.eval()
    if not torch.equal(before, call(s.v)):
        return "a pass in train() changes what eval() gives"
    return ""


LAWS = (
    Law("builds", "it takes nz features to nr outputs", _builds),
    Law("shapes", "r (…, nr) from z (…, nz) for any leading dims", _shapes),
    Law("batch", "rows of a batch do not depend on each other", _batch, 1e-13),
    Law("zero", "before training r is exactly zero", _zero),
    Law("scaled zero", "scales taken from data leave it zero", _zero_standardized),
    Law("trains", "a gradient reaches a parameter at the start", _trains),
    Law("precision", "weights are float64, and r follows the dtype of weights and z", _precision),
    Law("repeats", "the same recipe gives the same bits, and so do two passes", _repeats),
    Law("modes", "train() and eval() compute the same", _modes),
)
