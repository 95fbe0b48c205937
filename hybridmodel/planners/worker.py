"""A planner in a process of its own, so that even one that hangs keeps the deadline.

The process is killed where it is late, and the next call starts another one, for which nobody
waits: until it is ready, plans are FAILED at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from hybridmodel.planners.checking import checking_time
from hybridmodel.planners.plan_arrays import from_arrays, to_arrays
from hybridmodel.planners.planner import Candidate, Plan, Planner, Status, Task
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.structure import structure

_SHARE = 0.9  # of the time is told to the planner, so that one that polls comes before the kill
_MARGIN = 1.3e-3  # [s] beside the rollout that checks an answer; waits round up to 1 ms
_Message = dict[str, Any]  # of arrays, numbers and texts


class Worker(Planner):
    """Plans by another planner, in one process that lives until `close`.

    make_planner  makes the planner, here (for its problem) and in the process; it must be
                  importable there, as a function of a module or a functools.partial of one
    limit         seconds for a plan without a deadline
    patience      seconds for the process to start

    `events` counts plans that did not come: "late", "ended", "starting", "raised …", and
    "no time" where a deadline is too short for the way there and back, about 2 ms; "changed" where
    a network was replaced by another here, for which a new Worker is needed. Parameters and
    weights of model and cost are sent whenever they changed. A process plans once before it is
    ready, so that nothing is compiled under a deadline.

    A script that makes one needs its `if __name__ == "__main__":`, as everything that starts
    processes. Raises RuntimeError where the process does not start.
    """

    interruptible = True

    def __init__(
        self, make_planner: Callable[[], Planner], *, limit: float = 60.0, patience: float = 120.0
    ) -> None:
        if not limit > 0:
            raise ValueError(f"limit must be a positive number of seconds, got {limit}")
        self.problem = make_planner().problem
        self.limit, self.events = limit, Counter[str]()
        self._make_planner = make_planner
        self._made = structure(self.problem.model, *self.problem.networks)
        self._checking = checking_time(self.problem)
        self._closed = False
        self._begin()
        if not self._child.ready(patience):
            why = self._child.error or f"none came up in {patience:g} s"
            self.close()
            raise RuntimeError(f"make_planner: no planner in a process: {why}")

    def close(self) -> None:
        """End the process; later plans are FAILED."""
        self._closed = True
        self._ending()

    def search(self, task: Task) -> Candidate:
        if self._closed:
            return self._none("closed")
        if structure(self.problem.model, *self.problem.networks) != self._made:
            return self._none("changed")  # numbers cross, other networks do not
        if self._child.dead:  # begun only now, since this call has time and the late one had none
            self._ending()
            self._begin()
        if not self._child.ready(0.0):
            return self._none("starting")
        allowed = min(task.remaining(), self.limit) - self._checking - _MARGIN
        if allowed <= 0:
            return self._none("no time")
        answer = self._child.answer(self._request(task, allowed), allowed)
        if answer is None:
            self._ending()
            return self._none("late")
        if "plan" not in answer:
            self._child.forget()
            return self._none(answer["event"])
        return _candidate(from_arrays(answer["plan"]), self.problem)

    def _request(self, task: Task, allowed: float) -> _Message:
        return {
            "x0": task.x0,
            "pi": np.array(task.pi),
            "previous_input": task.previous_input,
            "guess": None if task.guess is None else to_arrays(task.guess),
            "seed": task.seed,
            "deadline": max(_SHARE * allowed, 1e-6),
            "state": self._child.news(self.problem),
        }

    def _begin(self) -> None:
        self._child = _Child(self._make_planner)
        self._ending = weakref.finalize(self, _Child.end, self._child)

    def _none(self, event: str) -> Candidate:
        self.events[event] += 1
        shape = self.problem.horizon, self.problem.model.system.nu
        return Candidate(u=np.full(shape, np.nan), status=Status.FAILED, iterations=0)


class _Child:
    """One process and its pipe; it is started by a thread, since that takes its time."""

    def __init__(self, make_planner: Callable[[], Planner]) -> None:
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        threads = torch.get_num_threads()
        self._process = context.Process(
            target=_serve, args=(other, make_planner, threads), daemon=True
        )
        self._told: dict[str, np.ndarray] | None = None
        self._is_ready, self.dead, self.error = False, False, ""
        self._lock = threading.Lock()
        self._starting = threading.Thread(target=self._start, args=(other,), daemon=True)
        self._starting.start()

    def _start(self, other: Connection) -> None:
        with self._lock:
            if not self.dead:
                try:
                    self._process.start()
                except BaseException as error:  # a thread has nobody to tell
                    self.dead, self.error = True, str(error)
            other.close()  # so that the end of the process ends the pipe

    def ready(self, seconds: float) -> bool:
        """Whether its planner is made; waits so long at most."""
        if not self._is_ready and not self.dead:
            try:
                self._is_ready = self._connection.poll(seconds) and bool(self._connection.recv())
            except (EOFError, OSError):
                self.dead = True
        return self._is_ready and not self.dead

    def answer(self, request: _Message, seconds: float) -> _Message | None:
        """What came back in time."""
        began = time.perf_counter()
        try:
            self._connection.send(request)
            left = seconds - (time.perf_counter() - began)
            return self._connection.recv() if self._connection.poll(max(left, 0.0)) else None
        except (EOFError, OSError):
            self.dead = True
            return {"event": "ended"}

    def news(self, problem: OptimalControlProblem) -> dict[str, np.ndarray] | None:
        """All numbers of model and cost, None where the process knows them."""
        modules = _numbered(problem).state_dict().items()
        state = {name: value.detach().cpu().numpy() for name, value in modules}
        told = self._told
        if told is not None and all(np.array_equal(told[k], v) for k, v in state.items()):
            return None
        self._told = {name: value.copy() for name, value in state.items()}
        return self._told

    def forget(self) -> None:
        """What it knows is not certain: it is told everything again."""
        self._told = None

    def end(self) -> None:
        """Kill the process, whatever it does."""
        self.dead = True
        if self._process.pid is None:  # still starting
            threading.Thread(target=self._end_started, daemon=True).start()
        else:
            self._process.kill()
        self._connection.close()

    def _end_started(self) -> None:
        with self._lock:
            if self._process.pid is not None:
                self._process.kill()


def _serve(connection: Connection, make_planner: Callable[[], Planner], threads: int) -> None:
    """The process: one answer to each request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    planner = make_planner()
    _begin(planner)
    connection.send(True)
    while True:
        try:
            request: _Message = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_answer(planner, request))


