"""The loops of a kernel over the horizon, forward and back.

A tile of candidates is carried over all steps in the same few rows of scratch memory. In a
reverse sweep the states of all steps are kept, everything else is computed again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from llvmlite import ir

from hybridmodel.kernel.lanes import Shape, Value
from hybridmodel.kernel.program import Parts, Program
from hybridmodel.kernel.tiles import Tiles, layout


@dataclass(frozen=True)
class Objective:
    """Σ γᵏ ℓ over the horizon and γᴴ V at its end.

    terminal   V: inputs x, p, d, outputs cost and violation
    """

    terminal: Program
    discount: float

    @property
    def identity(self) -> Hashable:
        """What its code depends on."""
        return self.terminal.identity, self.discount


def forward_kernel(
    module: ir.Module,
    shape: Shape,
    name: str,
    program: Program,
    objective: Objective | None,
) -> int:
    """Rollouts: writes x (B, H+1, nx) where it has an address, with an objective cost (B,) and
    violation (B,)."""
    t = Tiles(module, shape, name, program, layout(program, _end(objective), reverse=False))
    with t.tiles():
        t.gather_start()
        with t.where_given("x"):
            t.scatter("x", "x", t.times("horizon", 1), 0)
        _forward(t, objective, states=None, write=True)
        if objective is not None:
            for total in ("cost", "violation"):
                t.scatter_total(total, total)
    t.finish()
    return t.layout.rows


def reverse_kernel(
    module: ir.Module,
    shape: Shape,
    name: str,
    program: Program,
    objective: Objective | None,
    wanted: frozenset[str],
) -> int:
    """Gradients of a rollout from x_bar (B, H+1, nx) at given x, or of an objective.

    wanted   of "x0", "u", "p", "d", "weights"
    """
    t = Tiles(module, shape, name, program, layout(program, _end(objective), reverse=True))
    with t.tiles():
        t.gather_start()
        if objective is not None:
            _forward(t, objective, states=t.row_at(t.layout.rows), write=False)
            for total in ("cost_bar", "violation_bar"):
                t.move("gather_bars", total, total, 1, t.lanes.index(1), 0)
        _reverse(t, objective, wanted)
    t.finish()
    return t.layout.rows


def _end(objective: Objective | None) -> Program | None:
    return None if objective is None else objective.terminal


def _forward(t: Tiles, objective: Objective | None, *, states: Value | None, write: bool) -> None:
    """All steps from x; `states` is memory that keeps the state before each, and γᵏ."""
    nx, reverse = t.sizes["x"], states is not None
    if objective is not None:
        t.zero("cost")
        t.zero("violation")
        t.zero("gamma", value=1.0)
    records = t.records(t.program, "record", reverse=reverse)
    with t.lanes.loop(t.values["horizon"]) as (k, _, _):
        t.gather_step(k)
        if states is not None:
            kept = t.lanes.at(states, t.lanes.times(k, nx + 1))
            t.copy(t.row("x"), kept, nx)
            t.copy(t.row("gamma"), t.lanes.at(kept, nx), 1)
        found = t.program.forward(t.lanes, t.code, t.inputs(t.program), records)
        t.put("x", found["x"])
        if objective is not None:
            _accumulate(t, found, objective.discount)
        if write:
            after = t.builder.add(k, t.lanes.index(1))
            offset = t.lanes.times(after, nx)
            with t.where_given("x"):
                t.scatter("x", "x", t.values["horizon"], offset)
    if objective is not None:
        _gather_last(t)
        program = objective.terminal
        records = t.records(program, "record", reverse=reverse)
        found = program.forward(t.lanes, t.code, t.inputs(program), records)
        _accumulate(t, found, 1.0)


def _gather_last(t: Tiles) -> None:
    offset = t.builder.mul(t.values["horizon"], t.values["d_step"])
    t.gather("d", "d", t.sizes["d"], offset)


def _accumulate(t: Tiles, found: Mapping[str, list[Parts]], discount: float) -> None:
    lanes = t.lanes
    (gamma,), (cost,), (violation,) = (
        t.rows_of(name, 1) for name in ("gamma", "cost", "violation")
    )
    stage, overstepped = found["cost"][0], found["violation"][0]
    cost = [lanes.add(c, lanes.mul(g, s)) for c, g, s in zip(cost, gamma, stage, strict=True)]
    total = [lanes.add(v, o) for v, o in zip(violation, overstepped, strict=True)]
    t.put("cost", [cost])
    t.put("violation", [total])
    if discount != 1.0:
        t.put("gamma", [[lanes.mul(g, lanes.constant(discount)) for g in gamma]])


def _reverse(t: Tiles, objective: Objective | None, wanted: frozenset[str]) -> None:
    lanes, nx = t.lanes, t.sizes["x"]
    horizon = t.values["horizon"]
    names = ["x", *(n for n in ("u", "p", "d") if n in wanted and t.sizes[n])]
    t.zero("x_bar", nx)
    t.zero("p_bar", t.sizes["p"])
    states = t.row_at(t.layout.rows)
    # a rollout has signals of H steps, an objective those of the last state too
    signals = horizon if objective is None else t.builder.add(horizon, lanes.index(1))
    if objective is not None:
        _seed(t)
        program = objective.terminal
        bars = {"cost": t.row("cost_seed"), "violation": t.row("violation_bar")}
        records, made = (t.records(program, kind, reverse=True) for kind in ("record", "bars"))
        others = [n for n in names if n != "u"]
        found = program.reverse(lanes, t.code, t.inputs(program), bars, records, made, others)
        if "weights" in wanted:
            _add_gradients(t, program)
        _add_bars(t, found)
        if "d" in names:
            _write_step(t, "d", found["d"], horizon, signals)
    else:
        _add_outer(t, horizon)
    with lanes.loop(horizon, down=True) as (k, _, _):
        t.gather_step(k)
        if objective is None:
            stride = lanes.times(t.builder.add(horizon, lanes.index(1)), nx)
            t.move("gather", "x", "x", nx, stride, lanes.times(k, nx))
        else:
            kept = lanes.at(states, lanes.times(k, nx + 1))
            t.copy(kept, t.row("x"), nx)
            t.copy(lanes.at(kept, nx), t.row("gamma"), 1)
            _seed(t)
        bars = {"x": t.row("x_bar")}
        if objective is not None:
            bars |= {"cost": t.row("cost_seed"), "violation": t.row("violation_bar")}
        found = t.program.reverse(
            lanes,
            t.code,
            t.inputs(t.program),
            bars,
            t.records(t.program, "record", reverse=True),
            t.records(t.program, "bars", reverse=True),
            names,
        )
        if "weights" in wanted:
            _add_gradients(t, t.program)
        t.zero("x_bar", nx)
        _add_bars(t, found)
        for name, steps in {"u": horizon, "d": signals}.items():
            if name in names:
                _write_step(t, name, found[name], k, steps)
        if objective is None:
            _add_outer(t, k)
    if "x0" in wanted:
        t.move("scatter", "x_bar", "x0_gradient", nx, lanes.index(nx), 0)
    if "p" in names:
        count = t.sizes["p"]
        t.move("scatter", "p_bar", "p_gradient", count, lanes.index(count), 0)


def _seed(t: Tiles) -> None:
    """Bar of a step's own cost: γᵏ times that of the sum."""
    (gamma,), (bar,) = t.rows_of("gamma", 1), t.rows_of("cost_bar", 1)
    seed = [t.lanes.mul(g, b) for g, b in zip(gamma, bar, strict=True)]
    t.put("cost_seed", [seed])


