"""Jobs run once each, whatever interrupts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hybridmodel.study import Inline, waited
from hybridmodel.study.dispatch import News, run_jobs
from hybridmodel.study.jobs import RESULT, Job, Result, read_result


def begin(value: float) -> Result:
    return Result({"value": value}, {"data.bin": str(value).encode()})


def double(*, data: bytes) -> Result:
    return Result({"value": 2 * float(data)}, {"data.bin": str(2 * float(data)).encode()})


def fail(*, data: bytes) -> Result:
    raise RuntimeError(f"no use for {data!r}")


def stop() -> Result:
    raise KeyboardInterrupt


def die(folder: str, times: int, name: str) -> Result:
    """Kills its own process so many times, then gives a result."""
    before = len(list(Path(folder).glob(f"{name}-*")))
    Path(folder, f"{name}-{before}").touch()
    if before < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result({"value": 1.0})


def chain(count: int) -> list[Job]:
    jobs = []
    for i in range(count):
        jobs.append(Job(f"{i}/begin", begin, (float(i),)))
        jobs.append(Job(f"{i}/double", double, (), {"data": (f"{i}/begin", "data.bin")}))
    return jobs


def spawned():
    return ProcessPoolExecutor(2, get_context("spawn"))


def values(folder: Path, jobs: list[Job]) -> dict[str, object]:
    return {job.name: (read_result(folder, job.name) or {}).get("numbers") for job in jobs}


def test_jobs_are_given_the_files_of_others(tmp_path: Path) -> None:
    jobs = chain(5)
    assert run_jobs(jobs, tmp_path, Inline, workers=2) == 0
    found = values(tmp_path, jobs)
    assert [found[f"{i}/double"] for i in range(5)] == [{"value": 2.0 * i} for i in range(5)]


@pytest.mark.parametrize("engine", [Inline, lambda: ThreadPoolExecutor(3), spawned])
def test_any_executor_finds_the_same(engine, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    jobs = chain(3)
    assert run_jobs(jobs, tmp_path, engine, workers=2) == 0
    assert values(tmp_path, jobs)["2/double"] == {"value": 4.0}


class Batch:
    """A batch system: its jobs have a result, and nothing else."""

    def submit(self, fn, *args):  # type: ignore[no-untyped-def]
        found = fn(*args)
        return SimpleNamespace(result=lambda: found)


def test_a_batch_system_is_waited_for(tmp_path: Path) -> None:
    jobs = chain(3)
    assert run_jobs(jobs, tmp_path, waited(Batch(), 2), workers=2) == 0
    assert values(tmp_path, jobs)["2/double"] == {"value": 4.0}


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    jobs = chain(3)
    run_jobs(jobs[:4], tmp_path, Inline, workers=2)
    before = {job.name: (tmp_path / job.name / RESULT).stat().st_mtime_ns for job in jobs[:4]}
    run_jobs(jobs, tmp_path, Inline, workers=2)
    assert before == {
        job.name: (tmp_path / job.name / RESULT).stat().st_mtime_ns for job in jobs[:4]
    }
    assert None not in values(tmp_path, jobs).values()


def test_a_failure_is_kept_and_stops_only_what_needs_it(tmp_path: Path) -> None:
    jobs = [
        *chain(1),
        Job("bad", fail, (), {"data": ("0/begin", "data.bin")}),
        Job("worse", double, (), {"data": ("bad", "data.bin")}),
        *[Job("last", begin, (7.0,))],
    ]
    assert run_jobs(jobs, tmp_path, Inline, workers=1) == 2
    assert "no use for b'0.0'" in (read_result(tmp_path, "bad") or {})["error"]
    assert "bad" in (read_result(tmp_path, "worse") or {})["error"]
    assert (read_result(tmp_path, "last") or {})["numbers"] == {"value": 7.0}
    assert "fail" in json.loads((tmp_path / "bad" / RESULT).read_text())["traceback"]


def test_failures_are_run_again_where_asked(tmp_path: Path) -> None:
    needs = {"data": ("0/begin", "data.bin")}
    run_jobs([*chain(1), Job("job", fail, (), needs)], tmp_path, Inline, workers=1)
    mended = [*chain(1), Job("job", double, (), needs)]
    assert run_jobs(mended, tmp_path, Inline, workers=1) == 1
    assert run_jobs(mended, tmp_path, Inline, workers=1, retry=True) == 0


@pytest.mark.parametrize("damage", ["gone", "other"])
def test_a_file_that_is_gone_or_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    jobs = chain(2)
    run_jobs(jobs[:1], tmp_path, Inline, workers=1)
    file = tmp_path / "0/begin/data.bin"
    file.unlink() if damage == "gone" else file.write_bytes(b"7.0")
    assert run_jobs(jobs, tmp_path, Inline, workers=1) == 0
    assert values(tmp_path, jobs)["0/double"] == {"value": 0.0}


def give(what: str) -> Result:
    return {
        "numpy": Result({"value": np.float32(0.5)}),
        "array": Result({"value": np.zeros(3)}),  # type: ignore[dict-item]
        "folder": Result({}, {"../up": b""}),
    }[what]


def test_what_a_job_may_not_give_is_its_own_failure(tmp_path: Path) -> None:
    jobs = [Job(name, give, (name,)) for name in ("array", "folder", "numpy")]
    assert run_jobs(jobs, tmp_path, Inline, workers=1) == 2
    assert values(tmp_path, jobs)["numpy"] == {"value": 0.5}


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    jobs = [*chain(2), Job("stop", stop), *[Job("after", begin, (1.0,))]]

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, tmp_path, Inline, workers=4)
    assert values(tmp_path, jobs)["0/begin"] == {"value": 0.0}
    resumed = [job for job in jobs if job.name != "stop"]
    assert run_jobs(resumed, tmp_path, Inline, workers=1) == 0


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_dies_takes_nothing_with_it(tmp_path: Path, times: int) -> None:
    jobs = [*chain(2), Job("deadly", die, (str(tmp_path), times, "deadly")), *chain(4)[4:]]
    assert run_jobs(jobs, tmp_path / "run", spawned, workers=2) == 0
    assert None not in values(tmp_path / "run", jobs).values()


def test_a_job_that_kills_its_workers_fails_alone(tmp_path: Path) -> None:
    jobs = [Job("deadly", die, (str(tmp_path), 99, "deadly")), *chain(3)]
    assert run_jobs(jobs, tmp_path / "run", spawned, workers=2) == 1
    assert (
        "lost 2 times, with nothing beside it"
        in (read_result(tmp_path / "run", "deadly") or {})["error"]
    )
    assert values(tmp_path / "run", jobs)["2/double"] == {"value": 4.0}


class Lost(ThreadPoolExecutor):
    """Gives some jobs back without a result, though nothing broke."""

    times = 1

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        if Lost.times:
            Lost.times -= 1
            return super().submit(fail, data=b"its result")
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize(("times", "failures"), [(1, 0), (2, 1)])
def test_a_job_that_is_lost_is_handed_out_again(tmp_path: Path, times: int, failures: int) -> None:
    Lost.times = times
    jobs = [Job("only", begin, (1.0,))]
    assert run_jobs(jobs, tmp_path, lambda: Lost(1), workers=1) == failures
    said = (read_result(tmp_path, "only") or {})["error"]
    assert ("came back without a result 2 times" in said) == bool(failures)


def test_an_interrupt_cancels_what_a_batch_system_has_queued() -> None:
    queued: list[Future[Result]] = []

    def submit(*given: object) -> Future[Result]:
        queued.append(Future())
        return queued[-1]

    def interrupted() -> None:
        with waited(SimpleNamespace(submit=submit), 2)() as executor:
            for _ in range(3):
                executor.submit(begin, 1.0)
            while len(queued) < 3:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(job.cancelled() for job in queued)


def test_infinite_numbers_come_back(tmp_path: Path) -> None:
    jobs = [Job("far", begin, (float("inf"),)), Job("none", begin, (float("nan"),))]
    run_jobs(jobs, tmp_path, Inline, workers=1)
    found = values(tmp_path, jobs)
    assert found["far"] == {"value": float("inf")}
    assert str(found["none"]) == "{'value': nan}"


def test_progress_tells_how_far_and_how_long(tmp_path: Path) -> None:
    told: list[News] = []
    run_jobs(chain(3), tmp_path, Inline, workers=1, progress=told.append)
    assert [news.done for news in told] == list(range(7))
    assert told[0].left is None
    assert told[-1].left == 0.0
    assert told[-1].total == 6


def test_names_and_needs_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a' is there twice"):
        run_jobs([Job("a", begin), Job("a", begin)], tmp_path, Inline, workers=1)
    with pytest.raises(ValueError, match="needs 'b'"):
        run_jobs([Job("a", double, (), {"data": ("b", "x")})], tmp_path, Inline, workers=1)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    jobs = chain(1)
    run_jobs(jobs, tmp_path, Inline, workers=1)
    for data in (b"{", b"\xff"):
        (tmp_path / "0/begin" / RESULT).write_bytes(data)
        with pytest.raises(ValueError, match=r"result\.json is damaged"):
            run_jobs(jobs, tmp_path, Inline, workers=1)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    @contextmanager
    def engine():  # type: ignore[no-untyped-def]
        with pytest.raises(ValueError, match="another run is at work"):
            run_jobs(chain(1), tmp_path, Inline, workers=1)
        yield Inline()

    run_jobs(chain(1), tmp_path, engine, workers=1)


LARGE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job has it ignored
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_jobs
from hybridmodel.study import processes
from hybridmodel.study.dispatch import run_jobs
from hybridmodel.study.jobs import Job
if __name__ == "__main__":
    jobs = [Job("large", test_jobs.large)]
    needs = {{"data": ("large", "data.bin")}}
    jobs += [Job(f"{{i}}", test_jobs.sleep, (), needs) for i in range(9)]
    run_jobs(jobs, Path({folder!r}), processes(2), workers=2)
"""


