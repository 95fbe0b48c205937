"""The last steps of a policy, as plain arrays that a file can hold and `replay` can follow."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.closed_loop.standing import Standing
from hybridmodel.files import write_atomically
from hybridmodel.planners import Plan
from hybridmodel.planners.plan_arrays import from_arrays, to_arrays

LENGTH = 100  # steps that a policy remembers
_FORMAT = "closed loop 1"


@dataclass(frozen=True, eq=False)
class Step:
    """One step: t [s], y, x̂ or None, emitted u (nu,), link of the chain, status of the plan,
    seconds from observation to action, what the planner answered (a plan to follow, the fault of
    one, None where it was not asked), and where the policy stood before."""

    t: float
    y: np.ndarray
    x: np.ndarray | None
    u: np.ndarray
    link: str
    status: str
    seconds: float
    answer: Plan | str | None
    before: Standing


@dataclass(frozen=True, eq=False)
class Recording:
    """The last T steps.

    t (T,), y (T, ny) and x (T, nx) NaN where they were lost, u (T, nu), link and status (T,)
    texts, seconds (T,), answers (T,) see `Step`, beginning: where the policy stood before the
    first of them, seed of the policy, and how often each event and link was met since its reset.
    """

    t: np.ndarray
    y: np.ndarray
    x: np.ndarray
    u: np.ndarray
    link: tuple[str, ...]
    status: tuple[str, ...]
    seconds: np.ndarray
    answers: tuple[Plan | str | None, ...]
    beginning: Standing
    seed: int
    events: Mapping[str, int]
    links: Mapping[str, int]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file, all of it or nothing."""
        begun = self.beginning
        arrays: dict[str, Any] = {
            "format": _FORMAT,
            **{name: getattr(self, name) for name in ("t", "y", "x", "u", "seconds", "seed")},
            "link": np.array(self.link, dtype=str),
            "status": np.array(self.status, dtype=str),
            "fault": np.array([a if isinstance(a, str) else "" for a in self.answers], dtype=str),
            "beginning": np.array([begun.age, begun.asked, begun.warm, begun.bridged], dtype=int),
        }
        for name in ("events", "links"):
            counted: Mapping[str, int] = getattr(self, name)
            arrays[name] = np.array(list(counted), dtype=str)
            arrays[f"{name} count"] = np.array(list(counted.values()), dtype=int)
        if begun.previous is not None:
            arrays["previous"] = begun.previous
        if begun.plan is not None:
            arrays |= _named("beginning", begun.plan)
        for k, answer in enumerate(self.answers):
            if isinstance(answer, Plan):
                arrays |= _named(str(k), answer)
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        write_atomically(path, packed.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read what `save` wrote. Raises ValueError for other files."""
        try:
            with np.load(Path(path), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise
        except Exception as error:  # damaged files fail in many ways
            raise ValueError(f"path: {Path(path).name!r} is no recording: {error}") from error
        if str(arrays.get("format")) != _FORMAT:
            raise ValueError(f"path: {Path(path).name!r} is no recording of {_FORMAT!r}")
        try:
            return cls._of(arrays)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(
                f"path: {Path(path).name!r} lacks a part of a recording: {error}"
            ) from error

    @classmethod
    def _of(cls, arrays: Mapping[str, np.ndarray]) -> Recording:
        plans = _plans(arrays)
        age, asked, warm, bridged = (int(n) for n in arrays["beginning"])
        answers = [plans.get(str(k)) or str(f) or None for k, f in enumerate(arrays["fault"])]
        return cls(
            t=arrays["t"],
            y=arrays["y"],
            x=arrays["x"],
            u=arrays["u"],
            link=tuple(str(name) for name in arrays["link"]),
            status=tuple(str(name) for name in arrays["status"]),
            seconds=arrays["seconds"],
            answers=tuple(answers),
            beginning=Standing(
                plan=plans.get("beginning"),
                age=age,
                previous=arrays.get("previous"),
                asked=asked,
                warm=bool(warm),
                bridged=bridged,
            ),
            seed=int(arrays["seed"]),
            events=_counted(arrays, "events"),
            links=_counted(arrays, "links"),
        )


def recorded(
    steps: Sequence[Step],
    *,
    nx: int,
    seed: int,
    events: Mapping[str, int],
    links: Mapping[str, int],
) -> Recording:
    """The steps in arrays."""
    unknown = np.full(nx, np.nan)
    return Recording(
        t=np.array([step.t for step in steps]),
        y=np.array([step.y for step in steps]),
        x=np.array([unknown if step.x is None else step.x for step in steps]),
        u=np.array([step.u for step in steps]),
        link=tuple(step.link for step in steps),
        status=tuple(step.status for step in steps),
        seconds=np.array([step.seconds for step in steps]),
        answers=tuple(step.answer for step in steps),
        beginning=steps[0].before,
        seed=seed,
        events=dict(events),
        links=dict(links),
    )


def _named(name: str, plan: Plan) -> dict[str, np.ndarray]:
    """A plan as arrays under `plan name/…`."""
    return {f"plan {name}/{part}": rows for part, rows in to_arrays(plan).items()}


def _plans(arrays: Mapping[str, np.ndarray]) -> dict[str, Plan]:
    """The plans among the arrays, by name."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for key, value in arrays.items():
        if key.startswith("plan "):
            name, part = key.removeprefix("plan ").split("/", 1)
            parts.setdefault(name, {})[part] = value
    return {name: from_arrays(part) for name, part in parts.items()}


def _counted(arrays: Mapping[str, np.ndarray], name: str) -> Counter[str]:
    counts = zip(arrays[name], arrays[f"{name} count"], strict=True)
    return Counter({str(key): int(count) for key, count in counts})
