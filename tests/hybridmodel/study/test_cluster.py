"""The same jobs on a Dask scheduler with two worker processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybridmodel.study import dask
from hybridmodel.study.dispatch import News, run_jobs
from hybridmodel.study.jobs import Job, read_result

JOBS = """
import os, time
from pathlib import Path
from hybridmodel.study.jobs import Result

def slow(i, folder):
    Path(folder, f"{i}-{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.2)
    return Result({"value": i / 7}, {"data.bin": bytes([i])})

def double(*, data):
    return Result({"value": 2 * data[0] / 7})
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list]]:
    """The address of a scheduler, and its two workers."""
    (tmp_path / "cluster_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    contact = tmp_path / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "ignore"}

    def started(kind: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        where = {"cwd": tmp_path, "env": environment, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, **where)  # type: ignore[call-overload]

    local = ("--host", "127.0.0.1")
    options = ("--port", "0", "--dashboard-address", "127.0.0.1:0")
    scheduler = started("scheduler", *local, *options, "--scheduler-file", str(contact))
    workers = []
    try:
        for _ in range(600):
            if contact.exists() and contact.read_text():
                break
            time.sleep(0.05)
        each = ("--scheduler-file", str(contact), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        workers = [started("worker", *local, *each) for _ in range(2)]
        import json

        yield json.loads(contact.read_text())["address"], workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


@pytest.mark.filterwarnings("ignore")  # of sockets that a killed worker leaves
def test_a_worker_that_is_killed_costs_nothing(cluster: tuple[str, list], tmp_path: Path) -> None:
    import cluster_jobs  # type: ignore[import-not-found]

    address, workers = cluster
    (tmp_path / "begun").mkdir()
    jobs = []
    for i in range(12):
        jobs.append(Job(f"{i}/slow", cluster_jobs.slow, (i, str(tmp_path / "begun"))))
        jobs.append(
            Job(f"{i}/double", cluster_jobs.double, (), {"data": (f"{i}/slow", "data.bin")})
        )
    finished: list[str] = []
    killed = threading.Event()

    def watch(news: News) -> None:
        finished.append(news.name)
        if news.done >= 5 and not killed.is_set():
            os.kill(workers[0].pid, signal.SIGKILL)
            killed.set()

    engine = dask(2, address=address)
    assert run_jobs(jobs, tmp_path / "run", engine, workers=2, progress=watch) == 0
    assert killed.is_set()
    assert sorted(filter(None, finished)) == sorted(job.name for job in jobs)  # each once
    for i in range(12):
        found = read_result(tmp_path / "run", f"{i}/double")
        assert found is not None
        assert found["numbers"] == {"value": 2 * i / 7}
    again: list[str] = []
    run_jobs(
        jobs, tmp_path / "run", engine, workers=2, progress=lambda news: again.append(news.name)
    )
    assert again == [""]


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    from dask.config import set as configured

    timeout = configured({"distributed.comm.timeouts.connect": "0.3s"})
    with timeout, pytest.raises(ValueError, match="no scheduler answers at tcp"):
        dask(1, address="tcp://127.0.0.1:9")
