"""A study that is killed at random instants ends with the table of one that is not.

Both are run by the command line in processes of their own; the killed one gets SIGKILL, its workers
too, and is gone on with by --resume. The tables must agree bit for bit, times apart.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import Row
from hybridmodel.study import read_table, same

KILLS, SEED = 20, 0
STUDY = """
systems = ["pendulum"]
effects = ["friction"]
models = ["physics", "identified", "hybrid", "oracle"]
seeds = {seeds}
quick = true
"""


def rows(quick: bool, folder: Path, workers: int) -> Iterator[Row]:
    """Kill it twenty times, three times where it is quick."""
    kills, seeds = (3, [0, 1]) if quick else (KILLS, list(range(10)))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(STUDY.format(seeds=seeds), encoding="utf-8")
    generator, killed = np.random.default_rng(SEED), 0
    for _ in range(kills):
        process = _started(folder, "killed", workers)
        try:
            process.wait(timeout=float(generator.uniform(1.0, 14.0)))
            break  # it came to its end
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
    for name in ("killed", "whole"):
        if _started(folder, name, workers).wait() not in (0, 1):
            raise RuntimeError(f"the study in {folder / name} did not end by itself")
    tables = [read_table(folder / name) for name in ("killed", "whole")]
    what = "quick interruptions" if quick else "interruptions"
    yield Row(f"{what}: kills", killed, "", "" if quick else f"= {KILLS}")
    done = [sum(row["state"] == "done" for row in table) for table in tables]
    yield Row(f"{what}: cells done", min(done), f"of {len(tables[1])}")
    yield Row(f"{what}: the same table, bit for bit", float(same(*tables)), "", "= 1")


def _started(folder: Path, name: str, workers: int) -> subprocess.Popen[bytes]:
    where = folder / name
    command = [sys.executable, "-W", "ignore", "-m", "hybridmodel", "study"]
    command += [str(folder / "study.toml"), "--out", str(where), "--workers", str(workers)]
    command += ["--resume"] if where.exists() else []
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
