"""Many logs of one plant: split by trajectory, cut into windows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hybridmodel.data.trajectory import EVEN, Array, Trajectory


@dataclass(frozen=True, eq=False)
class Windows:
    """N pieces of H steps, none of which crosses from one trajectory to another.

        y (N, H+1, ny)       measured outputs
        u (N, H, nu)         inputs
        d (N, H, nd)         exogenous signals
        x (N, H+1, nx)       state, if the logs hold it
        past_u (N, P, nu)    the P inputs before the window, oldest first
        past_d, past_y, past_x   likewise, the samples at which those inputs began
        context[name] (N,)   the number that holds for the window's log
        trajectory, start    (N,) where the window begins: which log, which sample

    `dt` is the sampling time [s].
    """

    dt: float
    y: Array
    u: Array
    d: Array
    x: Array | None
    past_u: Array
    past_d: Array
    past_y: Array
    past_x: Array | None
    context: Mapping[str, Array]
    trajectory: NDArray[np.int64]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def horizon(self) -> int:
        """H, steps per window."""
        return self.u.shape[1]


@dataclass(frozen=True)
class Dataset(Sequence[Trajectory]):
    """Trajectories of one plant: the same dt, the same channels, the same context names.

    Join two with `Dataset((*first, *second))`.
    Raises ValueError, naming the index of the odd one out, where they differ.
    """

    trajectories: tuple[Trajectory, ...]

    def __init__(self, trajectories: Iterable[Trajectory]) -> None:
        object.__setattr__(self, "trajectories", tuple(trajectories))
        if not self.trajectories:
            raise ValueError("trajectories is empty: a Dataset needs at least one")
        for i, trajectory in enumerate(self.trajectories):
            if not isinstance(trajectory, Trajectory):
                raise TypeError(f"trajectories[{i}] is a {type(trajectory).__name__}")
            self._check_like_first(i, trajectory)

    def _check_like_first(self, i: int, other: Trajectory) -> None:
        first = self.trajectories[0]
        if abs(other.dt - first.dt) > EVEN * first.dt:
            raise ValueError(
                f"trajectories[{i}] has dt = {other.dt:.9g} s, trajectories[0] has "
                f"{first.dt:.9g} s; resample one of them"
            )
        for name in ("u", "y", "d", "x"):
            ours, theirs = getattr(first, name), getattr(other, name)
            width, wanted = (None if a is None else a.shape[1] for a in (theirs, ours))
            if width != wanted:
                raise ValueError(
                    f"{name} of trajectories[{i}] has {width} columns, that of trajectories[0] "
                    f"has {wanted}"
                )
        if set(other.context) != set(first.context):
            raise ValueError(
                f"context of trajectories[{i}] names {sorted(other.context)}, that of "
                f"trajectories[0] names {sorted(first.context)}"
            )

    def __len__(self) -> int:
        return len(self.trajectories)

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.trajectories)

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Trajectory | Dataset:
        if isinstance(index, slice):
            return Dataset(self.trajectories[index])
        return self.trajectories[index]

    def __repr__(self) -> str:
        return f"Dataset({len(self)} trajectories, {self.seconds:.6g} s at dt = {self.dt:.6g} s)"

    @property
    def dt(self) -> float:
        """Sampling time [s]."""
        return self.trajectories[0].dt

    @property
    def seconds(self) -> float:
        """Length of all logs together [s]."""
        return sum(trajectory.seconds for trajectory in self)

    @property
    def steps(self) -> int:
        """Steps of all logs together."""
        return sum(trajectory.steps for trajectory in self)

    def split(
        self, fractions: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0
    ) -> tuple[Dataset, ...]:
        """Shuffle and deal whole trajectories into parts of about these shares, none empty.

        Raises ValueError where fractions are not positive with sum 1, or where there are fewer
        trajectories than parts.
        """
        shares = np.array(fractions, dtype=np.float64)
        if shares.ndim != 1 or not (shares > 0).all() or not math.isclose(shares.sum(), 1.0):
            raise ValueError(f"fractions must be positive with sum 1, got {tuple(fractions)}")
        if len(self) < len(shares):
            raise ValueError(
                f"{len(self)} trajectories cannot fill {len(shares)} parts, since a split never "
                f"cuts a trajectory: collect more logs, or give fewer fractions"
            )
        # one each, then always to the part that lacks most
        counts = np.ones(len(shares), dtype=int)
        for _ in range(len(self) - len(shares)):
            counts[np.argmax(shares * len(self) - counts)] += 1
        order = np.random.default_rng(seed).permutation(len(self))
        parts = np.split(order, np.cumsum(counts)[:-1])
        return tuple(Dataset(self.trajectories[i] for i in sorted(part)) for part in parts)

    def windows(self, horizon: int, *, stride: int = 1, history: int = 0) -> Windows:
        """All pieces of `horizon` steps, `stride` apart, with `history` inputs before each.

        Raises ValueError where a trajectory is too short to hold one window.
        """
        for name, value, least in (
            ("horizon", horizon, 1),
            ("stride", stride, 1),
            ("history", history, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for i, trajectory in enumerate(self):
            if trajectory.steps < horizon + history:
                longest = max(other.steps for other in self)
                past = f" after {history} steps of history" if history else ""
                raise ValueError(
                    f"horizon {horizon}{past} does not fit in trajectories[{i}], which has "
                    f"{trajectory.steps} steps (the longest has {longest}): a window never "
                    f"crosses trajectories; shorten horizon or leave out the short logs"
                )
        starts = [np.arange(history, log.steps - horizon + 1, stride) for log in self]

        def pieces(name: str, offsets: NDArray[np.int64]) -> Array:
            cut = zip(self, starts, strict=True)
            return np.concatenate([getattr(log, name)[s[:, None] + offsets] for log, s in cut])

        counts = [len(s) for s in starts]
        samples, steps, past = np.arange(horizon + 1), np.arange(horizon), np.arange(-history, 0)
        known = self.trajectories[0].x is not None
        return Windows(
            dt=self.dt,
            y=pieces("y", samples),
            u=pieces("u", steps),
            d=pieces("d", steps),
            x=pieces("x", samples) if known else None,
            past_u=pieces("u", past),
            past_d=pieces("d", past),
            past_y=pieces("y", past),
            past_x=pieces("x", past) if known else None,
            context={
                name: np.repeat([log.context[name] for log in self], counts)
                for name in self.trajectories[0].context
            },
            trajectory=np.repeat(np.arange(len(self)), counts),
            start=np.concatenate(starts),
        )
