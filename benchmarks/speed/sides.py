"""Sides timed one beside the other: each in a process of its own, by turns, in shuffled order.

A worker speaks lines of JSON: {"cmd": "setup", "key", "case", "cfg"} builds and runs a case twice,
{"cmd": "time", "key", "warm", "n"} gives the seconds of n runs, {"cmd": "drop", "key"} forgets it.
A ratio is the median over rounds of the ratio of times of the same round, so that a slow spell of
the machine falls out.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

THREADS = 2  # of every side
_VARIABLES = ("OMP_", "OPENBLAS_", "MKL_", "NUMBA_")
_SETUP, _ANSWER = 600.0, 600.0  # s
_PAUSE = 0.02  # s before a visit, in which threads of the side before go to sleep


@dataclass(frozen=True)
class Side:
    """A case of a worker's module with its configuration.

    python   of the environment that it runs in
    worker   the arguments that start the worker, `folder` where
    """

    python: Path
    worker: tuple[str, ...]
    folder: Path
    case: str
    configuration: Mapping[str, Any] = field(default_factory=dict)


def own(case: str, **configuration: Any) -> Side:
    """A side of this project, see `benchmarks.speed.cases`."""
    worker = ("-m", "benchmarks.speed.worker")
    return Side(Path(sys.executable), worker, Path(__file__).parents[2], case, configuration)


@dataclass
class Measured:
    """What a side gave: its result's first numbers, seconds by round; `error` where it failed."""

    head: np.ndarray = field(default_factory=lambda: np.empty(0))
    first: float = float("nan")  # seconds of the first run
    second: float = float("nan")
    seconds: list[float] = field(default_factory=list)
    versions: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class Worker:
    """A process that holds cases; `ask` raises RuntimeError where it does not answer."""

    def __init__(self, side: Side) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_VARIABLES)}
        set_ = {f"{name}NUM_THREADS": str(THREADS) for name in _VARIABLES}
        bins = f"{side.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - open as long as it
        self._process = subprocess.Popen(
            [str(side.python), *side.worker],
            cwd=side.folder,
            env={**kept, **set_, "BENCH_THREADS": str(THREADS), "PATH": bins},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            preexec_fn=_pin,
        )
        self.versions = self._read(_SETUP).get("versions", {})

    def ask(self, wait: float = _ANSWER, **request: Any) -> Mapping[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read(wait)
        if not answer["ok"]:
            raise RuntimeError(answer["err"])
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _read(self, wait: float) -> Mapping[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], wait)
        line = stream.readline() if ready else ""
        if not line:
            self._process.kill()
            ended = f"ended with {self._process.wait()}" if ready else f"silent for {wait:g} s"
            self._errors.seek(0)
            told = self._errors.read().strip().splitlines()[-1:] or ["it said nothing"]
            raise RuntimeError(f"the worker {ended}: {told[0]}")
        return json.loads(line)


def _pin() -> None:
    """As many cores as threads, for sides that have no setting for the number."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


class Sides:
    """Runs sides and keeps their workers, one for each environment and module."""

    def __init__(self, *, rounds: int, budget: float = 0.3, seed: int = 0) -> None:
        self.rounds, self.budget = rounds, budget
        self._generator = np.random.default_rng(seed)
        self._workers: dict[tuple[Any, ...], Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def compare(self, sides: Mapping[str, Side]) -> dict[str, Measured]:
        """Sets up every side, then times those that ran: a round visits each of them once."""
        found, repeats = {}, {}
        for name, side in sides.items():
            found[name] = self._set_up(name, side)
            if not found[name].error:
                wanted = self.budget / max(found[name].second, 1e-6)
                repeats[name] = max(1, min(50, int(wanted)))
        for _ in range(self.rounds):
            for name in self._generator.permutation([n for n in sides if not found[n].error]):
                slow = found[name].second > self.budget
                request = {"key": name, "warm": int(not slow), "n": repeats[name]}
                time.sleep(_PAUSE)
                try:
                    answer = self._worker(sides[name]).ask(cmd="time", **request)
                    found[name].seconds.append(statistics.median(answer["t"]))
                except RuntimeError as error:
                    self._failed(found[name], sides[name], error)
        for name, side in sides.items():
            if not found[name].error:
                self._worker(side).ask(cmd="drop", key=name)
        return found

    def once(self, side: Side) -> Measured:
        """The side in a fresh process, run but not timed in rounds."""
        worker = Worker(side)
        try:
            return self._asked(worker, "once", side)
        finally:
            worker.close()

    def _set_up(self, name: str, side: Side) -> Measured:
        try:
            return self._asked(self._worker(side), name, side)
        except (RuntimeError, OSError) as error:
            measured = Measured()
            self._failed(measured, side, error)
            return measured

    def _asked(self, worker: Worker, name: str, side: Side) -> Measured:
        request = {"key": name, "case": side.case, "cfg": dict(side.configuration)}
        answer = worker.ask(_SETUP, cmd="setup", **request)
        return Measured(
            np.array(answer["head"]),
            answer["first_s"],
            answer["second_s"],
            versions=worker.versions,
        )

    def _worker(self, side: Side) -> Worker:
        key = (side.python, side.worker)
        if key not in self._workers:
            self._workers[key] = Worker(side)
        return self._workers[key]

    def _failed(self, measured: Measured, side: Side, error: Exception) -> None:
        measured.error = str(error)[:300] or type(error).__name__
        worker = self._workers.get((side.python, side.worker))
        if worker is not None and worker._process.poll() is not None:
            worker.close()
            del self._workers[side.python, side.worker]


def times(seconds: Sequence[float] | np.ndarray) -> tuple[float, tuple[float, float]]:
    """Median and quartiles."""
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return float(middle), (float(low), float(high))


def ratio(
    found: Mapping[str, Measured], ours: str, others: Sequence[str]
) -> tuple[float, tuple[float, float]]:
    """Time of the fastest of the others / ours, by round: median and quartiles."""
    best = np.min([found[name].seconds for name in others], axis=0)
    return times(best / np.array(found[ours].seconds))
