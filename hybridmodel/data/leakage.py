"""Does a test set hold what the training set has seen?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hybridmodel.data.dataset import Dataset
from hybridmodel.data.trajectory import Trajectory

_RUN = 16  # samples that agree bit for bit and are no coincidence
_DISTINCT = 8  # of them; at rest all logs agree
_NAMES = ("id", "run", "session", "episode", "experiment")
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio: multiplying mixes all bits


@dataclass(frozen=True)
class Leak:
    """What one log of the training set shares with one of the test set.

    kind     "overlap": the same samples bit for bit, perhaps shifted in time; "continued": one
             begins where the other ends; "context": the same number of a name that tells
             experiments apart
    train, test   indices of the logs
    samples  how many samples in a row agree, for an overlap
    text     the sentence
    """

    kind: Literal["overlap", "continued", "context"]
    train: int
    test: int
    samples: int
    text: str

    def __str__(self) -> str:
        return self.text


def check_leakage(
    train: Dataset, test: Dataset, *, apart: Sequence[str] | None = None
) -> tuple[Leak, ...]:
    """Where logs of `test` are, overlap or continue logs of `train`; empty where nothing leaks.

    `apart` are names of context whose numbers must differ between the two (id, run, session,
    episode and experiment, where logs have them, unless given).
    Raises ValueError for a name in `apart` that the logs do not have.
    """
    names = set(train[0].context) & set(test[0].context)
    if unknown := set(apart or ()) - names:
        raise ValueError(
            f"apart names {sorted(unknown)}, but the logs' context has {sorted(names)}"
        )
    chosen = [n for n in _NAMES if n in names] if apart is None else list(apart)
    found = [*_overlaps(train, test)]
    known = {(leak.train, leak.test) for leak in found}
    for i, a in enumerate(train):
        for j, b in enumerate(test):
            if (i, j) not in known and (_continues(a, b) or _continues(b, a)):
                first, second = ("train", i), ("test", j)
                if not _continues(a, b):
                    first, second = second, first
                text = (
                    f"{second[0]}[{second[1]}] begins where {first[0]}[{first[1]}] ends: one log "
                    "cut in two, whose parts share their conditions"
                )
                found.append(Leak("continued", i, j, 0, text))
            for name in chosen:
                if a.context[name] == b.context[name]:
                    text = f"train[{i}] and test[{j}] share {name} = {a.context[name]:g}"
                    found.append(Leak("context", i, j, 0, text))
    return tuple(found)


def _overlaps(train: Dataset, test: Dataset) -> list[Leak]:
    marks, where = _marks(train)
    order = np.argsort(marks, kind="stable")
    marks, where = marks[order], where[order]
    mine, here = _marks(test)
    if not (len(marks) and len(mine)):
        return []
    at = np.minimum(np.searchsorted(marks, mine), len(marks) - 1)
    hits = np.flatnonzero(marks[at] == mine)
    pairs = np.stack([where[at[hits], 0], here[hits, 0]], axis=1)
    found = []
    for (i, j), k, count in zip(
        *np.unique(pairs, axis=0, return_index=True, return_counts=True), strict=True
    ):
        a, b = where[at[hits[k]], 1], here[hits[k], 1]
        samples = count + _RUN - 1
        ours, theirs = train[i], test[j]
        whole = samples >= min(ours.steps, theirs.steps) + 1
        text = (
            f"test[{j}] and train[{i}] "
            + ("are the same" if whole and ours.steps == theirs.steps else "overlap")
            + f": {samples} samples of y agree bit for bit, from sample {b} and {a}"
        )
        found.append(Leak("overlap", int(i), int(j), int(samples), text))
    return found


def _marks(dataset: Dataset) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash of each run of samples that moves, and (log, sample) where it starts."""
    marks, where = [np.empty(0, np.uint64)], [np.empty((0, 2), np.int64)]
    for i, log in enumerate(dataset):
        if log.steps + 1 < _RUN:
            continue
        bits = np.ascontiguousarray(log.y + 0.0).view(np.uint64)  # −0 is 0
        rows = np.zeros(len(bits), np.uint64)
        for column in bits.T:
            rows = (rows ^ column) * _ODD
            rows ^= rows >> np.uint64(29)
        n = len(rows) - _RUN + 1
        runs, changes = np.zeros(n, np.uint64), np.zeros(n, np.int64)
        changed = np.concatenate([[0], np.cumsum(rows[1:] != rows[:-1])])
        for k in range(_RUN):
            runs = runs * _ODD + rows[k : k + n]
        changes = changed[_RUN - 1 :] - changed[:n]
        moves = np.flatnonzero(changes >= _DISTINCT)
        if log.y.shape[1] == 1 or len(np.unique(rows)) < _RUN:
            # two levels that alternate at random repeat any short run
            windows = np.sort(np.lib.stride_tricks.sliding_window_view(rows, _RUN)[moves], axis=1)
            distinct = 1 + np.count_nonzero(np.diff(windows, axis=1), axis=1)
            moves = moves[distinct >= _DISTINCT]
        marks.append(runs[moves])
        where.append(np.stack([np.full(len(moves), i), moves], axis=1))
    return np.concatenate(marks), np.concatenate(where)


def _continues(first: Trajectory, second: Trajectory) -> bool:
    """Whether the second goes on where the first ends, in time and in value."""
    end, start = first.y[-1], second.y[0]
    # bits that a log takes more than once, at rest or on a coarse grid, agree by chance
    once = all(
        np.count_nonzero((y == row).all(axis=1)) == 1
        for y, row in ((first.y, end), (second.y, start))
    )
    if once and np.array_equal(end, start):
        return True
    late = float(second.t[0] - first.t[-1])
    if second.t[0] == 0 or not -1e-6 * first.dt <= late <= 1.5 * first.dt:
        return False
    steps = np.concatenate([np.diff(first.y[-20:], axis=0), np.diff(second.y[:20], axis=0)])
    return bool(np.all(np.abs(start - end) <= 3 * np.abs(steps).max(axis=0)))