def _add_gradients(t: Tiles, program: Program) -> None:
    for i in range(len(program.callees)):
        places = (t.row(f"{kind} {i}") for kind in ("record", "bars", "turned"))
        t.code.gradient(t.lanes, i, len(program.sites(i)), *places)


def _add_bars(t: Tiles, found: Mapping[str, list[Parts]]) -> None:
    for name in ("x", "p"):
        if name in found:
            before = t.rows_of(f"{name}_bar", len(found[name]))
            t.put(
                f"{name}_bar",
                [
                    [t.lanes.add(a, b) for a, b in zip(old, new, strict=True)]
                    for old, new in zip(before, found[name], strict=True)
                ],
            )


def _add_outer(t: Tiles, k: Value) -> None:
    """Adds the bar that the caller gives for state k."""
    nx = t.sizes["x"]
    stride = t.lanes.times(t.builder.add(t.values["horizon"], t.lanes.index(1)), nx)
    t.move("gather_bars", "x", "x_bar", nx, stride, t.lanes.times(k, nx))
    given, own = t.rows_of("x", nx), t.rows_of("x_bar", nx)
    t.put(
        "x_bar",
        [
            [t.lanes.add(a, b) for a, b in zip(old, new, strict=True)]
            for old, new in zip(own, given, strict=True)
        ],
    )


def _write_step(t: Tiles, name: str, rows: Sequence[Parts], k: Value, steps: Value) -> None:
    """Gradient of a signal at step k of so many."""
    count = t.sizes[name]
    t.put(f"{name}_bar", rows)
    stride = t.lanes.times(steps, count)
    offset = t.lanes.times(k, count)
    t.move("scatter", f"{name}_bar", f"{name}_gradient", count, stride, offset)
