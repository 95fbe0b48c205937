"""Jobs that depend on each other's files, run once each on any executor, through any interruption.

What is done is never run again, what was interrupted runs anew, and a job that raised does not stop
the rest. Workers see no folder: they are given bytes and give bytes back, so that they may be
anywhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel.study.jobs import (
    RESULT,
    Job,
    carried_out,
    failed,
    read_file,
    read_result,
    state_of,
    write_result,
)

Engine = Callable[[], AbstractContextManager[Executor]]
LOSSES = 2  # of one job that came back without a result, after which it has failed
LOCK = ".lock"


@dataclass(frozen=True)
class News:
    """How far a run is: after each job, and once at its beginning.

    left   estimated seconds; None before anything is known
    """

    done: int
    failed: int
    total: int
    name: str
    error: str
    left: float | None


Progress = Callable[[News], None]


def run_jobs(
    jobs: Sequence[Job],
    folder: Path,
    engine: Engine,
    *,
    workers: int,
    retry: bool = False,
    progress: Progress | None = None,
) -> int:
    """Run what is not done yet; the number of jobs that failed, now or before.

    workers   how many jobs are handed out at once is twice that
    retry     run those that failed before again

    An interrupt leaves everything that was finished. Where the executor breaks, because a worker
    died, what was out is tried alone, one job after the other, and has failed where that breaks it
    twice; so has a job that the executor gives back twice without a result. Raises ValueError where
    two jobs have one name, one needs a job that there is not, or another run is at work in the
    folder.
    """
    with alone(folder):
        return carry_out(jobs, folder, engine, workers=workers, retry=retry, progress=progress)


def carry_out(
    jobs: Sequence[Job],
    folder: Path,
    engine: Engine,
    *,
    workers: int,
    retry: bool = False,
    progress: Progress | None = None,
) -> int:
    """As `run_jobs`, for one who is `alone` in the folder."""
    _check(jobs)
    states = {job.name: state_of(folder, job.name) for job in jobs}
    if retry:
        for name, state in states.items():
            if state == "failed":
                (folder / name / RESULT).unlink()
                states[name] = None
    run = _Run(folder, {job.name: job for job in jobs}, states, workers, progress)
    run.tell("", "")
    while run.unfinished:
        with engine() as executor:
            run.on(executor)
    return sum(state == "failed" for state in states.values())


class _Run:
    """One run: what is ready, what is out, and how long jobs take."""

    def __init__(
        self,
        folder: Path,
        jobs: Mapping[str, Job],
        states: dict[str, str | None],
        workers: int,
        progress: Progress | None,
    ) -> None:
        self.folder, self.jobs, self.states, self.workers = folder, jobs, states, workers
        self.progress = progress
        self.again: set[str] = set()  # done before, but a file of theirs was gone or damaged
        self.suspects: set[str] = set()  # jobs that were out when the executor broke
        self.losses: Counter[str] = Counter()  # of those that are surely of the job itself
        self.seconds: dict[str, list[float]] = {}
        for name, state in states.items():
            if state == "done":
                self._took(name, float((read_result(folder, name) or {})["seconds"]))

    @property
    def unfinished(self) -> bool:
        return any(state is None for state in self.states.values())

    def on(self, executor: Executor) -> None:
        """Hand jobs out until all is done or the executor breaks; then it is to be made anew."""
        out: dict[Future[dict[str, Any]], str] = {}
        try:
            while self.unfinished:
                self._hand_out(executor, out)
                if not out:  # all that was left needed what failed
                    continue
                done, _ = wait(out, return_when=FIRST_COMPLETED)
                for future in done:
                    if isinstance(self._taken(out.pop(future), future), BrokenExecutor):
                        raise BrokenExecutor
        except BrokenExecutor:
            wait(out, timeout=10)  # all of them are told
        finally:
            for future, name in out.items():
                if future.done():
                    self._taken(name, future)
                else:
                    future.cancel()  # what runs already is ended by the engine

    def _taken(self, name: str, future: Future[Any]) -> BaseException | None:
        """Keep what a job found; one that is lost is tried again, for it may not be to blame."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._finish(name, future.result())
        elif isinstance(error, BrokenExecutor) and name not in self.suspects:
            self.suspects.add(name)  # or what was beside it
        else:
            self.losses[name] += 1
            if self.losses[name] >= LOSSES:
                told = f"lost {LOSSES} times, with nothing beside it" * (name in self.suspects)
                told = told or f"came back without a result {LOSSES} times"
                self._finish(name, failed(f"{told}: {type(error).__name__}: {error}"))
        return error

    def _hand_out(self, executor: Executor, out: dict[Future[Any], str]) -> None:
        """Submit jobs whose inputs are there: a suspect alone, others two for each worker."""
        suspects = [n for n in self.jobs if n in self.suspects and self.states[n] is None]
        most = 1 if suspects else 2 * self.workers
        busy = set(out.values())
        for name in suspects or [n for n, state in self.states.items() if state is None]:
            if len(out) >= most:
                return
            job = self.jobs[name]
            sources = [source for source, _ in job.needs.values()]
            if bad := [source for source in sources if self.states[source] == "failed"]:
                self._finish(name, failed(f"needs {bad[0]}, which failed"))
            elif name not in busy and all(self.states[source] == "done" for source in sources):
                found = {key: read_file(self.folder, *need) for key, need in job.needs.items()}
                inputs = {key: data for key, data in found.items() if data is not None}
                if broken := [need for key, need in job.needs.items() if key not in inputs]:
                    self._renew(name, *broken[0])
                    continue
                out[executor.submit(carried_out, job.run, job.arguments, inputs)] = name

    def _renew(self, name: str, source: str, file: str) -> None:
        """Run again the job whose file is gone or damaged; once."""
        if source in self.again:
            self._finish(name, failed(f"needs {source}/{file}, which is gone or damaged"))
            return
        self.again.add(source)
        (self.folder / source / RESULT).unlink()
        self.states[source] = None

    def _finish(self, name: str, outcome: dict[str, Any]) -> None:
        write_result(self.folder, name, outcome)
        self.states[name] = "failed" if outcome["error"] else "done"
        if not outcome["error"]:
            self._took(name, outcome["seconds"])
        self.tell(name, outcome["error"])

    def _took(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(self.jobs[name].kind, []).append(seconds)

    def tell(self, name: str, error: str) -> None:
        if self.progress is None:
            return
        states = list(self.states.values())
        done, failed = states.count("done"), states.count("failed")
        self.progress(News(done, failed, len(states), name, error.split("\n")[0], self._left()))

    def _left(self) -> float | None:
        known = [s for seconds in self.seconds.values() for s in seconds]
        if not known:
            return None
        mean = {kind: sum(s) / len(s) for kind, s in self.seconds.items()}
        other = sum(known) / len(known)
        open_ = [self.jobs[name].kind for name, state in self.states.items() if state is None]
        return sum(mean.get(kind, other) for kind in open_) / self.workers


def _check(jobs: Sequence[Job]) -> None:
    names = Counter(job.name for job in jobs)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"jobs must have names of their own, {twice[0]!r} is there twice")
    known: set[str] = set()
    for job in jobs:
        for source, _ in job.needs.values():
            if source not in known:
                raise ValueError(
                    f"job {job.name!r} needs {source!r}, which does not come before it"
                )
        known.add(job.name)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One run at a time in a folder; the lock ends with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on every platform
        yield
        return
    with open(folder / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{os.fspath(folder)}: another run is at work there") from None
        yield
