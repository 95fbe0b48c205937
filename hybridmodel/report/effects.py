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
FEW = 3  # coordinates that are shown in full
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
    columns = 1 if len(names) <= FEW else 2
    lines = -(-len(names) // columns)
    with canvas(1.45 * lines + 0.5) as figure:
        panels = figure.subplots(lines, columns, sharex=True, squeeze=False).T.ravel()
        for i, (ax, name) in enumerate(zip(panels, names, strict=False)):
            ax.axhline(0, color=COLOURS["physics"], lw=1)
            ax.plot(t, forces[TRUTH][: log.steps, i], color=INK, lw=2.6, alpha=0.28)
            for row in LEARNED:
                ax.plot(t, forces[row][: log.steps, i], color=COLOURS[row], lw=1.3)
            ax.set_ylabel(name)
            ax.set_ylim(*_range([force[: log.steps, i] for force in forces.values()]))
            ax.set_xlim(0, log.seconds)
            grid(ax)
        for ax in panels[len(names) :]:
            ax.set_axis_off()
        for ax in [panels[len(names) - 1], *panels[lines - 1 : len(names) : lines]]:
            ax.set_xlabel("time [s]")
            ax.tick_params(labelbottom=True)
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
    one_each = len(cuts) == len(names)  # many coordinates: what matters most of each
    rows = -(-len(cuts) // 4) if one_each else max(c.row for c in cuts) + 1
    columns = -(-len(cuts) // rows)
    with canvas(2.1 * rows + 0.2) as figure:
        panels = figure.subplots(rows, columns, sharey=False if one_each else "row", squeeze=False)
        places = [iter(line) for line in panels]
        for k, cut in enumerate(cuts):
            ax = next(places[k // columns if one_each else cut.row])
            _draw_cut(ax, record, cut, {row: part[k][:, cut.row] for row, part in parts.items()})
            if one_each:
                ax.set_ylabel(names[cut.row])
            else:
                ax.set_title(cut.held, fontsize=7.5, color=MUTED)
        for i, line in enumerate(places):
            if not one_each:
                panels[i, 0].set_ylabel(names[i])
            for ax in line:
                ax.set_axis_off()
        image = svg(figure)
    held = f"the others held{f' {cuts[0].held}' if one_each else ''}"
    reading = (
        "One signal swept through what the training logs cover (5th to 95th percentile; the bars "
        f"at the foot show where they lie), {held}. Truth: one step of the simulator "
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
    """What is missing at each acceleration, with its unit; short where there are many."""
    names, few = [], len(system.velocity_rows) <= FEW
    for i in system.velocity_rows:
        signal = system.states[i]
        of = (signal.rate_of or signal.name).replace("_", " ")
        if signal.rate_of in {s.quaternion for s in system.states} - {None}:
            of = signal.name[-1]  # about the body's axes
        if not isinstance(system, Mechanical):
            what, unit = "acceleration", f"{signal.unit}²"
        elif "rad" in signal.unit:
            what, unit = "torque", "N·m"
        else:
            what, unit = "force", "N"
        if few:
            names.append(
                f"missing {what}\n{'of' if what == 'acceleration' else 'along'} {of} [{unit}]"
            )
        else:
            names.append(f"{what} {of.split()[-1]} [{unit}]")
    return names


def _cuts(record: Record) -> list[Cut]:
    """For each coordinate: its velocity, its position at speed, and the input that drives it."""
    system, control = record.task.system, record.task.control
    x, u, _ = along(record.train)
    rest = control.start(system), control.rest_input(system)
    cuts = []
    few = len(system.velocity_rows) <= FEW
    for row, v in enumerate(system.velocity_rows):
        away = "elsewhere at rest, no input" if few else "where the task begins"
        cuts.append(_cut(system, rest, row, "x", v, x[:, v], {}, away))
        if not few:
            continue
        q = next(i for i, s in enumerate(system.states) if s.name == system.states[v].rate_of)
        speed = float(f"{np.quantile(np.abs(x[:, v]), 0.6):.1g}")
        moving = f"at {speed:g} {system.states[v].unit}, no input"
        cuts.append(_cut(system, rest, row, "x", q, x[:, q], {v: speed}, moving))
        for j in range(system.nu):
            if _drives(system, j, row):
                held = f"at {speed:g} {system.states[v].unit}"
                cuts.append(_cut(system, rest, row, "u", j, u[:, j], {v: speed}, held))
    return cuts


def _cut(
    system: System,
    rest: tuple[np.ndarray, np.ndarray],
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
    x, u = (np.tile(part, (SAMPLES, 1)) for part in rest)
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
    size = np.sqrt(np.mean(forces[TRUTH] ** 2, axis=0))
    left = {
        row: np.sqrt(np.mean((forces[row] - forces[TRUTH]) ** 2, axis=0)) / size for row in LEARNED
    }
    if len(names) > FEW:
        hybrid, identified = (
            f"{100 * share.min():.0f} to {100 * share.max():.0f} % (median "
            f"{100 * np.median(share):.0f} %)"
            for share in (left["hybrid"], left["identified"])
        )
        return (
            f"Of what the nominal physics misses along its {len(names)} coordinates the hybrid "
            f"leaves {hybrid}, identified {identified}."
        )
    parts = []
    for i, name in enumerate(names):
        what, unit = name.replace("\n", " ").removeprefix("missing ").rsplit(" ", 1)
        unit = unit.strip("[]")
        parts.append(
            f"of the {what} that the nominal physics misses ({size[i]:.2g} {unit} rms) the hybrid "
            f"leaves {100 * left['hybrid'][i]:.0f} % and identified "
            f"{100 * left['identified'][i]:.0f} %"
        )
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _range(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Limits that hold 99 % of every curve, with some room: one spike hides nothing."""
    low = min(float(np.quantile(curve, 0.005)) for curve in curves)
    high = max(float(np.quantile(curve, 0.995)) for curve in curves)
    room = 0.15 * (high - low) or 1.0
    return low - room, high + room


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
