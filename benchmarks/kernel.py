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

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import Row, publish
from benchmarks.speed import agreement, curvature, rivalry, scaling
from benchmarks.speed.peers import Peers
from benchmarks.speed.sides import THREADS, Sides
from hybridmodel.files import write_atomically


def _agreement(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    return agreement.rows(quick)


PARTS: Mapping[str, Callable[[Sides, Peers, bool], Iterable[Row]]] = {
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, two rounds")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--peers", type=Path, help="folder of the peers' code")
    parser.add_argument("--venvs", type=Path, help="folder of their environments, or PEERS")
    parser.add_argument("--rounds", type=int, help="15 unless given, 2 with --quick")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    venvs = arguments.venvs or (Path(os.environ["PEERS"]) if "PEERS" in os.environ else None)
    if arguments.peers is not None and venvs is None:
        parser.error("--peers needs --venvs, or PEERS in the environment")
    for name, folder in {"--peers": arguments.peers, "--venvs": venvs}.items():
        if folder is not None and not folder.is_dir():
            parser.error(f"{name}: no folder {folder}")
    torch.set_num_threads(THREADS)
    old = _extra(arguments.json)
    left_out: dict[str, list[str]] = old.get("left_out", {})
    versions: dict[str, Any] = old.get("peers", {})
    rows: list[Row] = []
    failed: list[str] = []
    rounds = arguments.rounds or (2 if arguments.quick else 15)
    with Sides(rounds=rounds) as sides:
        for name in chosen:
            print(f"{name} …", file=sys.stderr, flush=True)
            peers = Peers(arguments.peers and arguments.peers.resolve(), venvs and venvs.resolve())
            try:
                for row in PARTS[name](sides, peers, arguments.quick):
                    rows.append(row)
                    print(f"{row.figure}: {row.value:.4g} {row.unit}", file=sys.stderr, flush=True)
            except RuntimeError as error:  # the other parts' hours are not lost with it
                failed.append(name)
                print(f"FAILED, the rest of it is left out: {error}", file=sys.stderr, flush=True)
            for missing in peers.left_out:
                print(f"left out: {missing}", file=sys.stderr, flush=True)
            left_out[name] = peers.left_out
            versions |= peers.versions
    keep = len(chosen) < len(PARTS)
    held = publish("Kernel", rows, arguments.json, keep=keep)
    if arguments.json is not None:
        content = json.loads(arguments.json.read_text())
        content["machine"] |= {"processor name": _processor(), "threads of a side": THREADS}
        content |= {
            "rounds": rounds,
            "peers": versions,
            "left_out": {name: missing for name, missing in left_out.items() if missing},
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        write_atomically(arguments.json, text.encode())
    sys.exit(not held or bool(failed))


def _extra(path: Path | None) -> dict[str, Any]:
    """What an earlier run wrote beside its rows."""
    return json.loads(path.read_text()) if path is not None and path.exists() else {}


def _processor() -> str:
    """Its name and vectors, where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return ""
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in lines.items()}
    flags = fields.get("flags", "").split()
    vectors = next((f for f in ("avx512f", "avx2", "sse2") if f in flags), "")
    return f"{fields.get('model name', '')} {vectors}".strip()


if __name__ == "__main__":
    main()
