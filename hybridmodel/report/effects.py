"""What the nominal physics misses, beside what each model has learned of it.

    τ(x, u) = M(q) (v̇ − v̇₀(x, u))

v̇ is the plant's or a model's mean acceleration over one step, v̇₀ the nominal model's, M the
nominal mass matrix: the generalised force [N, N·m] to be added to the nominal physics. Systems
without a mass matrix have M = 1 and accelerations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from hybridmodel import envs
from hybridmodel.data import Dataset
from hybridmodel.demo.record import Record
from hybridmodel.model import HybridModel
from hybridmodel.report.drawing import (
    COLOURS,
    INK,
    MUTED,
    RULE,
    Picture,
    canvas,
    grid,
    quantity,
    svg,
)
from physics import Mechanical, Signal, System

LEARNED = ("identified", "hybrid")
TRUTH = "truth"
SAMPLES = 61  # of a cut
KEY = (
    (TRUTH, "truth"),
    ("physics", "nominal physics"),
    ("identified", "identified"),
    ("hybrid", "hybrid"),
)


@dataclass(frozen=True)
class Cut:
    """One signal swept, all others held: x (n, nx), u (n, nu); force on coordinate `row`."""

    swept: Signal
    values: np.ndarray
    x: np.ndarray
    u: np.ndarray
    row: int
    held: str


def missing_force(record: Record) -> Mapping[str, np.ndarray]:
    """τ (T, n) of the truth and of each learned row along the held-out logs.

    ValueError where the logs do not hold the true state.
    """
    if any(log.x is None for log in record.test):
        raise ValueError("the held-out logs hold no true states")
    x, u, after = along(record.test)
    return _forces(record, x, u, after)


def along(logs: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (T, nx), u (T, nu) and x⁺ (T, nx) of all steps of all logs."""
    states = [log.x for log in logs if log.x is not None]
    return (
        np.concatenate([x[:-1] for x in states]),
        np.concatenate([log.u for log in logs]),
        np.concatenate([x[1:] for x in states]),
    )