def _begin(planner: Planner) -> None:
    """One plan from the neutral state; what comes of it does not matter."""
    problem = planner.problem
    neutral = torch.tensor(problem.model.system.neutral, dtype=torch.float64)
    with suppress(Exception):
        x0 = problem.model.initial_state(neutral).detach().numpy()
        planner.plan(x0, parameters=np.zeros(problem.n_given))


def _answer(planner: Planner, request: _Message) -> _Message:
    """A plan in plain arrays, or why there is none."""
    try:
        if request["state"] is not None:
            state = {name: torch.from_numpy(rows) for name, rows in request["state"].items()}
            _numbered(planner.problem).load_state_dict(state)
        guess = request["guess"]
        plan = planner.plan(
            request["x0"],
            parameters=request["pi"],
            previous_input=request["previous_input"],
            warm_start=None if guess is None else from_arrays(guess),
            seed=request["seed"],
            deadline=request["deadline"],
        )
        return {"plan": to_arrays(plan)}
    except BaseException as error:  # whatever it was, the next request comes
        return {"event": f"raised {type(error).__name__}"}


def _numbered(problem: OptimalControlProblem) -> torch.nn.ModuleList:
    """What may learn: the model, then the networks that its cost calls."""
    return torch.nn.ModuleList([problem.model, *problem.networks])


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _candidate(plan: Plan, problem: OptimalControlProblem) -> Candidate:
    """To be checked here, since nothing that crossed is trusted."""
    if plan.u.shape != (problem.horizon, problem.model.system.nu):
        shape = problem.horizon, problem.model.system.nu
        return Candidate(u=np.full(shape, np.nan), status=Status.FAILED, iterations=0)
    return Candidate(
        u=plan.u,
        status=plan.status,
        iterations=plan.iterations,
        multipliers=plan.multipliers,
        gains=plan.gains,
        elites=plan.elites,
    )
