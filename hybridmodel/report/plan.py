"""A plan as a picture: states and inputs over time, with what bounds them and what they aim at.

In motion, over the plant that it moves: `hybridmodel.report.plan_motion`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hybridmodel.costs import Cost, Quadratic, Tracking
from hybridmodel.planners import Plan, Status
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.report.drawing import COLOURS, INK, MUTED, canvas, grid, quantity, ticks_of_pi
from physics import Paced, Signal, System, tangent

PALETTE = [COLOURS[row] for row in ("hybrid", "identified", "network", "physics")]
_DASHED = (0, (5, 4))
_NEAR = 0.6  # of the span of a curve: how far off a limit may be and still be shown
_FLAT = 1e-6  # relative span of what counts as constant
_ENDS = {  # how a plan ended, in as few words as a title has room for
    Status.CONVERGED: "converged",
    Status.BUDGET: "budget used",
    Status.DEADLINE: "deadline",
    Status.INFEASIBLE: "infeasible",
    Status.FAILED: "failed",
}


@dataclass(frozen=True, eq=False)
class Channel:
    """One panel: values (T,) of a signal in each plan, its limits and, where it has one, its aim.

    T = H + 1 for what flows and H for what is held; the aim is a number or (H+1,) numbers.
    """

    signal: Signal
    values: tuple[np.ndarray, ...]
    low: float
    high: float
    held: bool = False
    aim: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure, and what each of its axes shows."""

    figure: Figure
    axes: tuple[Axes, ...]
    channels: tuple[Channel, ...]


def plot_plan(
    problem: OptimalControlProblem,
    plans: Plan | Mapping[str, Plan],
    *,
    parameters: np.ndarray | None = None,
    width: float = 8.0,
) -> Figure:
    """States and inputs over time, with limits (grey) and what the cost aims at (dashed).

    plans       one, or several by name, of this problem
    parameters  π (H+1, nπ) that they were made for, as `plan` takes them; needed where the cost
                follows a reference
    width       of the figure [in]

    Limits that the plans do not come near are left out, those of inputs are always there. The
    figure is made without pyplot, so that nothing needs closing: `.savefig(path)`. Raises
    ValueError where a plan is not of this problem.
    """
    named = dict(plans) if isinstance(plans, Mapping) else {"": plans}
    return draw(problem, named, parameters, width).figure


def times(problem: OptimalControlProblem, plan: Plan) -> np.ndarray:
    """t (H+1,) of a plan's states [s], which it chooses itself where time is free."""
    steps = np.full(len(plan.u), problem.model.dt)
    if isinstance(problem.model.system, Paced):
        steps = steps * plan.u[:, -1]
    return np.append(0.0, np.cumsum(steps))


def channels_of(
    problem: OptimalControlProblem, plans: Sequence[Plan], parameters: np.ndarray | None
) -> list[Channel]:
    """States, outputs that follow a reference, inputs."""
    system = problem.model.system
    aims = _aims(system, problem.cost)
    found = []
    for i, signal in enumerate(system.states):
        values = tuple(plan.x[:, i] for plan in plans)
        aim = aims.get(signal.name)
        if aim is not None and signal.angle:
            aim = aim + 2 * np.pi * np.round((_end(values) - aim) / (2 * np.pi))
        limits = float(problem.state_bounds[0][i]), float(problem.state_bounds[1][i])
        found.append(Channel(signal, values, *limits, aim=aim))
    found += _followed(problem, plans, parameters)
    for j, signal in enumerate(system.inputs):
        values = tuple(plan.u[:, j] for plan in plans)
        limits = float(problem.input_low[j]), float(problem.input_high[j])
        found.append(Channel(signal, values, *limits, held=True, aim=aims.get(signal.name)))
    return found


def _aims(system: System, cost: Cost) -> dict[str, np.ndarray]:
    """Targets of states and inputs that have a weight, by name."""
    if not isinstance(cost, Quadratic):
        inside = [getattr(cost, name, None) for name in ("beside", "cost")]
        return next((_aims(system, inner) for inner in inside if isinstance(inner, Cost)), {})
    both = zip(tangent.signals(system.states), cost.state, cost.final, strict=True)
    weighted = {signal.name for signal, now, last in both if now or last}
    found = {}
    for signal, target in zip(system.states, cost.target, strict=True):
        turned = signal.quaternion
        if weighted & ({signal.name} if turned is None else set(tangent.names(turned))):
            found[signal.name] = np.array(target)
    for signal, weight, target in zip(system.inputs, cost.input, cost.input_target, strict=False):
        if weight and target:  # effort alone aims at nothing worth a line
            found[signal.name] = np.array(target)
    return found


def _followed(
    problem: OptimalControlProblem, plans: Sequence[Plan], parameters: np.ndarray | None
) -> list[Channel]:
    """What `Tracking` lets follow a reference, beside it."""
    cost, system = problem.cost, problem.model.system
    if not isinstance(cost, Tracking):
        return []
    n, m = len(system.states), len(cost.weights)
    pi = problem.problem_parameters(parameters)[:, system.nd : system.nd + m]
    y = [
        np.array([np.asarray(cost.of(x), dtype=float).ravel() for x in plan.x[:, :n]])
        for plan in plans
    ]
    return [
        Channel(Signal(name), tuple(rows[:, i] for rows in y), -np.inf, np.inf, aim=pi[:, i])
        for i, name in enumerate(cost.parameters[:m])
    ]


