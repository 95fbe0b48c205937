"""The command of a topic whose figures are timed beside peers: parts, rounds, folders, results."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import Row, publish
from benchmarks.speed.peers import Peers
from benchmarks.speed.sides import THREADS, Sides
from hybridmodel.files import write_atomically

Part = Callable[[Sides, Peers, bool], Iterable[Row]]


def command(title: str, description: str | None, parts: Mapping[str, Part]) -> None:
    """Runs the parts asked for, prints their table and writes it; ends the process."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, two rounds")
    parser.add_argument("--only", default=",".join(parts), help=f"some of {','.join(parts)}")
    parser.add_argument("--peers", type=Path, help="folder of the peers' code")
    parser.add_argument("--venvs", type=Path, help="folder of their environments, or PEERS")
    parser.add_argument("--rounds", type=int, help="15 unless given, 2 with --quick")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only: no part {unknown[0]!r}; parts are {', '.join(parts)}")
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
                for row in parts[name](sides, peers, arguments.quick):
                    rows.append(row)
                    print(f"{row.figure}: {row.value:.4g} {row.unit}", file=sys.stderr, flush=True)
            except RuntimeError as error:  # the other parts' hours are not lost with it
                failed.append(name)
                print(f"FAILED, the rest of it is left out: {error}", file=sys.stderr, flush=True)
            for missing in peers.left_out:
                print(f"left out: {missing}", file=sys.stderr, flush=True)
            left_out[name] = peers.left_out
            versions |= peers.versions
    keep = len(chosen) < len(parts)
    held = publish(title, rows, arguments.json, keep=keep)
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
