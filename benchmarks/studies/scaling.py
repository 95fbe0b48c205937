"""Cells a minute on one worker and on two, and what a study's machinery takes of the time.

Overhead is what no cell used of workers × wall time: starting processes, waiting for inputs,
files, and the end, where one worker is idle while another finishes. A message is a job that does
nothing, with inputs and a file of the size that a fit has.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Row
from hybridmodel.study import Study, processes, run_study
from hybridmodel.study.dispatch import run_jobs
from hybridmodel.study.jobs import Job, Result, read_result

MESSAGES, SIZE = 300, 500_000  # bytes


def rows(quick: bool, folder: Path) -> Iterator[Row]:
    """The same study on one worker and on two, then empty jobs."""
    study = Study(
        systems=("pendulum",),
        effects=("friction",),
        models=("physics", "oracle", "identified", "hybrid"),
        seeds=tuple(range(2 if quick else 10)),
        quick=True,
    )
    what = "quick scaling" if quick else "scaling"
    rates = {}
    for workers in (1, 2):
        home = folder / str(workers)
        shutil.rmtree(home, ignore_errors=True)
        began = time.perf_counter()
        table = run_study(study, home, workers=workers)
        wall = time.perf_counter() - began
        rates[workers] = 60 * len(table) / wall
        own = sum((read_result(home, job.name) or {})["seconds"] for job in study.jobs())
        count = f"{workers} worker{'s' if workers > 1 else ''}"
        yield Row(f"{what}: closed loops a minute, {count}", rates[workers], "1/min")
        bar = "≤ 3" if workers == 2 and not quick else ""
        yield Row(f"{what}: overhead, {count}", 100 * (1 - own / (workers * wall)), "%", bar)
        yield Row(f"{what}: a job's own time, mean, {count}", own / len(study.jobs()), "s")
    yield Row(f"{what}: two workers over one", rates[2] / rates[1])
    yield Row(f"{what}: one message", 1e3 * _message(folder / "messages"), "ms")


def nothing(*, data: bytes) -> Result:
    """A job that takes no time, with a file like a log's."""
    return Result({"size": len(data)}, {"file": data})


def something() -> Result:
    """Where the messages' inputs come from."""
    return Result({}, {"file": bytes(SIZE)})


def _message(folder: Path) -> float:
    """Seconds that an empty job takes from its inputs' file to its own."""
    shutil.rmtree(folder, ignore_errors=True)
    needs = {"data": ("first", "file")}
    run_jobs([Job("first", something)], folder, processes(1), workers=1)
    jobs = [Job("first", something), *(Job(f"{i}", nothing, (), needs) for i in range(MESSAGES))]
    times: list[float] = []
    run_jobs(
        jobs, folder, processes(2), workers=2, progress=lambda _: times.append(time.perf_counter())
    )
    return (times[-1] - times[MESSAGES // 3]) / (len(times) - 1 - MESSAGES // 3)
