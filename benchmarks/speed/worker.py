"""This project's worker: `python -m benchmarks.speed.worker`, see `benchmarks.speed.sides`."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from benchmarks.speed.cases import CASES


def main() -> None:
    torch.set_num_threads(int(os.environ["BENCH_THREADS"]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print goes to the log

    def say(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    say({"ready": list(CASES), "versions": {"hybridmodel": version("hybridmodel")}})
    held: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say({"ok": True} | _answer(request, held))
        except Exception as error:
            traceback.print_exc()
            say({"ok": False, "err": f"{type(error).__name__}: {error}"})


def _answer(request: Mapping[str, Any], held: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    key = request["key"]
    if request["cmd"] == "setup":
        call = held[key] = CASES[request["case"]](**request["cfg"])
        start = time.perf_counter()
        result = call()
        first = time.perf_counter()
        call()
        second = time.perf_counter()
        head = np.asarray(result, dtype=float).ravel()[:64]
        seconds = {"first_s": first - start, "second_s": second - first}
        return {"head": head.tolist()} | seconds
    if request["cmd"] == "time":
        call = held[key]
        for _ in range(request["warm"]):
            call()
        gc.disable()
        seconds = [_timed(call) for _ in range(request["n"])]
        gc.enable()
        return {"t": seconds}
    del held[key]
    return {}


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
