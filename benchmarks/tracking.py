"""Following a reference with a learned residual: KUKA and quadrotor against their bars.

python -m benchmarks.tracking [--quick] [--seeds 3] --json FILE

Tasks and recipes were settled on seeds below 10, but for the quadrotor's identification horizon,
which a failure on seed 10 showed to be too long; the figures are of seeds from 10 on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Row, publish
from hybridmodel.demo.record import Record, read_record
from hybridmodel.evaluation import Evaluation

RUNS = Path("runs/tracking")
FIRST_SEED = 10
_ROWS = ("physics", "identified", "network")


def rows(quick: bool, seeds: int | None = None, runs: Path = RUNS) -> list[Row]:
    """All figures of both demonstrations, by their own command; three seeds, or a quick one."""
    seeds = seeds or (1 if quick else 3)
    return [*kuka(quick, seeds, runs), *quadrotor(quick, seeds, runs)]


def kuka(quick: bool, seeds: int, runs: Path = RUNS) -> Iterator[Row]:
    """A KUKA iiwa with 2 kg and friction that the physics does not know, in PyBullet."""
    found = _demonstrated("kuka", quick, seeds, runs)
    yield from found.time()
    joints = range(7)
    for row in _ROWS:
        ratio = [
            _rms(record.errors["hybrid"], joints) / _rms(record.errors[row], joints)
            for record in found.records
        ]
        bar = "≤ 0.25" if row == "physics" else ""
        yield _row(f"KUKA: joint error after 0.5 s, hybrid / {row}", ratio, "×", bar)
    yield from found.following("KUKA: flange on a figure eight", "≤ 0.4")


def quadrotor(quick: bool, seeds: int, runs: Path = RUNS) -> Iterator[Row]:
    """A quadrotor with a payload and drag that the physics does not know, in PyBullet."""
    found = _demonstrated("quadrotor", quick, seeds, runs)
    yield from found.time()
    for row in _ROWS:
        ratio = [r.errors["hybrid"].at(50) / r.errors[row].at(50) for r in found.records]
        yield _row(f"quadrotor: error after 1 s, hybrid / {row}", ratio, "×", "")
    yield from found.following("quadrotor: position on a fast figure eight", "≤ 0.4")


class _Demonstrated:
    """One demonstration's records, one a seed, and how long its command took."""

    def __init__(self, name: str, records: Sequence[Record], seconds: float, quick: bool) -> None:
        self.name, self.records, self.seconds, self.quick = name, records, seconds, quick

    def time(self) -> Iterator[Row]:
        words = f"demo {self.name}{' --quick' if self.quick else ''}"
        yield Row(words, self.seconds, "s")
        data = self.records[0].summary["seconds_of_data"]
        yield Row(f"{words}: data behind it", data, "s", "≤ 60")

    def following(self, what: str, bar: str) -> Iterator[Row]:
        loops: list[Mapping[str, Any]] = [r.summary["control"]["gradient"] for r in self.records]
        for row in _ROWS:
            ratio = [loop["hybrid"]["error"] / loop[row]["error"] for loop in loops]
            yield _row(f"{what}, hybrid / {row}", ratio, "×", bar if row == "physics" else "")
        for row in (*_ROWS, "hybrid"):
            yield _row(f"{what}, {row}", [1e3 * loop[row]["error"] for loop in loops], "mm rms", "")
        times = [loop["hybrid"]["ms_per_plan_median"] for loop in loops]
        yield _row(f"{what}: median time of the hybrid's plans", times, "ms", "")


def _demonstrated(name: str, quick: bool, seeds: int, runs: Path) -> _Demonstrated:
    """Every seed in a folder of its own; the time is the first one's."""
    records, first = [], None
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        out = runs / f"{name}{'-quick' if quick else ''}-{seed}"
        command = [sys.executable, "-m", "hybridmodel", "demo", name, "--out", str(out)]
        command += ["--seed", str(seed), *(["--quick"] if quick else [])]
        started = time.perf_counter()
        code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
        if code not in (0, 1):  # 1 says that the hybrid does not win
            raise RuntimeError(f"{' '.join(command)} ended with {code}")
        first = time.perf_counter() - started if first is None else first
        records.append(read_record(out))
    return _Demonstrated(name, records, first or 0.0, quick)


def _rms(error: Evaluation, signals: Sequence[int]) -> float:
    """Over these signals at the last step, in their unit."""
    return float(np.sqrt(np.mean(error.rmse[-1, list(signals)] ** 2)))


def _row(figure: str, values: Sequence[float], unit: str, bar: str) -> Row:
    spread = None
    if len(values) > 1:
        low, high = np.quantile(values, [0.025, 0.975])
        spread = float(low), float(high)
    return Row(figure, float(np.median(values)), unit, bar, len(values), spread)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.tracking")
    parser.add_argument("--quick", action="store_true", help="the short demonstrations")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runs", type=Path, default=RUNS, help="run folders")
    options = parser.parse_args()
    found = rows(options.quick, options.seeds, options.runs)
    return 0 if publish("tracking", found, options.json) else 1


if __name__ == "__main__":
    sys.exit(main())