def large() -> Result:
    return Result({}, {"data.bin": bytes(1_000_000)})


def sleep(*, data: bytes) -> Result:
    time.sleep(60)
    return Result()


def test_an_interrupt_does_not_wait_for_what_is_being_sent(tmp_path: Path) -> None:
    script, folder = tmp_path / "run.py", tmp_path / "run"
    script.write_text(LARGE.format(tests=str(Path(__file__).parent), folder=str(folder)))
    process = subprocess.Popen(
        [sys.executable, str(script)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "large" / RESULT).exists():
        time.sleep(0.1)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "InvalidStateError" not in said


SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_jobs import Job, spawned
import test_jobs
from hybridmodel.study.dispatch import run_jobs
if __name__ == "__main__":
    jobs = [Job(f"{{i}}", test_jobs.slow, (i,)) for i in range(30)]
    run_jobs(jobs, Path({folder!r}), spawned, workers=2)
"""


def slow(i: int) -> Result:
    time.sleep(0.05)
    return Result({"value": i / 7}, {"data.bin": bytes(range(256)) * (i + 1)})


def test_kills_at_any_instant_change_nothing(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    folder = tmp_path / "run"
    script.write_text(SLOW.format(tests=str(Path(__file__).parent), folder=str(folder)))
    for wait in (0.9, 1.2, 1.5):
        process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    jobs = [Job(f"{i}", slow, (i,)) for i in range(30)]
    assert run_jobs(jobs, folder, Inline, workers=2) == 0
    assert values(folder, jobs) == {f"{i}": {"value": i / 7} for i in range(30)}
    for i in range(30):
        assert (folder / f"{i}" / "data.bin").read_bytes() == bytes(range(256)) * (i + 1)