def steps_of(model: HybridModel, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """x⁺ (n, nx) = F(x, u), row by row."""
    n = len(x)
    p = np.tile(model.physical().detach().cpu().numpy()[:, None], (1, n))
    after = model.step_function().map(n)(x.T, u.T, p, np.zeros((0, n)))
    return np.asarray(after.full()).T


def plant_steps(record: Record, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """x⁺ (n, nx) of the plant itself, started anew at every row."""
    task = record.task
    plant = envs.make(task.system, engine=record.summary["engine"], dt=task.dt, hidden=task.hidden)
    after = []
    for state, command in zip(x, u, strict=True):
        plant.reset(seed=0, options={"state": state})
        plant.step(command)
        after.append(plant.state)
    plant.close()
    return np.array(after)


def force_along_a_log(record: Record) -> Picture | None:
    """τ along the first held-out log; None where the logs hold no true state."""
    if any(log.x is None for log in record.test):
        return None
    forces, log = missing_force(record), record.test[0]
    names = _force_names(record.task.system)
    t = log.t[:-1] - log.t[0] + record.task.dt / 2
    with canvas(1.45 * len(names) + 0.5) as figure:
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for i, (ax, name) in enumerate(zip(panels, names, strict=True)):
            ax.axhline(0, color=COLOURS["physics"], lw=1)
            ax.plot(t, forces[TRUTH][: log.steps, i], color=INK, lw=2.6, alpha=0.28)
            for row in LEARNED:
                ax.plot(t, forces[row][: log.steps, i], color=COLOURS[row], lw=1.3)
            ax.set_ylabel(name)
            ax.set_xlim(0, log.seconds)
            grid(ax)
        panels[-1].set_xlabel("time [s]")
        image = svg(figure)
    reading = (
        "Along the first held-out log, from the true state at every step: the force to be added "
        "to the nominal physics for the next step to come out right."
    )
    return Picture(image, _explained(names, forces), reading, KEY)


def force_on_cuts(record: Record) -> Picture | None:
    """τ against the signal it depends on, others held; None where the plant cannot be built."""
    cuts = _cuts(record)
    x, u = np.concatenate([c.x for c in cuts]), np.concatenate([c.u for c in cuts])
    try:
        after = plant_steps(record, x, u)
    except ImportError:
        return None
    forces = _forces(record, x, u, after)
    ends = np.cumsum([len(c.values) for c in cuts])[:-1]
    parts = {row: np.split(force, ends) for row, force in forces.items()}
    names = _force_names(record.task.system)
    rows = max(c.row for c in cuts) + 1
    columns = -(-len(cuts) // rows)
    with canvas(2.1 * rows + 0.2) as figure:
        panels = figure.subplots(rows, columns, sharey="row", squeeze=False)
        places = [iter(line) for line in panels]
        for k, cut in enumerate(cuts):
            ax = next(places[cut.row])
            _draw_cut(ax, record, cut, {row: part[k][:, cut.row] for row, part in parts.items()})
            ax.set_title(cut.held, fontsize=7.5, color=MUTED)
        for i, line in enumerate(places):
            panels[i, 0].set_ylabel(names[i])
            for ax in line:
                ax.set_axis_off()
        image = svg(figure)
    reading = (
        "One signal swept through what the training logs cover (5th to 95th percentile; the bars "
        "at the foot show where they lie), the others held. Truth: one step of the simulator "
        "from each of these states."
    )
    return Picture(image, _closest(record, cuts, parts), reading, KEY)


def _forces(
    record: Record, x: np.ndarray, u: np.ndarray, after: np.ndarray
) -> dict[str, np.ndarray]:
    system = record.task.system
    v = list(system.velocity_rows)
    nominal = steps_of(record.models["physics"], x, u)
    added = {TRUTH: after - nominal}
    added |= {row: steps_of(record.models[row], x, u) - nominal for row in LEARNED}
    M = _mass_matrices(system, x)  # (T, n, n)
    return {
        row: np.einsum("tij,tj->ti", M, step[:, v]) / record.task.dt for row, step in added.items()
    }


def _mass_matrices(system: System, x: np.ndarray) -> np.ndarray:
    if not isinstance(system, Mechanical):
        n = len(system.velocity_rows)
        return np.broadcast_to(np.eye(n), (len(x), n, n))
    M = system.mass_matrix_function()
    return np.array([M(q).full() for q in x[:, : system.nq]])


def _force_names(system: System) -> list[str]:
    """What is missing at each acceleration, with its unit."""
    names = []
    for i in system.velocity_rows:
        signal = system.states[i]
        of = (signal.rate_of or signal.name).replace("_", " ")
        if not isinstance(system, Mechanical):
            names.append(f"missing acceleration\nof {of} [{signal.unit}²]")
        elif "rad" in signal.unit:
            names.append(f"missing torque\nalong {of} [N·m]")
        else:
            names.append(f"missing force\nalong {of} [N]")
    return names


def _cuts(record: Record) -> list[Cut]:
    """For each coordinate: its velocity, its position at speed, and the input that drives it."""
    system = record.task.system
    x, u, _ = along(record.train)
    cuts = []
    for row, v in enumerate(system.velocity_rows):
        q = next(i for i, s in enumerate(system.states) if s.name == system.states[v].rate_of)
        speed = float(f"{np.quantile(np.abs(x[:, v]), 0.6):.1g}")
        moving = f"at {speed:g} {system.states[v].unit}, no input"
        cuts.append(_cut(system, row, "x", v, x[:, v], {}, "elsewhere at rest, no input"))
        cuts.append(_cut(system, row, "x", q, x[:, q], {v: speed}, moving))
        for j in range(system.nu):
            if _drives(system, j, row):
                held = f"at {speed:g} {system.states[v].unit}"
                cuts.append(_cut(system, row, "u", j, u[:, j], {v: speed}, held))
    return cuts


def _cut(
    system: System,
    row: int,
    kind: str,
    index: int,
    seen: np.ndarray,
    held: Mapping[int, float],
    text: str,
) -> Cut:
    signal = (system.states if kind == "x" else system.inputs)[index]
    low, high = np.quantile(_on_circle(signal, seen), (0.05, 0.95))
    values = np.linspace(low, high, SAMPLES)
    x, u = np.zeros((SAMPLES, system.nx)), np.zeros((SAMPLES, system.nu))
    for i, value in held.items():
        x[:, i] = value
    (x if kind == "x" else u)[:, index] = values
    return Cut(signal, values, x, u, row, text)


def _on_circle(signal: Signal, values: np.ndarray) -> np.ndarray:
    """Angles within (−π, π]; anything else as it is."""
    return np.pi - np.mod(np.pi - values, 2 * np.pi) if signal.angle else values


def _drives(system: System, j: int, row: int) -> bool:
    """Whether input j pushes directly on this coordinate."""
    if not isinstance(system, Mechanical):
        return j == row
    return bool(system.input_map_function()(np.zeros(system.nq)).full()[row, j])


def _draw_cut(ax: Axes, record: Record, cut: Cut, forces: Mapping[str, np.ndarray]) -> None:
    system = record.task.system
    x, u, _ = along(record.train)
    names = [s.name for s in system.states]
    seen = (
        x[:, names.index(cut.swept.name)]
        if cut.swept.name in names
        else u[:, [s.name for s in system.inputs].index(cut.swept.name)]
    )
    seen = _on_circle(cut.swept, seen)
    counts, edges = np.histogram(seen, bins=40, range=(cut.values[0], cut.values[-1]))
    ax.bar(
        edges[:-1],
        0.16 * counts / counts.max(),
        np.diff(edges),
        align="edge",
        color=RULE,
        transform=ax.get_xaxis_transform(),
        zorder=0,
    )
    ax.axhline(0, color=COLOURS["physics"], lw=1)
    ax.plot(cut.values, forces[TRUTH], color=INK, lw=3.2, alpha=0.28)
    for row in LEARNED:
        ax.plot(cut.values, forces[row], color=COLOURS[row], lw=1.5)
    ax.set_xlim(cut.values[0], cut.values[-1])
    ax.set_xlabel(quantity(cut.swept))
    grid(ax)


def _explained(names: Sequence[str], forces: Mapping[str, np.ndarray]) -> str:
    """Share of the missing force, rms over all held-out logs, that each row accounts for."""
    parts = []
    for i, name in enumerate(names):
        truth = forces[TRUTH][:, i]
        size = np.sqrt(np.mean(truth**2))
        left = {row: np.sqrt(np.mean((forces[row][:, i] - truth) ** 2)) for row in LEARNED}
        what, unit = name.replace("\n", " ").removeprefix("missing ").rsplit(" ", 1)
        unit = unit.strip("[]")
        parts.append(
            f"of the {what} that the nominal physics misses ({size:.2g} {unit} rms) the hybrid "
            f"leaves {100 * left['hybrid'] / size:.0f} % and identified "
            f"{100 * left['identified'] / size:.0f} %"
        )
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _closest(record: Record, cuts: Sequence[Cut], parts: Mapping[str, Sequence[np.ndarray]]) -> str:
    """On how many cuts the hybrid is nearer to the truth than identified physics."""
    nearer = 0
    for k, cut in enumerate(cuts):
        gap = {row: np.abs(parts[row][k] - parts[TRUTH][k])[:, cut.row].mean() for row in LEARNED}
        nearer += bool(gap["hybrid"] < gap["identified"])
    return (
        f"On {nearer} of {len(cuts)} cuts the hybrid lies nearer to the truth than identified "
        f"physics does. Hidden here: {record.task.story}."
    )