def _end(values: Sequence[np.ndarray]) -> float:
    """Where the first plan ends."""
    return float(np.nan_to_num(values[0][-1]))


def draw(
    problem: OptimalControlProblem,
    named: Mapping[str, Plan],
    parameters: np.ndarray | None,
    width: float,
) -> Drawing:
    """The figure of `plot_plan` with its parts."""
    wanted = (problem.horizon, problem.model.system.nu), (problem.horizon + 1, problem.model.nx)
    for name, plan in named.items():
        if not isinstance(plan, Plan) or (plan.u.shape, plan.x.shape) != wanted:
            told = (plan.u.shape, plan.x.shape) if isinstance(plan, Plan) else type(plan).__name__
            raise ValueError(
                f"plans{f'[{name!r}]' if name else ''} must be a Plan with u {wanted[0]} and x "
                f"{wanted[1]}, got {told}"
            )
    if not 0 < len(named) <= len(PALETTE):
        raise ValueError(f"plans must be 1 to {len(PALETTE)}, got {len(named)}")
    channels = channels_of(problem, list(named.values()), parameters)
    each = [times(problem, plan) for plan in named.values()]
    columns = 1 + (len(channels) > 7) + (len(channels) > 14)
    rows = -(-len(channels) // columns)
    with canvas(1.05 * rows + 0.55 + 0.2 * (len(named) > 1) * len(named), width) as figure:
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False)
        axes: list[Axes] = list(panels.T.flat)
        for ax, channel in zip(axes, channels, strict=False):
            _curve(ax, channel, each)
        for ax in axes[len(channels) :]:
            ax.set_visible(False)
        for column in panels.T:
            last = [ax for ax in column if ax.get_visible()][-1]
            last.set_xlabel("time [s]")
            last.tick_params(labelbottom=True)
            if last is not column[-1]:  # there is room below it, but half a label on its right
                last.xaxis.set_in_layout(False)
                figure.get_layout_engine().set(rect=(0, 0, 1 - 0.1 / width, 1))  # type: ignore
        _headed(figure, named)
        figure.align_ylabels()
        figure.patch.set_facecolor("white")  # to be read on a dark page too
        figure.set_dpi(160)
        figure.draw_without_rendering()  # what is made later would take the style of that moment
    return Drawing(figure, tuple(axes[: len(channels)]), tuple(channels))


def _curve(ax: Axes, channel: Channel, each: Sequence[np.ndarray]) -> None:
    seen = [v[np.isfinite(v)] for v in channel.values]
    for i in reversed(range(len(each))):  # the first one on top
        style: Any = {"color": PALETTE[i], "lw": 2.0 if i == 0 else 1.5}
        if channel.held:
            ax.stairs(channel.values[i], each[i], baseline=None, **style)
        else:
            ax.plot(each[i], channel.values[i], **style)
    if channel.aim is not None:
        aim = np.broadcast_to(channel.aim, each[0].shape)
        ax.plot(each[0], aim, color=MUTED, lw=1.0, ls=_DASHED, zorder=1)
        seen.append(aim)
    known = np.concatenate([*seen, *([np.zeros(1)] if not any(map(len, seen)) else [])])
    bottom, top = float(known.min()), float(known.max())
    size = max(1.0, abs(bottom), abs(top))
    span = top - bottom if top - bottom > _FLAT * size else size  # a constant is no noise
    low, high = channel.low, channel.high
    if np.isfinite(low) and (channel.held or bottom - low <= _NEAR * span):
        bottom = min(bottom, low)
    if np.isfinite(high) and (channel.held or high - top <= _NEAR * span):
        top = max(top, high)
    room = 0.1 * max(top - bottom, span)
    bottom, top = bottom - room, top + room
    for start, end in ((bottom, min(low, top)), (max(high, bottom), top)):
        if start < end:
            ax.axhspan(start, end, color=MUTED, alpha=0.16, lw=0, zorder=0)
    ax.set_ylim(bottom, top)
    ax.set_xlim(0, max(t[-1] for t in each))
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=2))
    if channel.signal.angle and top - bottom > 1.2 * np.pi:
        ticks_of_pi(ax)
    ax.set_title(quantity(channel.signal), pad=3, color=INK)
    grid(ax)


def _headed(figure: Figure, named: Mapping[str, Plan]) -> None:
    """What each plan costs and how it ended."""
    told = []
    for name, plan in named.items():
        parts = [f"cost {plan.cost:.4g}", _ENDS[plan.status]]
        if plan.iterations:
            parts.append(f"{plan.iterations} iteration{'s' * (plan.iterations > 1)}")
        told.append((f"{name}:  " if name else "") + " · ".join(parts))
    if len(told) == 1:
        figure.suptitle(told[0], x=0.012, ha="left", fontsize=10, color=INK)
        return
    lines = [Line2D([], [], color=c, lw=2.2) for c in PALETTE[: len(told)]]
    figure.legend(lines, told, loc="outside upper left", frameon=False, labelcolor="linecolor")
