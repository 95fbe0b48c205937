"""Rows of this project alone: robot, training, compiling, growth, distance to the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from benchmarks.figures import Row
from benchmarks.speed import cart_pole, limits, memory
from benchmarks.speed.peers import Peers
from benchmarks.speed.rivalry import HOLDS
from benchmarks.speed.sides import THREADS, Measured, Side, Sides, own, ratio, times


def robot(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """Forward dynamics of an arm, 1000 states."""
    names = ("kernel", "torch", "casadi")
    found = _all(sides, {name: own("robot", N=1000, backend=name) for name in names})
    what = "KUKA iiwa, forward dynamics in an Euler step, 1000 states, f64"
    yield _milliseconds(f"{what}: ours", found["kernel"])
    for name, bar in {"casadi": "≥ 20", "torch": "≥ 40"}.items():
        value, spread = ratio(found, "kernel", [name])
        rival = {"casadi": "CasADi's map", "torch": "our own torch path"}[name]
        yield Row(f"{what}: {rival} / ours", value, "×", bar, spread=spread)
    largest = np.abs(found["torch"].head).max()
    apart = max(np.abs(found[n].head - found["kernel"].head).max() for n in names) / largest
    yield Row(f"{what}: largest relative difference of the three", float(apart), "", "≤ 1e-9")


def training(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """An epoch of the cart-pole demonstration's fit."""
    sizes = {"N": 512 if quick else 2048, "H": 20, "size": 256}
    names = ("kernel", "torch")
    found = _all(sides, {name: own("epoch", **sizes, backend=name) for name in names})
    what = f"epoch of {sizes['N']} windows of 20 steps, cart-pole, gradient in weights and p, f64"
    yield _milliseconds(f"{what}: ours", found["kernel"])
    value, spread = ratio(found, "kernel", ["torch"])
    yield Row(f"{what}: our own torch path / ours", value, "×", "≥ 5", spread=spread)
    losses = [found[name].head[0] for name in names]
    yield Row(f"{what}: relative difference of the losses", abs(losses[0] / losses[1] - 1))


def compiling(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """Seconds until the first rollout of a fitted model, in fresh processes."""
    wanted = {
        ("cart-pole", False): "≤ 1",
        ("cart-pole", True): "≤ 3",
        ("KUKA", False): "",
        ("KUKA", True): "≤ 10",
    }
    for (of, gradient), bar in wanted.items():
        side = own("compiled", of=of, gradient=gradient)
        value, spread = times([sides.once(side).first for _ in range(1 if quick else 5)])
        what = "rollout and gradient in actions, weights and p" if gradient else "rollout"
        yield Row(f"compiling until the first {what}, {of}", value, "s", bar, spread=spread)


def curves(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """Time against sizes, f32, network in every stage."""
    top = 4 if quick else 6
    candidates = [10**k for k in range(2, top + 1)]
    horizons = [10, 30, 100] if quick else [10, 30, 100, 300, 1000, 3000]
    plain = {"dtype": "f32", "hold": False}
    yield from _curve(
        sides, "candidates, H = 10", {n: own("costs", N=n, H=10, **plain) for n in candidates}
    )
    yield from _curve(
        sides, "horizon, 1000 candidates", {h: own("costs", N=1000, H=h, **plain) for h in horizons}
    )
    counts = [1, 2] if quick else [1, 2, 4, 8]
    sizes = {e: own("members", N=1000, H=10, count=e, dtype="f32") for e in counts}
    yield from _curve(sides, "members, 1000 candidates, H = 10", sizes)


def _curve(sides: Sides, what: str, by_size: Mapping[int, Side]) -> Iterator[Row]:
    found = _all(sides, {str(size): side for size, side in by_size.items()})
    for size in by_size:
        yield _milliseconds(f"time against {what}: {size:,}", found[str(size)])
    seconds = np.log([found[str(size)].seconds for size in by_size])
    slopes = np.polyfit(np.log(list(by_size)), seconds, 1)[0]
    value, spread = times(slopes)
    figure = f"time against {what}: slope of the logarithms"
    yield Row(figure, value, "", "≤ 1.1", spread=spread)


def resident(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """Peak memory of costs beyond inputs and results, in fresh processes."""
    if not memory.KNOWN:
        peers.left_out.append("peak memory (the system keeps no peak that can be reset)")
        return
    sizes = ((10**4, 10), (10**5, 10), (10**6, 10), (10**4, 1000))
    for N, H in sizes[:2] if quick else sizes:
        side = own("peak", N=N, H=H, dtype="f32")
        found = [sides.once(side).head[0] / 2**20 for _ in range(1 if quick else 3)]
        value, spread = times(found)
        inputs = 4 * N * H / 2**20
        what = f"peak memory of costs beyond inputs ({inputs:.3g} MiB) and results, {N:,} × {H}"
        yield Row(what, value, "MiB", "≤ 4", spread=spread)


def limit(sides: Sides, peers: Peers, quick: bool) -> Iterator[Row]:
    """How far rollouts are from what products and functions alone would take."""
    for dtype in ("f32",) if quick else ("f32", "f64"):
        measured = {
            "product": own("matrix product", dtype=dtype),
            "sums": own("multiply-adds", dtype=dtype),
            "tanh": own("function", name="tanh", dtype=dtype),
            "sincos": own("function", name="sincos", dtype=dtype),
        }
        for hold in (False, True):
            measured[HOLDS[hold]] = own("costs", N=1000, H=30, dtype=dtype, hold=hold)
        found = _all(sides, measured)
        rates = {
            f"torch's product of {limits.SIZE} rows": 2
            * limits.SIZE**3
            / np.array(found["product"].seconds),
            "multiply-adds in registers": THREADS
            * limits.operations(dtype)
            / np.array(found["sums"].seconds),
        }
        rate = np.maximum(*rates.values())
        calls = limits.calls(dtype) * THREADS
        each = {n: np.array(found[n].seconds) / calls for n in ("tanh", "sincos")}
        for name, found_rate in rates.items():
            value, spread = times(found_rate / 1e9)
            figure = f"limit: {name} on {THREADS} threads, {dtype}"
            yield Row(figure, value, "GFLOP/s", spread=spread)
        for name, seconds in each.items():
            value, (low, high) = times(1e9 * seconds)
            figure = f"limit: the kernel's {name} in L1 on {THREADS} threads, {dtype}"
            yield Row(figure, value, "ns", spread=(low, high))
        for hold in (False, True):
            work = limits.work(cart_pole.model(hold=hold))
            least = work.least(1000 * 30, rate, each["tanh"], each["sincos"])
            value, spread = times(np.array(found[HOLDS[hold]].seconds) / least)
            figure = f"limit: rollouts with cost, 1000 × 30, {HOLDS[hold]}, {dtype}, time / least"
            yield Row(figure, value, "×", spread=spread)


def _all(sides: Sides, measured: Mapping[str, Side]) -> dict[str, Measured]:
    """Raises RuntimeError where one failed."""
    found = sides.compare(measured)
    for name, one in found.items():
        if one.error:
            raise RuntimeError(f"{name} failed: {one.error}")
    return found


def _milliseconds(figure: str, measured: Measured) -> Row:
    value, (low, high) = times(measured.seconds)
    return Row(figure, 1e3 * value, "ms", spread=(1e3 * low, 1e3 * high))
