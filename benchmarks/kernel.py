"""The figures of the fused kernel: speed beside hand-written peers, growth, compiling, agreement.

    python -m benchmarks.kernel [--quick] [--only PART,…] [--peers FOLDER] [--venvs FOLDER]
                                [--rounds 15] --json FILE

Parts: rollouts, gradients, plans, hessian, robot, training, compiling, curves, memory, agreement,
shapes, limit. A ratio is time of the other / time of ours: the median over rounds, each of which
times all sides once in shuffled order, with quartiles; every side has a process and two threads of
its own. The other sides of rollouts, gradients, plans, hessian and shapes live in a folder of their
own, see `benchmarks.speed.peers`; without it their rows are left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.figures import Row
from benchmarks.speed import agreement, curvature, rivalry, scaling
from benchmarks.speed.command import Part, command
from benchmarks.speed.peers import Peers
from benchmarks.speed.sides import Sides


def _agreement(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    return agreement.rows(quick)


PARTS: Mapping[str, Part] = {
    "rollouts": rivalry.rollouts,
    "gradients": rivalry.gradients,
    "plans": rivalry.plans,
    "hessian": curvature.hessian,
    "robot": scaling.robot,
    "training": scaling.training,
    "compiling": scaling.compiling,
    "curves": scaling.curves,
    "memory": scaling.resident,
    "agreement": _agreement,
    "shapes": rivalry.shapes,
    "limit": scaling.limit,
}


if __name__ == "__main__":
    command("Kernel", __doc__, PARTS)
