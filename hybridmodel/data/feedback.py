"""Was a log recorded in closed loop?

Where u_k = κ(y_k, …) + reference, the noise in y reaches u, regressors correlate with what
they should explain, and least squares on (x, u) is biased (Forssell and Ljung 1999, sec. 4).
In open loop u may be smooth, but what is new in u_k, given u before it, knows nothing of y:

    e_k = u_k − E[u_k | u_{k−1} … u_{k−m}]        share = 1 − var(e | y_k … y_{k−5}) / var e

Chance is measured by the same share with y shifted against u by far more than any memory.
"""

from __future__ import annotations

import numpy as np

from hybridmodel.data.trajectory import Array

_PAST_U = 12  # m
_PAST_Y = 6
_ROWS = 12_000
_SHIFTS = 19  # a rank of 1 in 20 by chance
_NOVEL = 1e-4  # of var u; of what is less, rounding and jitter explain too much


def feedback_share(logs: list[tuple[Array, Array]], seed: int = 0) -> list[tuple[float, float]]:
    """For each input, the share of what is new in u that y explains, and the most by chance.

    `logs` are (u (T, nu), y (T, ny)) with y_k sampled when u_k begins to act. Logs too short to
    tell, and inputs of which less than 1 % in amplitude is new, give (0, 0).
    """
    nu = logs[0][0].shape[1]
    parts = [(u, y) for u, y in logs if len(u) > 4 * (_PAST_U + _PAST_Y)]
    if not parts or logs[0][1].shape[1] == 0:
        return [(0.0, 0.0)] * nu
    parts = _shortened(parts)
    rows = sum(len(u) - _PAST_U for u, _ in parts)
    if rows < 10 * (_PAST_U * nu + _PAST_Y * parts[0][1].shape[1]):
        return [(0.0, 0.0)] * nu
    u = np.concatenate([u[_PAST_U:] for u, _ in parts])
    past = np.concatenate([_lags(u, _PAST_U, first=1) for u, _ in parts])
    past = np.column_stack([past, np.ones(len(past))])
    basis = _orthonormal(past)
    new = _without(basis, u)
    # y as a whole log shifts within it
    rng = np.random.default_rng(seed)
    shares = np.array([_shares(parts, basis, new, None)])
    for _ in range(_SHIFTS):
        shift = float(rng.uniform(0.15, 0.85))
        shares = np.vstack([shares, _shares(parts, basis, new, shift)])
    enough = new.var(axis=0) > _NOVEL * u.var(axis=0)
    return [
        (float(shares[0, i]), float(shares[1:, i].max())) if enough[i] else (0.0, 0.0)
        for i in range(nu)
    ]


def _shortened(parts: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """So many rows from the front of each that all together stay within bounds."""
    total = sum(len(u) for u, _ in parts)
    if total <= _ROWS:
        return parts
    share = _ROWS / total
    least = 4 * (_PAST_U + _PAST_Y)
    return [(u[:n], y[:n]) for u, y in parts for n in [max(least, int(share * len(u)))]]


def _lags(a: Array, count: int, first: int) -> Array:
    """(T − m, count·n): a_{k−first} … a_{k−first−count+1} for k = m … T − 1, m = 12."""
    at = range(first, first + count)
    return np.hstack([a[_PAST_U - j : len(a) - j] for j in at])


def _shares(
    parts: list[tuple[Array, Array]], basis: Array, new: Array, shift: float | None
) -> Array:
    lagged = []
    for _, y in parts:
        moved = y if shift is None else np.roll(y, int(shift * len(y)), axis=0)
        lagged.append(_lags(moved, _PAST_Y, first=0))
    remaining = _without(_orthonormal(_without(basis, np.concatenate(lagged))), new)
    total = np.sum(new**2, axis=0)
    return 1 - np.sum(remaining**2, axis=0) / np.where(total > 0, total, 1.0)


def _orthonormal(a: Array) -> Array:
    """Columns that span a, those of rounding left out."""
    scale = np.linalg.norm(a, axis=0)
    a = a[:, scale > 0] / scale[scale > 0]
    left, singular, _ = np.linalg.svd(a, full_matrices=False)
    return left[:, singular > 1e-10 * singular.max(initial=0.0)]


def _without(basis: Array, a: Array) -> Array:
    """The part of a's columns that is orthogonal to the basis."""
    return a - basis @ (basis.T @ a)
