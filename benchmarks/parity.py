"""The figures of parity: do the equations follow the engine, and is what differs named?

python -m benchmarks.parity [--quick] [--seed N] [--verbose] --json FILE

Mismatches are those of `benchmarks.mismatches`: of random trees, and of files. Development used
`DEVELOPED` files and other seeds; the figure is of `UNSEEN` ones.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pybullet_data

from benchmarks.figures import Row, publish
from benchmarks.mismatches import Mismatch, draw
from benchmarks.robots import TEN
from hybridmodel.envs.bullet.robot import BulletRobot
from hybridmodel.envs.parity import check_parity
from physics.rigid_body import urdf
from physics.rigid_body.system import RigidBody

FINAL_SEED = 20_261
DEVELOPED = (
    "cartpole.urdf",
    "TwoJointRobot_w_fixedJoints.urdf",
    "kuka_iiwa/model.urdf",
    "a1/a1.urdf",
    "laikago/laikago.urdf",
    "mini_cheetah/mini_cheetah.urdf",
)
UNSEEN = (
    "biped/biped2d_pybullet.urdf",
    "husky/husky.urdf",
    "kuka_iiwa/model_vr_limits.urdf",
    "laikago/laikago_toes_limits.urdf",
    "quadruped/minitaur.urdf",
    "quadruped/minitaur_single_motor.urdf",
    "quadruped/spirit40.urdf",
    "quadruped/vision60.urdf",
    "r2d2.urdf",
    "racecar/racecar.urdf",
    "xarm/xarm6_robot_white.urdf",
)


def named(
    count: int, seed: int, files: tuple[str, ...], say: Callable[[str], None] | None = None
) -> tuple[int, list[str]]:
    """How many of so many mismatches are named exactly right, and what was said of the others."""
    random = np.random.default_rng(seed)
    right, wrong = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(count):
            case = draw(random, files, Path(folder))
            started = time.perf_counter()
            try:
                names, left = _names(case, seed + k)
            except Exception as error:  # a check that fails has named nothing
                names, left = frozenset(), (repr(error),)
            if names == case.culprits and not left:
                right += 1
            else:
                wrong.append(
                    f"{k} {case.label} {sorted(case.culprits)}: "
                    f"missed {sorted(case.culprits - names)}, "
                    f"too many {sorted(names - case.culprits)}, unexplained {left}"
                )
                if say is not None:
                    say(wrong[-1])
            if say is not None:
                spent = time.perf_counter() - started
                say(f"{k} {case.label} {sorted(case.culprits)} {spent:.1f} s")
    return right, wrong


def _names(case: Mismatch, seed: int) -> tuple[frozenset[str], tuple]:
    """What the check names, and what it leaves unexplained."""
    plant = BulletRobot(case.own, dt=case.dt, substeps=case.substeps, settings=case.settings)
    with contextlib.closing(plant):
        found = check_parity(case.system, plant, count=100, rollouts=5, seed=seed)
    return frozenset(found.names), found.unexplained


def agreement(quick: bool) -> Iterator[Row]:
    """The largest relative error of forward dynamics over the ten robots."""
    count, worst = 1000 if quick else 10_000, 0.0
    for name in TEN:
        path = Path(pybullet_data.getDataPath(), name)
        robot = RigidBody.from_description(urdf.read(path, ignore=("mimic",)))
        with contextlib.closing(BulletRobot(robot, dt=1 / 240, substeps=16)) as plant:
            found = check_parity(robot, plant, count=count, rollouts=1)
        worst = max(worst, found.accelerations)
    yield Row(
        f"forward dynamics of {len(TEN)} robots against PyBullet, {count} states",
        worst,
        "relative",
        "≤ 1e-06",
    )


def rows(quick: bool) -> list[Row]:
    """All figures of this file."""
    found = list(agreement(quick))
    count = 10 if quick else 100
    right, _ = named(count, FINAL_SEED, UNSEEN)
    bar = f"≥ {round(0.98 * count)}"
    found.append(Row("mismatches named exactly right", right, f"of {count}", bar, count))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.parity")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, help="mismatches of another seed, one line each")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--developed", action="store_true", help="robots used for development")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.seed is not None:
        files = DEVELOPED if options.developed else UNSEEN
        right, wrong = named(options.count, options.seed, files, lambda m: print(m, flush=True))
        print(f"{right} of {options.count}", *wrong, sep="\n")
        return 0
    return 0 if publish("parity", rows(options.quick), options.json) else 1


if __name__ == "__main__":
    sys.exit(main())
