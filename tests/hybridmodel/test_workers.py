"""Worker processes end with what they were made for."""

from __future__ import annotations

import time

import pytest

from hybridmodel.workers import pool


def interrupted() -> None:
    with pool(1) as workers:
        job = workers.submit(time.sleep, 300)
        while not job.running():
            time.sleep(0.05)
        raise KeyboardInterrupt


def test_an_interrupt_ends_jobs_that_run() -> None:
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.perf_counter() - started < 100
