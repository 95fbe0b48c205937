"""Which terms of the signed polynomial the logs call for: forward selection by left-out error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.hardware.cross_validation import FOLDS, typical
from benchmarks.hardware.families import Polynomial, Scales
from benchmarks.hardware.free_runs import FreeRuns, Runs
from benchmarks.hardware.identification import PARAMETER_PRIOR, Tell
from hybridmodel import HybridModel

RIDGE, TERM_GAIN, MOST_TERMS = 0.01, 0.01, 12


def selected(
    probe: HybridModel,
    scale: np.ndarray,
    found: Runs,
    log: np.ndarray,
    parts: Sequence[np.ndarray],
    known: Scales,
    tell: Tell,
    *,
    onward: bool,
) -> Polynomial | None:
    """Terms of the signed polynomial, one after the other, while the left-out error falls.

        E_k(δ) = e_k + 2 gₖᵀδ + δᵀA_k δ,   δ = argmin Σ_{j≠k} E_j(δ) + λ ‖δ‖²

    linearised about the identified parameters, which move with every choice; each log is left out
    in turn where there are enough, else each part.
    """
    form = Polynomial(known)
    problem = FreeRuns(probe, scale, form)
    count, t = problem.count, np.zeros(problem.count + len(form.start(0)))
    t[problem.count :] = form.start(0)
    several = log.max() + 1
    if FOLDS < several <= 4 * FOLDS:
        shape = found.weight.shape
        parts = [np.broadcast_to((log == k)[:, None], shape).astype(float) for k in range(several)]
    pieces = [problem.normal(found.weighed(part), t) for part in parts]
    share = np.array([part.sum() for part in parts]) / sum(part.sum() for part in parts)
    A = np.array([piece[2] for piece in pieces]) * share[:, None, None]
    g = np.array([piece[1] for piece in pieces]) * share[:, None]
    e = np.array([piece[0] for piece in pieces]) * share
    rest_A, rest_g = A.sum(0) - A, g.sum(0) - g
    tried = range(len(parts))
    if onward:
        rest_A, rest_g = A.cumsum(0) - A, g.cumsum(0) - g
        tried = tried[1:]

    def left_out(index: list[int]) -> float:
        at = np.ix_(index, index)
        ridge = np.diag([PARAMETER_PRIOR if i < count else RIDGE * e.sum() for i in index])
        missed: list[float] = []
        for k in tried:
            delta = -np.linalg.solve(
                rest_A[k][at] + ridge + 1e-12 * np.eye(len(index)), rest_g[k][index]
            )
            missed.append(e[k] + 2 * g[k][index] @ delta + delta @ A[k][at] @ delta)
        return typical(np.array(missed) / share[tried])

    index = list(range(count))
    best = left_out(index)
    while len(index) - count < MOST_TERMS:
        trials = {i: left_out([*index, i]) for i in range(count, len(t)) if i not in index}
        term = min(trials, key=trials.__getitem__)
        if trials[term] > (1 - TERM_GAIN) * best:
            break
        index, best = [*index, term], trials[term]
        tell(f"    term {divmod(term - count, form.size)}: {best:.4f}")
    return Polynomial(known, np.array(index[count:]) - count) if len(index) > count else None
